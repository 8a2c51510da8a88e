"""The hard bugs of other event loops, each by its number in the project's list.

``tests/promises.toml`` says where each row is shown, or why it cannot happen here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import time
import weakref

import pytest
from conftest import beside, idles, turns, until
from recorder import Echo, Recorder, linked, serving

DESCRIPTORS = "/proc/self/fd"


def reused(number):
    """A new socket pair whose first end got a number that was free just now."""
    ours, theirs = socket.socketpair()
    assert ours.fileno() == number, "the number was not free"
    return ours, theirs


class TestDescriptors:
    @pytest.mark.parametrize("how", ["cancelled", "factory fails"])
    def test_pitfall_01_a_socket_has_one_owner(self, how, loop, run):
        """A connection that fails closes its socket once: nothing later closes the number's next owner."""

        def fails():
            raise ZeroDivisionError

        async def main():
            async with serving(Recorder) as address:
                sock = socket.create_connection(address)
                sock.setblocking(False)
                await turns(3)  # the server's end has its number before ours is free
                number = sock.fileno()
                factory = fails if how == "factory fails" else Recorder
                task = loop.create_task(loop.create_connection(factory, sock=sock))
                await turns(1)
                task.cancel()
                with pytest.raises((asyncio.CancelledError, ZeroDivisionError)):
                    await task
                await turns(3)
                if how == "factory fails":  # asyncio leaves the socket to its owner then
                    sock.close()
                ours, theirs = reused(number)
                del sock, task
                gc.collect()
                with ours, theirs:
                    theirs.send(b"mine")
                    assert ours.recv(10) == b"mine"

        run(main())

    def test_pitfall_03_a_duplicate_does_not_keep_a_closed_descriptor_firing(self, loop, run):
        """epoll watches the open file, which a duplicate or a forked child keeps alive."""

        async def main():
            async with linked() as (client, server):
                sock = client.transport.get_extra_info("socket")
                duplicate = os.dup(sock.fileno())
                client.transport.abort()
                await client.until("lost")
                server.transport.write(b"nobody reads this")
                await idles()
                assert "data" not in client.names
                os.close(duplicate)

        run(main())

    def test_pitfall_04_a_cancelled_connect_watches_nothing(self, loop, run):
        async def main():
            full = socket.create_server(("127.0.0.1", 0), backlog=0)
            sockets = []
            with full:
                for _ in range(4):  # those beyond the backlog stay unanswered
                    sock = socket.socket()
                    sock.setblocking(False)
                    sockets.append(sock)
                    task = loop.create_task(loop.sock_connect(sock, full.getsockname()))
                    await turns(2)
                    waited = not task.done()
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    assert not loop.remove_writer(sock)
                assert waited, "the test needs a connection that waits"
                for sock in sockets:
                    sock.close()

        run(main())

    @pytest.mark.parametrize("method", ["sock_recv", "sock_accept", "sock_sendall"])
    def test_pitfall_10_a_socket_closed_under_an_operation_aborts_nothing(self, method, loop, run, pair):
        ours, theirs = pair

        async def main():
            operation = {
                "sock_recv": lambda: loop.sock_recv(ours, 10),
                "sock_accept": lambda: loop.sock_accept(ours),
                "sock_sendall": lambda: loop.sock_sendall(ours, bytes(10_000_000)),
            }[method]
            task = loop.create_task(operation())
            await turns(3)
            ours.close()
            theirs.close()
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with serving(Echo) as address:  # the loop still works
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
                await writer.wait_closed()

        run(main())


class TestBadInput:
    def test_pitfall_11_a_regular_file_is_no_pipe(self, loop, run, tmp_path):
        async def main():
            path = tmp_path / "file"
            path.write_bytes(b"x")
            for connect, mode in [(loop.connect_read_pipe, "rb"), (loop.connect_write_pipe, "wb")]:
                with open(path, mode) as file, pytest.raises(ValueError):
                    await connect(asyncio.Protocol, file)

        run(main())

    def test_pitfall_11_signals_that_are_none(self, loop):
        for number in (-1, 0, 65, 10**6):
            with pytest.raises(ValueError):
                loop.add_signal_handler(number, print)

    @pytest.mark.velodrome_only
    def test_pitfall_11_a_factory_that_fails(self, loop, run, errors):
        """asyncio leaves the sockets to the collector."""

        def fails():
            raise ZeroDivisionError

        async def main():
            async with serving(fails) as address:
                reader, writer = await asyncio.open_connection(*address)
                assert await reader.read() == b""
                writer.close()
                with pytest.raises(ZeroDivisionError):
                    await loop.create_connection(fails, *address)
            gc.collect()

        run(main())
        assert all(isinstance(context["exception"], ZeroDivisionError) for context in errors.take())

    @pytest.mark.parametrize("delay", [0, -1, -1e300, 1e-12, 0.0])
    def test_pitfall_37_delays_that_are_due(self, delay, loop, run):
        async def main():
            done = loop.create_future()
            loop.call_later(delay, done.set_result, None)
            await done

        run(main())

    @pytest.mark.parametrize("delay", [1e10, 1e300, float("inf"), 2**40])
    def test_pitfall_37_delays_beyond_all_time(self, delay, loop, run):
        async def main():
            handle = loop.call_later(delay, pytest.fail, "too early")
            await idles()
            handle.cancel()

        run(main())


class TestTransports:
    def test_pitfall_09_a_transport_used_in_its_last_callback(self, loop, run):
        class Protocol(Recorder):
            def connection_lost(self, exc):
                self.transport.close()
                self.transport.abort()
                self.transport.write(b"late")
                self.transport.get_extra_info("peername")
                super().connection_lost(exc)
                self.transport = None

        async def main():
            async with serving(Echo) as address:
                protocols = [(await loop.create_connection(Protocol, *address))[1] for _ in range(20)]
                for protocol in protocols:
                    protocol.transport.abort()
                for protocol in protocols:
                    await protocol.until("lost")
            gc.collect()
            assert all(protocol.names.count("lost") == 1 for protocol in protocols)

        run(main())

    @pytest.mark.velodrome_only
    def test_pitfall_12_closed_by_resume_writing(self, loop, run):
        """asyncio tells it twice."""

        class Protocol(Recorder):
            def resume_writing(self):
                super().resume_writing()
                self.transport.abort()

        async def main():
            async with linked(Protocol()) as (client, server):
                client.transport.write(bytes(10_000_000))
                await client.until("lost")
                await turns(3)
                assert client.names == ["made", "pause", "resume", "lost"]

        run(main())

    @pytest.mark.velodrome_only
    def test_pitfall_13_writelines_is_under_flow_control(self, loop, run):
        """CVE-2024-12254: in asyncio before 3.13.2 it is not."""

        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                for _ in range(200):
                    if "pause" in client.names:
                        break
                    client.transport.writelines([bytes(50_000)] * 4)
                assert "pause" in client.names
                assert client.transport.get_write_buffer_size() < 1_000_000

        run(main())

    @pytest.mark.velodrome_only
    def test_pitfall_14_the_size_of_the_buffer_is_a_counter(self, loop, run):
        """Asking for it once per write, with a hundred thousand writes waiting, is not quadratic."""

        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.set_write_buffer_limits(high=1 << 40)
                client.transport.write(bytes(8_000_000))
                before = client.transport.get_write_buffer_size()
                sizes = []
                for _ in range(100_000):
                    client.transport.write(b"0123456789")
                    sizes.append(client.transport.get_write_buffer_size())
                assert sizes == [before + 10 * (n + 1) for n in range(100_000)]
                server.transport.resume_reading()
                assert len(await server.until_received(9_000_000)) == 9_000_000
                assert server.data.endswith(b"0123456789" * 100_000)
                assert client.transport.get_write_buffer_size() == 0

        run(main())

    @pytest.mark.velodrome_only
    def test_pitfall_15_what_the_caller_changes_later_is_not_sent(self, loop, run):
        """asyncio keeps a view of the caller's buffer from 3.12 on."""

        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                buffer = bytearray(b"old " * 2_000_000)
                client.transport.write(buffer)
                client.transport.writelines([b"x", memoryview(buffer)])
                buffer[:] = b"new " * 2_000_000
                server.transport.resume_reading()
                await server.until_received(2 * len(buffer) + 1)
                assert b"n" not in server.data

        run(main())

    def test_pitfall_16_a_write_before_stop_leaves(self, loop, run):
        ours, theirs = socket.socketpair()
        transport, _ = run(loop.create_connection(Recorder, sock=ours))

        def last_words():
            transport.write(b"headers, ")
            transport.write(b"body")
            loop.stop()
            transport.write(b", end")

        with theirs:
            for _ in range(2):  # the second time they are gathered
                loop.call_soon(last_words)
                loop.run_forever()
                theirs.settimeout(1)
                received = b""
                while len(received) < 18:
                    received += theirs.recv(100)
                assert received == b"headers, body, end"
            transport.abort()
            run(turns(2))


class TestSignals:
    def test_pitfall_28_a_handler_is_there_when_adding_it_returns(self, loop, run):
        async def main():
            for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
                seen = loop.create_future()
                loop.add_signal_handler(number, seen.set_result, None)
                os.kill(os.getpid(), number)  # the default would end this process
                await seen
                assert loop.remove_signal_handler(number)

        run(main())

    def test_pitfall_29_ctrl_c_is_noticed_by_an_idle_loop(self, loop):
        before = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(before)
        begun = time.monotonic()
        with beside(os.kill, os.getpid(), signal.SIGINT, after=0.05), pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert time.monotonic() - begun < 5
        assert signal.set_wakeup_fd(before) == before

    def test_pitfall_30_an_interruption_loses_no_callback(self, loop):
        ran = []

        def interrupt(number):
            ran.append(number)
            if number % 10 == 3:
                raise KeyboardInterrupt

        for number in range(100):
            loop.call_soon(interrupt, number)
        loop.call_soon(loop.stop)
        for _ in range(10):
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
        loop.run_forever()
        assert ran == list(range(100))


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.received, self.problems, self.lost = [], [], 0

    def datagram_received(self, data, addr):
        self.received.append(data)

    def error_received(self, exc):
        self.problems.append(exc)

    def connection_lost(self, exc):
        self.lost += 1


class TestDatagrams:
    def test_pitfall_31_an_error_of_sending_is_not_fatal(self, loop, run):
        async def main():
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                address = sock.getsockname()
            # Nobody is there any more: the kernel answers a send with an error.
            transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
            for _ in range(3):
                transport.sendto(b"x")
                await asyncio.sleep(0.01)
            transport.sendto(bytes(100_000))  # larger than any datagram
            await until(lambda: len(protocol.problems) >= 2)
            assert all(isinstance(problem, OSError) for problem in protocol.problems)
            assert not transport.is_closing() and not protocol.lost
            transport.close()
            await until(lambda: protocol.lost)

        run(main())

    def test_pitfall_32_an_endpoint_that_is_forgotten(self, loop, run):
        async def main():
            ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
            transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=ours)
            reference = weakref.ref(transport)
            theirs.send(b"on its way")  # an event for what is gone
            transport.abort()
            del transport
            gc.collect()
            await turns(3)
            gc.collect()
            assert reference() is None and not protocol.received and protocol.lost == 1
            theirs.close()
            await idles()

        run(main())

    def test_pitfall_33_empty_datagrams_and_none_after_close(self, loop, run):
        async def main():
            transport, protocol = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
            address = transport.get_extra_info("sockname")
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                for data in (b"", b"x", b""):
                    sock.sendto(data, address)
                await until(lambda: len(protocol.received) == 3)
                assert protocol.received == [b"", b"x", b""]
                for _ in range(5):
                    sock.sendto(b"late", address)
                transport.close()
                await until(lambda: protocol.lost)
                await turns(5)
                assert len(protocol.received) == 3 and protocol.lost == 1

        run(main())


class TestCancellation:
    def test_pitfall_07_a_cancelled_receive_takes_nothing(self, loop, run, pair):
        ours, theirs = pair

        async def main():
            for number in range(30):
                task = loop.create_task(loop.sock_recv(ours, 100))
                await turns(1)
                message = b"%d" % number
                theirs.send(message)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await loop.sock_recv(ours, 100) == message

        run(main())

    def test_pitfall_34_a_cancelled_accept_drops_nobody(self, loop, run):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setblocking(False)
                task = loop.create_task(loop.sock_accept(listener))
                await turns(2)
                client = socket.create_connection(listener.getsockname())
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert not loop.remove_reader(listener)
                accepted, _ = await loop.sock_accept(listener)
                assert accepted.getpeername() == client.getsockname()
                accepted.close()
                client.close()

        run(main())

    def test_pitfall_35_a_connection_cut_off_by_a_time_limit_leaks_nothing(self, loop, run):
        async def main():
            gc.collect()
            async with serving(Recorder) as address:
                before = len(os.listdir(DESCRIPTORS))
                for number in range(100):
                    task = loop.create_task(loop.create_connection(Recorder, *address))
                    for _ in range(number % 6):
                        await asyncio.sleep(0)
                    task.cancel()
                    (result,) = await asyncio.gather(task, return_exceptions=True)
                    if not isinstance(result, BaseException):
                        result[0].abort()
                await until(lambda: len(os.listdir(DESCRIPTORS)) <= before + 100)
                await asyncio.sleep(0.05)
                gc.collect()
                return len(os.listdir(DESCRIPTORS)) - before

        # What is left are the server's ends of connections that nobody has closed yet: they see the end now.
        assert run(main()) <= 100
        # The fixture that counts descriptors after the test is the judge.


class TestTimers:
    def test_pitfall_36_a_timer_that_is_due_does_not_wait_for_others(self, loop, run):
        async def main():
            for delay in (0, 1e-9, 0.0001, 0.001):
                begun = time.monotonic()
                done = loop.create_future()
                loop.call_later(delay, done.set_result, None)
                # It becomes due while the turn runs.
                while time.monotonic() - begun < 0.002:
                    pass
                await asyncio.wait_for(done, 1)
                assert time.monotonic() - begun < 0.5

        run(main())


def test_pitfall_38_a_listener_without_descriptors_does_not_spin(script, kind):
    """More in tests/test_server.py; here the processor's time, and that no file is needed to say so."""
    done = script(
        """
        import asyncio, os, resource, socket, sys, time
        from kinds import KINDS

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: None)
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.sockets[0].getsockname())
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limit[1]))
            taken = []
            try:
                while True:
                    taken.append(os.dup(client.fileno()))
            except OSError:
                pass
            before = time.process_time()
            await asyncio.sleep(0.5)
            print(time.process_time() - before < 0.2)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            for descriptor in taken:
                os.close(descriptor)
            client.close()
            server.close()

        with asyncio.Runner(loop_factory=KINDS[sys.argv[1]]) as runner:
            runner.run(main())
        """,
        kind,
    )
    assert done.stdout == "True\n"


class TestObjects:
    def test_pitfall_40_tasks_and_futures_are_those_of_asyncio(self, loop, run):
        async def main():
            task = loop.create_task(asyncio.sleep(0))
            assert type(task) is asyncio.Task and type(loop.create_future()) is asyncio.Future
            assert task in asyncio.all_tasks()
            await task

        run(main())

    def test_pitfall_41_cycles_are_collected(self, loop, run):
        class Node:
            pass

        async def main():
            references = []
            for schedule in (loop.call_soon, lambda *call: loop.call_later(1000, *call)):
                node = Node()
                node.handle = schedule(print, node)
                node.handle.cancel()
                references.append(weakref.ref(node))
            async with linked() as (client, server):
                client.cycle = client.transport
                references += [weakref.ref(client), weakref.ref(server)]
            del node, client, server
            await turns(5)
            gc.collect()
            assert [reference() for reference in references] == [None] * 4

        run(main())

    def test_pitfall_41_destructors_may_come_back_in(self, loop, run):
        """An object whose end schedules, writes and closes while the loop lets go of it."""
        ran = []

        class Back:
            def __init__(self, transport):
                self.transport = transport

            def __del__(self):
                loop.call_soon(ran.append, 1)
                self.transport.write(b"from a destructor")
                self.transport.close()

        async def main():
            async with linked() as (client, server):
                loop.call_soon(lambda back: None, Back(client.transport))
                handle = loop.call_later(1000, lambda back: None, Back(server.transport))
                handle.cancel()
                await client.until("lost")
                await server.until("lost")
                assert ran

        run(main())


def test_pitfall_03_the_poller_sees_a_close_before_the_number_is_used_again(loop, run):
    """Close and reuse within one turn: the old watch must not speak for the new owner."""

    async def main():
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        stale = []
        loop.add_reader(ours, stale.append, "old")
        theirs.send(b"x")
        assert select.select([ours], [], [], 1)[0]
        loop.remove_reader(ours)
        ours.close()
        fresh, peer = reused(number)
        with fresh, peer, theirs:
            fresh.setblocking(False)
            task = loop.create_task(loop.sock_recv(fresh, 10))
            await turns(3)
            assert not task.done() and not stale
            peer.send(b"new")
            assert await task == b"new"

    run(main())
