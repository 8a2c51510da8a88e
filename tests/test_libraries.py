"""What libraries touch on a loop, each by its number in the project's list; the names say who needs it.

``tests/promises.toml`` says where each line is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import weakref

import pytest
from conftest import beside, turns, until
from recorder import Echo, Recorder, linked, serving


class TestTypes:
    def test_compatibility_01_aiohttp_base_event_loop_and_eager_tasks(self, loop, run):
        async def main():
            assert isinstance(loop, asyncio.BaseEventLoop)
            ran = []

            async def first_part():
                ran.append("at once")
                await asyncio.sleep(0)
                return 1

            if sys.version_info >= (3, 12):
                task = asyncio.Task(first_part(), loop=loop, eager_start=True)
                assert ran == ["at once"]
                assert await task == 1
            variable = contextvars.ContextVar("variable", default=0)
            context = contextvars.copy_context()
            context.run(variable.set, 5)

            async def look():
                return variable.get()

            task = loop.create_task(look(), name="named", context=context)
            assert task.get_name() == "named" and await task == 5
            if sys.version_info >= (3, 14):
                task = loop.create_task(first_part(), eager_start=True)
                assert ran[-1] == "at once" and await task == 1

        run(main())

    def test_compatibility_02_nest_asyncio_reads_and_patches(self, loop):
        for name in (
            "_ready",
            "_scheduled",
            "_selector",
            "_thread_id",
            "_stopping",
            "_clock_resolution",
            "_asyncgens",
            "_debug",
            "_closed",
        ):
            getattr(loop, name)
        assert loop._thread_id is None and not loop._ready and not loop._scheduled
        assert callable(loop._process_events)

    def test_compatibility_02_nest_asyncio_runs_inside_a_run(self, loop, pair):
        """The package itself is tried by make ecosystem; these are the places that its patch goes through."""

        class Patched(type(loop)):
            _nest_patched = True

            def _run_once(self):
                ready, scheduled = self._ready, self._scheduled
                wait = scheduled[0]._when - self.time() if scheduled else None
                self._process_events(self._selector.select(0 if ready else wait))
                while scheduled and scheduled[0]._when < self.time() + self._clock_resolution:
                    ready.append(heapq.heappop(scheduled))
                for _ in range(len(ready)):
                    handle, task = ready.popleft(), asyncio.current_task(self)
                    if task is not None:
                        asyncio.tasks._leave_task(self, task)
                    handle._run()
                    if task is not None:
                        asyncio.tasks._enter_task(self, task)

            def run_until_complete(self, awaitable):
                future, before = asyncio.ensure_future(awaitable, loop=self), asyncio._get_running_loop()
                asyncio._set_running_loop(self)
                try:
                    while not future.done():
                        self._run_once()
                finally:
                    asyncio._set_running_loop(before)
                return future.result()

        async def outer(depth):
            task = asyncio.current_task()
            await asyncio.sleep(0.001)
            if depth > 0:
                assert patched.run_until_complete(outer(depth - 1)) == depth - 1
            assert asyncio.current_task() is task
            patched.call_soon(pair[1].send, b"%d" % depth)
            assert await patched.sock_recv(pair[0], 10) == b"%d" % depth
            beside.append(depth)
            return depth

        beside = []
        with contextlib.closing(Patched()) as patched:
            patched.call_later(0.0005, beside.append, "timer")
            assert patched.run_until_complete(outer(3)) == 3
        assert beside == ["timer", 0, 1, 2, 3]

    def test_compatibility_02_nest_asyncio_puts_python_futures_in_place(self, script, kind):
        """After the loop has run once, and looked up a part of asyncio."""
        done = script(
            """
            import asyncio, sys
            from kinds import KINDS
            loop = KINDS[sys.argv[1]]()
            loop.set_exception_handler(lambda loop, context: None)
            loop.call_soon(lambda: 1 / 0)
            loop.run_until_complete(asyncio.sleep(0))
            asyncio.Task = asyncio.tasks._CTask = asyncio.tasks.Task = asyncio.tasks._PyTask
            asyncio.Future = asyncio.futures._CFuture = asyncio.futures.Future = asyncio.futures._PyFuture

            async def echo(reader, writer):
                writer.write(await reader.readline())
                await writer.drain()
                writer.close()

            async def main():
                server = await asyncio.start_server(echo, "127.0.0.1", 0)
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                await asyncio.sleep(0.01)
                writer.write(b"hello\\n")
                print(await reader.readline())
                writer.close()
                server.close()

            loop.run_until_complete(main())
            loop.close()
            """,
            kind,
        )
        assert (done.stdout, done.stderr) == ("b'hello\\n'\n", "")

    def test_compatibility_02_nested_runs_are_refused_clearly(self, loop, run):
        """A run inside a run needs nest_asyncio; without it the loop says so."""

        async def main():
            coroutine = asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="already running|another loop is running"):
                loop.run_until_complete(coroutine)
            coroutine.close()

        run(main())

    def test_compatibility_03_transports_are_those_of_asyncio(self, loop, run):
        async def main():
            async with linked() as (client, _):
                assert isinstance(client.transport, asyncio.Transport)
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
            if sys.version_info >= (3, 12):  # asyncio's own was none before
                assert isinstance(transport, asyncio.DatagramTransport)
            transport.close()
            read, write = os.pipe()
            reader, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(read, "rb"))
            writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write, "wb"))
            assert isinstance(reader, asyncio.ReadTransport) and isinstance(writer, asyncio.WriteTransport)
            reader.close()
            writer.close()
            await turns(3)

        run(main())

    def test_compatibility_04_prompt_toolkit_and_aiodebug_look_into_handles(self, loop):
        handle = loop.call_soon(print, 1, 2)
        timer = loop.call_later(1000, print, 3)
        assert isinstance(handle, asyncio.Handle) and isinstance(timer, asyncio.TimerHandle)
        assert handle._callback is print and handle._args == (1, 2)
        assert timer._callback is print and timer._args == (3,)
        assert not handle._cancelled and handle._context is not None
        handle.cancel()
        timer.cancel()

    def test_compatibility_05_anyio_finds_the_root_task(self, loop):
        async def main():
            (callback,) = [entry[0] for entry in asyncio.current_task()._callbacks]
            return callback

        assert loop.run_until_complete(main()) is asyncio.base_events._run_until_complete_cb

    def test_compatibility_06_granian_subclasses_tasks(self, loop, run):
        class Task(asyncio.tasks.Task):
            pass

        async def main():
            assert await Task(asyncio.sleep(0, "result"), loop=loop) == "result"
            task = asyncio.current_task()
            asyncio.tasks._leave_task(loop, task)
            asyncio.tasks._enter_task(loop, task)
            assert asyncio.current_task() is task

        run(main())


class TestLoopObject:
    def test_compatibility_07_home_assistant_sets_attributes(self, loop, run):
        loop.time = time.monotonic
        loop.set_default_executor = lambda executor: None
        loop._shutdown_run_callback_threadsafe = True
        assert list(loop._scheduled) == []

        async def main():
            await asyncio.sleep(0.001)

        run(main())

    def test_compatibility_08_aiocop_wraps_methods_of_the_instance(self, loop, run):
        calls = []

        def wrap(name):
            original = getattr(loop, name)

            def wrapped(*arguments, **keywords):
                calls.append(name)
                return original(*arguments, **keywords)

            setattr(loop, name, wrapped)

        for name in ("call_soon", "call_later", "call_at", "call_soon_threadsafe", "call_exception_handler"):
            wrap(name)

        async def main():
            await asyncio.sleep(0.001)
            done = loop.create_future()
            with beside(loop.call_soon_threadsafe, lambda: done.cancelled() or done.set_result(None)):
                await done

        run(main())
        assert {"call_soon", "call_later", "call_at", "call_soon_threadsafe"} <= set(calls)

    def test_compatibility_09_sanic_and_prompt_toolkit_read_private_state(self, loop):
        loop._stopping = False
        assert loop._default_executor is None
        assert len(loop._ready) == 0
        loop.call_soon(print)
        assert len(loop._ready) == 1
        loop.add_signal_handler(signal.SIGUSR1, print, 1)
        handle = loop._signal_handlers[signal.SIGUSR1]
        assert handle._callback is print and handle._args == (1,)
        loop.remove_signal_handler(signal.SIGUSR1)
        assert loop._debug is False and loop._closed is False and loop.slow_callback_duration == 0.1
        assert isinstance(loop._asyncgens, weakref.WeakSet)

    def test_compatibility_10_a_loop_of_ones_own(self, loop):
        """temporal and qasync make theirs from asyncio's base classes: importing ours changes nothing."""

        class Own(asyncio.SelectorEventLoop):
            pass

        own = Own()
        assert own.run_until_complete(asyncio.sleep(0, 7)) == 7
        own.close()


class TestTransports:
    def test_compatibility_11_the_socket_of_a_transport(self, loop, run):
        async def main():
            async with linked() as (client, _):
                transport = client.transport
                sock = transport.get_extra_info("socket")
                assert isinstance(sock, asyncio.trsock.TransportSocket)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.family == socket.AF_INET and sock.fileno() > 0
                assert sock.getpeername() == transport.get_extra_info("peername")
                assert sock.getsockname() == transport.get_extra_info("sockname")
                assert sock._sock.fileno() == sock.fileno()
                transport._extra["serial"] = 1
                assert transport.get_extra_info("serial") == 1
                transport.flush = transport.loop = None
                assert transport._sock.fileno() == sock.fileno()

        run(main())

    def test_compatibility_12_the_address_of_a_peer_that_left(self, loop, run):
        seen = []

        class Server(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                loop.call_later(0.01, lambda: seen.append(transport.get_extra_info("peername")))

        async def main():
            async with serving(Server) as address:
                with socket.create_connection(address) as sock:
                    ours = sock.getsockname()
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                await until(lambda: seen)
                assert seen == [ours]

        run(main())

    @pytest.mark.parametrize("limits", [{"high": 0}, {"low": 16384, "high": 65536}, {"high": 32768}])
    def test_compatibility_13_pause_and_resume_alternate(self, limits, loop, run):
        class Protocol(Recorder):
            paused = False

            def connection_made(self, transport):
                transport.set_write_buffer_limits(**limits)
                super().connection_made(transport)

            def pause_writing(self):
                assert not self.paused  # as aiohttp does
                self.paused = True

            def resume_writing(self):
                assert self.paused
                self.paused = False

        async def main():
            async with linked(Protocol()) as (client, server):
                for _ in range(20):
                    client.transport.write(bytes(200_000))
                    await turns(2)
                await server.until_received(4_000_000)
                await until(lambda: not client.paused)

        run(main())

    def test_compatibility_14_writes_after_close_are_dropped(self, loop, run, caplog):
        async def main():
            async with linked() as (client, _):
                client.transport.abort()
                await client.until("lost")
                for _ in range(10):
                    client.transport.write(b"late")

        with caplog.at_level(logging.WARNING, "asyncio"):
            run(main())
        assert "socket.send() raised exception." in caplog.messages

    def test_compatibility_15_asyncpg_reuses_its_buffer(self, loop, run):
        """What the kernel takes at once is the old content; tests/test_pitfalls.py has the rest."""

        async def main():
            async with linked() as (client, server):
                buffer = bytearray(1000)
                for value in range(100):
                    buffer[:] = bytes([value]) * 1000
                    if value % 2:
                        client.transport.writelines([memoryview(buffer)[:500], memoryview(buffer)[500:]])
                    else:
                        client.transport.write(memoryview(buffer))
                    buffer[:] = bytes(1000)
                expected = b"".join(bytes([value]) * 1000 for value in range(100))
                assert await server.until_received(100_000) == expected

        run(main())

    def test_compatibility_16_aiohttp_sends_files(self, loop, run, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(os.urandom(300_000))

        async def main():
            async with linked() as (client, server):
                with path.open("rb") as file:
                    assert await loop.sendfile(client.transport, file, 1000, 200_000) == 200_000
                    assert file.tell() == 201_000
                assert await server.until_received(200_000) == path.read_bytes()[1000:201_000]

        run(main())

    @pytest.mark.velodrome_only
    def test_compatibility_17_writes_of_a_turn_leave_together(self, loop, run):
        """A datagram-like socket shows the borders: SOCK_SEQPACKET keeps what one system call sent."""

        async def main():
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            with theirs:
                transport = loop._make_socket_transport(ours, Recorder())
                await turns(2)
                for _ in range(2):  # whom it sees writing twice in a turn it gathers from then on
                    loop.call_soon(transport.writelines, [b"head", b"ers "])
                    loop.call_soon(transport.write, b"body")
                    await turns(3)
                theirs.settimeout(1)
                packets = [theirs.recv(100) for _ in range(3)]
                transport.abort()
                await turns(2)
                return packets

        assert run(main()) == [b"headers ", b"body", b"headers body"]

    def test_compatibility_18_websockets_reads_the_context_of_a_server(self, loop, run):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            assert server._ssl_context is None
            assert isinstance(server.sockets, tuple) and server.sockets[0].getsockname()[1] > 0
            server.close()

        run(main())

    def test_compatibility_19_anyio_and_autobahn_with_processes(self, loop, run):
        async def main():
            transport, protocol = await loop.subprocess_exec(
                lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=65536, loop=loop),
                sys.executable,
                "-c",
                "print(input())",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            process = asyncio.subprocess.Process(transport, protocol, loop)
            assert all(transport.get_pipe_transport(number) is not None for number in range(3))
            assert isinstance(transport.get_extra_info("subprocess"), subprocess.Popen)
            assert transport.get_pipe_transport(1).get_extra_info("pipe") is not None
            out, _ = await process.communicate(b"hello\n")
            assert out == b"hello\n" and process.returncode == 0
            process.stdin._transport.close()
            transport.close()

        run(main())


class TestReaders:
    def test_compatibility_20_grpc_reads_one_byte_per_event(self, loop, run, pair):
        """Level-triggered: as long as a byte is left, the callback is called again."""
        ours, theirs = pair

        async def main():
            read = []
            loop.add_reader(ours, lambda: read.append(ours.recv(1)))
            theirs.send(b"0123456789")
            await until(lambda: len(read) == 10)
            loop.remove_reader(ours)
            assert b"".join(read) == b"0123456789"

        run(main())

    def test_compatibility_21_psycopg_adds_a_reader_for_each_wait(self, loop, run, pair):
        ours, theirs = pair

        async def ready(add, remove):
            event = asyncio.Event()
            add(ours, event.set)
            try:
                await event.wait()
            finally:
                assert remove(ours)

        async def main():
            for number in range(500):
                await ready(loop.add_writer, loop.remove_writer)
                theirs.send(b"%d" % number)
                await ready(loop.add_reader, loop.remove_reader)
                assert ours.recv(100) == b"%d" % number

        run(main())

    def test_compatibility_21_aiomqtt_adds_a_reader_from_another_thread(self, loop, run, pair):
        ours, theirs = pair

        async def main():
            done = loop.create_future()

            def thread():
                loop.call_soon_threadsafe(
                    loop.add_reader, ours, lambda: done.done() or done.set_result(ours.recv(9))
                )
                theirs.send(b"x")

            with beside(thread):
                assert await done == b"x"
            loop.remove_reader(ours)

        run(main())

    def test_compatibility_22_prompt_toolkit_learns_at_once_that_a_file_cannot_be_watched(
        self, loop, tmp_path
    ):
        with (tmp_path / "file").open("wb") as file, pytest.raises(PermissionError):
            loop.add_reader(file, print)

    @pytest.mark.velodrome_only
    def test_compatibility_23_a_number_used_again(self, loop, run):
        async def main():
            called = []
            ours, theirs = socket.socketpair()
            number = ours.fileno()
            loop.add_reader(ours, called.append, "old")
            ours.close()  # without remove_reader
            fresh, peer = socket.socketpair()
            assert fresh.fileno() == number
            with theirs, fresh, peer:
                loop.add_reader(fresh, lambda: called.append(fresh.recv(9)))
                peer.send(b"new")
                await until(lambda: called)
                assert called == [b"new"]
                loop.remove_reader(fresh)

        run(main())


class TestClock:
    def test_compatibility_26_the_clock_is_the_monotonic_one_and_can_be_replaced(self, loop):
        assert abs(loop.time() - time.monotonic()) < 0.1
        now = 1000.0
        loop.time = lambda: now
        fired = []
        loop.call_later(3600, fired.append, 1)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert not fired
        now += 3600
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert fired == [1]

    def test_compatibility_27_uvicorn_installs_handlers_behind_the_loops_back(self, loop):
        """signal.signal while the loop runs: the handler runs in time."""
        seen = []
        before = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))

        async def main():
            async with asyncio.timeout(5):
                while not seen:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        with beside(os.kill, os.getpid(), signal.SIGUSR2, after=0.02):
            loop.run_until_complete(main())
        signal.signal(signal.SIGUSR2, before)
        assert seen == [signal.SIGUSR2]

    def test_compatibility_28_textual_sets_the_eager_factory(self, loop, run):
        if sys.version_info < (3, 12):
            pytest.skip("eager tasks came with 3.12")
        loop.set_task_factory(asyncio.eager_task_factory)

        async def main():
            order = []

            async def child(number):
                order.append(number)
                await asyncio.sleep(0)
                order.append(-number)

            async with asyncio.TaskGroup() as group:
                for number in (1, 2):
                    group.create_task(child(number))
                order.append("made")
            assert order == [1, 2, "made", -1, -2]

        run(main())

    def test_compatibility_29_playwright_hides_the_running_loop(self, loop, run):
        """It runs the loop in a greenlet, and takes the mark of the running loop away meanwhile."""

        async def main():
            asyncio._set_running_loop(None)
            try:
                with pytest.raises(RuntimeError):
                    asyncio.get_running_loop()
            finally:
                asyncio._set_running_loop(loop)
            await asyncio.sleep(0)

        run(main())

    @pytest.mark.velodrome_only
    def test_compatibility_30_blockbuster_sees_no_blocking_call_of_ours(self, loop, run):
        """It finds blocking calls by the Python function around them: a conversation makes none in Python."""
        blocking = []

        def look(frame, event, function):
            if event == "c_call" and getattr(function, "__name__", "") in (
                "recv",
                "send",
                "sendall",
                "accept",
            ):
                blocking.append(function)

        async def main():
            async with serving(Echo) as address:
                sys.setprofile(look)
                try:
                    reader, writer = await asyncio.open_connection(*address)
                    writer.write(b"hello")
                    assert await reader.readexactly(5) == b"hello"
                    writer.close()
                    await writer.wait_closed()
                finally:
                    sys.setprofile(None)

        run(main())
        assert not blocking
