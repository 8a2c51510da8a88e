"""Scenarios of the project's promises about reliability that no other file shows, by their numbers.

``tests/promises.toml`` says where the others are shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from conftest import DEADLINE, run_python, turns, until
from recorder import Echo, Recorder, linked, serving


def resident():
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Hashing(Recorder):
    """Keeps no bytes, only what they add up to."""

    def __init__(self, **options):
        super().__init__(**options)
        self.count, self.hash = 0, hashlib.sha256()

    def data_received(self, data):
        self.count += len(data)
        self.hash.update(data)
        self.note("counted")
        self.events.pop()


class TestData:
    @pytest.mark.faults
    @pytest.mark.parametrize("how", ["write", "writelines"])
    def test_scenario_01_02_a_producer_that_honours_pauses(self, kind, how, loop, run):
        """A slow reader: what is buffered stays small, however much there is to send."""
        if (kind, how) == ("asyncio", "writelines"):
            pytest.skip("CVE-2024-12254: not under flow control before 3.13.2")

        class Producer(Recorder):
            room = True
            largest = 0

            def pause_writing(self):
                self.room = False
                super().pause_writing()

            def resume_writing(self):
                self.room = True
                super().resume_writing()

            def send(self, data):
                if how == "write":
                    self.transport.write(data)
                else:
                    self.transport.writelines([data[:1000], data[1000:]])
                self.largest = max(self.largest, self.transport.get_write_buffer_size())

        async def main():
            before = resident()
            async with linked(Producer(), Hashing()) as (client, server):
                expected = hashlib.sha256()
                server.transport.pause_reading()
                for number in range(1000):
                    chunk = bytes([number % 256]) * 20_000
                    expected.update(chunk)
                    client.send(chunk)
                    if not client.room:
                        server.transport.resume_reading()
                        await client.until(lambda client: client.room)
                        server.transport.pause_reading()
                server.transport.resume_reading()
                await server.until(lambda server: server.count == 20_000_000)
                assert server.hash.digest() == expected.digest()
                assert "pause" in client.names and client.largest < 1_000_000
                assert resident() - before < 32_000_000

        run(main())

    @pytest.mark.faults
    def test_scenario_04_one_large_write(self, loop, run):
        """At most two copies of it are in memory, the caller's included."""

        async def main():
            async with linked(server=Hashing()) as (client, server):
                size = 128 << 20
                data = os.urandom(1 << 20) * 128
                before = resident()
                peak = before
                client.transport.write(data)
                while server.count < size:
                    peak = max(peak, resident())
                    await asyncio.sleep(0.001)
                assert server.hash.digest() == hashlib.sha256(data).digest()
                assert peak - before < 172 << 20

        run(main())

    @pytest.mark.faults
    def test_scenario_03_07_all_bytes_before_the_end(self, loop, run):
        """Half-closed by the peer, we go on sending; our own close sends the rest to a slow reader."""

        async def main():
            data = os.urandom(200_000)
            async with linked(server=Recorder(keep_open=True)) as (client, server):
                client.transport.write_eof()
                await server.until("eof")
                for start in range(0, 200_000, 10_000):
                    server.transport.write(data[start : start + 10_000])
                    await turns(1)
                server.transport.write(data * 25)
                server.transport.close()
                assert await client.until_received(26 * 200_000) == data * 26
                await client.until("lost")
                assert client.names.count("lost") == server.names.count("lost") == 1
                assert client.events[-1] == ("lost", None)

        run(main())

    @pytest.mark.faults
    def test_scenario_16_a_conversation_in_pieces(self, run):
        """Lines of all lengths through both native streams."""

        async def handle(reader, writer):
            async for line in reader:
                writer.write(line)
                await writer.drain()
            writer.close()

        async def main():
            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            lines = [b"x" * (number * 37 % 5000) + b"\n" for number in range(500)]

            async def send():
                for line in lines:
                    writer.write(line)
                    await writer.drain()
                writer.write_eof()

            sending = asyncio.ensure_future(send())
            assert [await reader.readline() for _ in lines] == lines
            await sending
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()

        run(main())


INJECTED = """
    import asyncio, socket, sys, time
    from kinds import KINDS
    from recorder import Echo

    async def main():
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda loop, context: told.append(context))
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        before = time.process_time()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        assert await asyncio.wait_for(reader.readexactly(1), 8) == b"x"
        writer.close()
        server.close()
        print(len(told), time.process_time() - before < 0.5)

    with asyncio.Runner(loop_factory=KINDS[sys.argv[1]]) as runner:
        runner.run(main())
"""


@pytest.fixture
def injected(tmp_path):
    """Run a program of which some system calls fail: what it printed."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")

    def injected(source, kind, fault):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(source))
        call = fault.partition(":")[0]
        command = ["strace", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={fault}"]
        done = run_python(str(path), kind, cwd=tmp_path, before=command)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return injected


class TestKernel:
    @pytest.mark.velodrome_only
    @pytest.mark.parametrize(
        ("error", "complaints"),
        [("ENFILE", 1), ("ENOBUFS", 1), ("ENOMEM", 1), ("ECONNABORTED", 0), ("EPROTO", 0)],
    )
    def test_scenario_14_errors_of_accept(self, kind, injected, error, complaints):
        """The connection is served as soon as the kernel can; one complaint for each rest, and no spin."""
        told, calm = injected(INJECTED, kind, f"accept4:error={error}:when=1..3")
        assert int(told) <= 3 * complaints and calm == "True"

    @pytest.mark.parametrize("call", ["sendto", "recvfrom"])
    @pytest.mark.parametrize("error", ["ENOBUFS", "EAGAIN", "ECONNREFUSED"])
    def test_scenario_15_errors_of_datagrams(self, kind, injected, error, call):
        """Told to error_received, or sent later: the transport stays."""
        source = """
            import asyncio, sys
            from kinds import KINDS

            class Protocol(asyncio.DatagramProtocol):
                received, problems = 0, 0
                def datagram_received(self, data, addr):
                    self.received += 1
                def error_received(self, exc):
                    self.problems += 1

            async def main():
                loop = asyncio.get_running_loop()
                here, protocol = await loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0))
                there, sender = await loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0))
                for _ in range(5):
                    there.sendto(b"x", here.get_extra_info("sockname"))
                    await asyncio.sleep(0.01)
                closing = here.is_closing() or there.is_closing()
                print(protocol.received, protocol.problems, sender.problems, closing)
                here.close()
                there.close()

            with asyncio.Runner(loop_factory=KINDS[sys.argv[1]]) as runner:
                runner.run(main())
        """
        arrived, complaints, refused, closing = injected(source, kind, f"{call}:error={error}:when=2..3")
        # What could not be received is still there; what could not be sent is gone, unless it is tried again.
        lost = 2 if call == "sendto" and error != "EAGAIN" else 0
        assert (int(arrived), int(refused), closing) == (5 - lost, lost, "False")
        assert int(complaints) == (2 if call == "recvfrom" and error != "EAGAIN" else 0)

    def test_scenario_19_nobody_answers(self, loop, run):
        """A listener whose backlog is full answers no SYN, as a host behind a silent firewall."""

        async def main():
            full = socket.create_server(("127.0.0.1", 0), backlog=0)
            address = full.getsockname()
            fillers = []
            for _ in range(3):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(address)
                fillers.append(sock)
            await asyncio.sleep(0.01)
            before = len(os.listdir("/proc/self/fd"))
            begun = time.monotonic()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.create_connection(Recorder, *address), 0.3)
            assert 0.25 < time.monotonic() - begun < 0.6
            task = loop.create_task(loop.create_connection(Recorder, *address))
            await asyncio.sleep(0.01)
            task.cancel()
            begun = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - begun < 0.1
            assert len(os.listdir("/proc/self/fd")) == before
            for sock in [full, *fillers]:
                sock.close()

        run(main())

    @pytest.mark.parametrize("how", ["keepalive", "unsent data"])
    def test_scenario_19_a_peer_that_vanished(self, script, kind, how):
        """The network goes down under a connection: the kernel's own time limits are told."""
        if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
            pytest.skip("needs network namespaces")
        done = script(
            """
            import os, sys
            if len(sys.argv) == 3:
                os.execvp("unshare", ["unshare", "-rn", sys.executable, *sys.argv, "inside"])
            import asyncio, fcntl, socket, struct, time
            from kinds import KINDS

            def switch_loopback(flags):
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", flags))  # SIOCSIFFLAGS

            class Protocol(asyncio.Protocol):
                def connection_made(self, transport):
                    self.lost = asyncio.get_running_loop().create_future()
                def connection_lost(self, exc):
                    self.lost.set_result(exc)

            async def main():
                loop = asyncio.get_running_loop()
                server = await loop.create_server(Protocol, "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                transport, protocol = await loop.create_connection(Protocol, *address)
                sock = transport.get_extra_info("socket")
                if sys.argv[2] == "keepalive":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1)
                else:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
                switch_loopback(0)
                if sys.argv[2] != "keepalive":
                    transport.write(b"nobody hears this")
                exception = await asyncio.wait_for(protocol.lost, 8)
                print(isinstance(exception, OSError), transport.is_closing())
                server.close()

            switch_loopback(1)
            with asyncio.Runner(loop_factory=KINDS[sys.argv[1]]) as runner:
                runner.run(main())
            """,
            kind,
            how,
        )
        assert done.stdout == "True True\n", done.stderr


class TestScheduling:
    def test_scenario_25_a_million_callbacks(self, loop):
        ran = [0]

        def count():
            ran[0] += 1

        for _ in range(1_000_000):
            loop.call_soon(count)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert ran == [1_000_000]
        sizes = []
        for _ in range(5):
            for _ in range(400_000):
                loop.call_soon(count)
            loop.call_soon(loop.stop)
            loop.run_forever()
            sizes.append(resident())
        assert ran == [3_000_000]
        assert sizes[-1] - sizes[1] < 8_000_000, sizes


POINTS = 12
"""How many turns an operation gets before it is cancelled: none, one, two…"""


class TestCancellation:
    @pytest.mark.parametrize(
        "operation",
        ["read", "drain", "sock_recv", "sock_sendall", "sock_accept", "getaddrinfo", "sleep", "connect"],
    )
    def test_scenario_30_at_every_point(self, operation, loop, run, pair):
        ours, theirs = pair

        async def main():
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            async with serving(Recorder) as address:
                reader, writer = await asyncio.open_connection(*address)
                writer.transport.set_write_buffer_limits(0)
                begin = {
                    "read": lambda: reader.read(10),
                    "drain": writer.drain,
                    "sock_recv": lambda: loop.sock_recv(ours, 10),
                    "sock_sendall": lambda: loop.sock_sendall(ours, bytes(10_000_000)),
                    "sock_accept": lambda: loop.sock_accept(listener),
                    "getaddrinfo": lambda: loop.getaddrinfo("localhost", 80),
                    "sleep": lambda: asyncio.sleep(100),
                    "connect": lambda: loop.create_connection(Recorder, *address),
                }[operation]
                for point in range(POINTS):
                    if operation == "drain":
                        writer.write(bytes(100_000))
                    task = loop.create_task(begin())
                    await turns(point)
                    task.cancel()
                    (result,) = await asyncio.gather(task, return_exceptions=True)
                    if isinstance(result, tuple):
                        result[0].abort()
                assert not loop.remove_reader(ours) and not loop.remove_writer(ours)
                assert not loop.remove_reader(listener)
                writer.transport.abort()
                await turns(3)
            await loop.shutdown_default_executor()
            listener.close()
            await asyncio.sleep(0.05)

        run(main())

    def test_scenario_30_communicate_at_every_point(self, loop, run):
        async def main():
            for point in range(POINTS):
                process = await asyncio.create_subprocess_exec(
                    "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
                )
                task = loop.create_task(process.communicate(b"x" * 10))
                await turns(point)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                if process.returncode is None:
                    process.kill()
                await process.wait()
                process._transport.close()
            await turns(3)

        run(main())


class TestEnd:
    def test_scenario_43_daemon_threads_at_the_end_of_the_interpreter(self, script, kind):
        """One runs a loop, others spam it; the main thread ends as if nothing were."""
        begun = time.monotonic()
        done = script(
            """
            import asyncio, sys, threading, time
            from kinds import KINDS
            loops = [KINDS[sys.argv[1]]() for _ in range(3)]
            def run(loop):
                async def main():
                    while True:
                        await asyncio.sleep(0)
                try:
                    loop.run_until_complete(main())
                except BaseException:
                    pass
            def spam(loop):
                while True:
                    loop.call_soon_threadsafe(int)
            for loop in loops:
                for target in (run, spam):
                    threading.Thread(target=target, args=(loop,), daemon=True).start()
            time.sleep(0.2)
            """,
            kind,
        )
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr
        assert time.monotonic() - begun < 15

    @pytest.mark.parametrize(
        "begin",
        [
            "loop.call_soon(slow)",
            "loop.call_later(0.001, slow)",
            "loop.create_task(task())",
            "loop.create_task(streams())",
            "loop.add_writer(theirs, slow)",
            "loop.create_task(loop.create_connection(Slow, sock=ours)); theirs.send(b'x')",
        ],
    )
    def test_scenario_43_a_daemon_thread_inside_a_slow_callback(self, script, kind, begin):
        """It wakes after the interpreter is gone, deep inside our frames."""
        done = script(
            f"""
            import asyncio, socket, sys, threading, time
            from kinds import KINDS
            loop = KINDS[sys.argv[1]]()
            ours, theirs = socket.socketpair()
            def slow(*arguments):
                while True:
                    time.sleep(0.2)
            async def task():
                slow()
            async def streams():
                reader, writer = await asyncio.open_connection(sock=ours)
                theirs.send(b"x")
                await reader.read(1)
                slow()
            class Slow(asyncio.Protocol):
                data_received = slow
            {begin}
            threading.Thread(target=loop.run_forever, daemon=True).start()
            time.sleep(0.15)
            class Last:  # the end of the interpreter takes a while after threads lost their right to run
                def __del__(self, sleep=time.sleep):
                    sleep(0.4)
            sys.last = Last()
            """,
            kind,
        )
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr

    def test_scenario_43_a_handler_that_was_registered_before_may_ask_a_loop(self, script, kind):
        done = script(
            """
            import atexit, sys, threading
            def ask():
                print(asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "answered"), loop).result(10))
            atexit.register(ask)
            import asyncio
            from kinds import KINDS
            loop = KINDS[sys.argv[1]]()
            threading.Thread(target=loop.run_forever, daemon=True).start()
            """,
            kind,
        )
        assert done.stdout == "answered\n"

    def test_scenario_44_two_loops_in_two_threads(self, new_loop):
        """They share nothing: each echoes while the other does."""
        results = []

        def work(loop):
            async def main():
                async with serving(Echo) as address:
                    reader, writer = await asyncio.open_connection(*address)
                    for number in range(300):
                        message = b"%06d" % number
                        writer.write(message)
                        assert await reader.readexactly(6) == message
                    writer.close()
                    await writer.wait_closed()

            loop.run_until_complete(asyncio.wait_for(main(), DEADLINE))
            results.append(loop)

        threads = [threading.Thread(target=work, args=(new_loop(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 2

    @pytest.mark.velodrome_only
    def test_scenario_44_a_sub_interpreter_is_refused(self, script):
        """It works there or says ImportError; never shared state."""
        name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
        done = script(
            f"""
            import {name} as interpreters
            import velodrome
            number = interpreters.create()
            try:
                outcome = interpreters.run_string(number, '''if True:
                    try:
                        import velodrome
                    except ImportError as error:
                        print("refused")
                    else:
                        import asyncio
                        print(velodrome.run(asyncio.sleep(0, "works")))
                ''')
                print("finished", outcome)
            finally:
                interpreters.destroy(number)
            loop = velodrome.new_event_loop()
            loop.close()
            """
        )
        assert done.stdout.splitlines()[0] in ("refused", "works"), done.stderr


def test_scenario_22_order_of_each_thread(loop):
    """More in tests/test_threads.py; here with a loop that is closed under them."""
    seen = {number: [] for number in range(8)}
    refused = []

    def spam(number):
        for count in range(20_000):
            try:
                loop.call_soon_threadsafe(seen[number].append, count)
            except RuntimeError:
                refused.append(number)
                return

    threads = [threading.Thread(target=spam, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    loop.run_until_complete(asyncio.wait_for(until(lambda: sum(map(len, seen.values())) >= 60_000), DEADLINE))
    loop.close()
    for thread in threads:
        thread.join()
    for counts in seen.values():
        assert counts == list(range(len(counts)))
