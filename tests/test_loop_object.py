"""The loop as a Python object: what it is, what may be put on it, and how it dies."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import socket
import threading
import time
import weakref

import pytest
from conftest import open_descriptors
from kinds import KINDS
from recorder import Echo, Recorder, serving


def one_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_types(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.BaseEventLoop)


def test_every_method_of_asyncio_is_there(loop):
    for name, method in vars(asyncio.AbstractEventLoop).items():
        if inspect.isfunction(method):
            assert callable(getattr(loop, name))
            own = getattr(type(loop), name)
            assert own is not method or name.startswith("__"), f"{name} is left abstract"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, method in vars(asyncio.AbstractEventLoop).items()
        if inspect.isfunction(method) and not name.startswith("_")
    ],
)
def test_what_asyncio_awaits_is_awaited(loop, name):
    """What returns at once there, returns at once here."""
    theirs, ours = getattr(asyncio.SelectorEventLoop, name), getattr(type(loop), name)
    if not inspect.iscoroutinefunction(theirs):
        assert not inspect.iscoroutinefunction(ours)


def test_attributes(loop):
    loop.anything = 42
    assert loop.anything == 42
    assert vars(loop)["anything"] == 42
    del loop.anything
    assert not hasattr(loop, "anything")


@pytest.mark.velodrome_only
def test_the_loop_itself_fills_no_dictionary(loop, tmp_path):
    """CPython 3.13 finds methods slowly in an object that has one."""

    async def main():
        server = await asyncio.start_unix_server(lambda _, writer: writer.close(), tmp_path / "socket")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        assert await reader.read() == b""
        writer.close()
        server.close()
        await asyncio.to_thread(len, b"")
        await loop.getaddrinfo("localhost", 80)
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.set_exception_handler(None)
        await (await asyncio.create_subprocess_exec("true")).wait()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert vars(loop) == {}


def test_weak_references_and_hash(loop):
    assert weakref.ref(loop)() is loop
    assert {loop: 1}[loop] == 1
    assert loop == loop


def test_what_libraries_look_at(loop):
    """Read by prompt_toolkit, anyio, Home Assistant and others."""
    assert loop._debug is False
    assert loop._thread_id is None
    assert loop._closed is False
    assert loop._default_executor is None
    assert loop._stopping is False
    assert loop.slow_callback_duration == 0.1
    assert len(loop._ready) == 0
    assert len(loop._scheduled) == 0
    assert len(loop._asyncgens) == 0
    assert loop._signal_handlers == {}
    loop.call_soon(int)
    loop.call_later(1000, int)
    assert len(loop._ready) == 1
    assert len(loop._scheduled) == 1
    seen = []
    loop.call_soon(lambda: seen.append(loop._thread_id))
    one_turn(loop)
    assert seen == [threading.get_ident()]


class TestOverriding:
    """A method replaced on the instance or in a subclass is the one that counts."""

    def test_time_on_the_instance(self, loop):
        """looptime and Home Assistant do so."""
        now = 1000.0
        loop.time = lambda: now
        seen = []
        handle = loop.call_later(5, seen.append, "timer")
        assert handle.when() == 1005
        one_turn(loop)
        one_turn(loop)
        assert seen == []
        now = 1006.0
        one_turn(loop)
        one_turn(loop)
        assert seen == ["timer"]

    def test_time_as_a_builtin(self, loop):
        loop.time = time.monotonic
        loop.call_later(0.001, loop.stop)
        loop.run_forever()

    def test_time_in_a_subclass(self, kind):
        class Ahead(KINDS[kind]):
            """With a clock that began earlier."""

            def time(self):
                return super().time() + 10**6

        loop = Ahead()
        assert loop.call_later(1000, print).when() > 10**6
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()

    def test_call_soon_on_the_instance(self, loop):
        """aiocop watches callbacks by it."""
        seen = []
        original = loop.call_soon

        def call_soon(callback, *arguments, **options):
            seen.append(callback)
            return original(callback, *arguments, **options)

        loop.call_soon = call_soon
        future = loop.create_future()
        future.add_done_callback(print)
        future.remove_done_callback(print)
        loop.run_until_complete(asyncio.sleep(0))
        assert seen
        del loop.call_soon

    def test_call_soon_in_a_subclass(self, kind):
        seen = []

        class Watching(KINDS[kind]):
            """Counts what is scheduled."""

            def call_soon(self, callback, *arguments, context=None):
                seen.append(callback)
                return super().call_soon(callback, *arguments, context=context)

        loop = Watching()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert seen

    def test_call_at_in_a_subclass(self, kind):
        seen = []

        class Watching(KINDS[kind]):
            """Counts timers."""

            def call_at(self, when, callback, *arguments, context=None):
                seen.append(when)
                return super().call_at(when, callback, *arguments, context=context)

        loop = Watching()
        loop.call_later(1000, print).cancel()
        loop.close()
        assert seen

    def test_run_and_close_in_a_subclass(self, kind):
        seen = []

        class Watching(KINDS[kind]):
            """Notes runs and closes."""

            def __init__(self, *arguments):
                super().__init__(*arguments)
                self.own = 1

            def run_forever(self):
                seen.append("run")
                super().run_forever()

            def close(self):
                seen.append("close")
                super().close()

        loop = Watching()
        assert loop.own == 1
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert seen == ["run", "close"]

    def test_getaddrinfo(self, run, loop):
        """Libraries put their own resolver there."""
        asked = []

        async def main():
            async with serving(Recorder) as address:

                async def getaddrinfo(host, port, **options):
                    asked.append((host, port))
                    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

                loop.getaddrinfo = getaddrinfo
                transport, protocol = await loop.create_connection(Recorder, "their.name", 80)
                transport.abort()
                await protocol.until("lost")

        run(main())
        assert asked == [("their.name", 80)]

    def test_attributes_of_the_class(self, kind):
        class Mine(KINDS[kind]):
            """With an attribute."""

            mark = 1

        loop = Mine()
        assert loop.mark == 1
        assert Mine.__name__ in repr(loop)
        loop.close()


class TestDying:
    """Loops that are closed, dropped, and collected."""

    def test_what_outlives_it_keeps_no_descriptor_of_it(self, new_loop, pair):
        descriptors = open_descriptors()

        async def main():
            reader, writer = await asyncio.open_connection(sock=pair[0])
            pair[1].send(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()
            await writer.wait_closed()
            return writer

        loop = new_loop()
        writer = loop.run_until_complete(main())
        receiving = loop.sock_recv(pair[1], 10)
        loop.close()
        assert open_descriptors() <= descriptors
        assert writer.is_closing()
        receiving.close()

    def test_a_closed_loop_is_freed(self, new_loop, kind):
        loop = KINDS[kind]()
        loop.call_soon(int)
        loop.call_later(1000, int)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        alive = weakref.ref(loop)
        del loop
        gc.collect()
        assert alive() is None

    def test_a_loop_in_cycles_is_freed(self, kind):
        loop = KINDS[kind]()
        loop.me = loop
        loop.call_soon(loop.call_soon, loop)
        loop.call_later(1000, loop.call_soon, loop)
        loop.set_exception_handler(lambda *_, loop=loop: loop)
        loop.close()
        alive = weakref.ref(loop)
        del loop
        gc.collect()
        assert alive() is None

    def test_many_loops(self, new_loop):
        loops = [new_loop() for _ in range(50)]
        for number, loop in enumerate(loops):
            assert loop.run_until_complete(asyncio.sleep(0, number)) == number
        for loop in loops:
            loop.close()

    def test_one_after_the_other(self, kind):
        for number in range(300):
            loop = KINDS[kind]()
            assert loop.run_until_complete(asyncio.sleep(0, number)) == number
            loop.close()

    DROPPED = """
        import asyncio, gc, os, sys, warnings
        from kinds import KINDS
        from recorder import Echo, Recorder
        warnings.simplefilter("ignore")

        async def main(loop):
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            transport.write(b"hello")
            await protocol.until_received(5)
            transport.write(bytes(5_000_000))
            return loop.create_task(asyncio.Event().wait())

        for _ in range(20):
            loop = KINDS[sys.argv[1]]()
            loop.kept = loop.run_until_complete(main(loop))
            loop.call_later(1000, print, loop)
            if sys.argv[2] == "closed":
                loop.close()
            del loop
        gc.collect()
        print(len(os.listdir("/proc/self/fd")) < 40)
        """

    @pytest.mark.parametrize("how", ["dropped", "closed"])
    def test_with_live_transports(self, script, kind, how):
        done = script(self.DROPPED, kind, how)
        assert done.stdout == "True\n"
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr

    def test_collected_after_its_sockets(self, script, kind):
        done = script(
            """
            import asyncio, gc, sys, warnings
            from kinds import KINDS
            warnings.simplefilter("ignore")
            gc.disable()
            gc.collect()
            loop = KINDS[sys.argv[1]]()
            gc.collect(0)  # a full collection takes the youngest generation before the middle one
            loop.run_until_complete(asyncio.sleep(0))
            loop.me = loop
            del loop
            gc.collect()
            """,
            kind,
        )
        assert done.stderr == ""

    def test_left_to_the_end_of_the_interpreter(self, script, kind):
        done = script(
            """
            import asyncio, sys, threading
            from kinds import KINDS
            loop = KINDS[sys.argv[1]]()
            started = threading.Event()
            loop.call_soon(started.set)
            def spin(): loop.call_soon(spin)
            loop.call_soon(spin)
            threading.Thread(target=loop.run_forever, daemon=True).start()
            started.wait()
            def spam():
                while True: loop.call_soon_threadsafe(int)
            threading.Thread(target=spam, daemon=True).start()
            print("leaving")
            """,
            kind,
        )
        assert done.stdout == "leaving\n"
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr

    def test_after_a_fork(self, run, loop, kind):
        """The child makes a loop of its own; the parent's connection does not notice."""

        async def main():
            async with serving(Echo) as address:
                transport, protocol = await loop.create_connection(Recorder, *address)
                for count in range(3):
                    child = os.fork()
                    if not child:
                        in_child(kind)
                    transport.write(b"x" * 10)
                    await protocol.until_received(10 * (count + 1))
                    assert os.waitpid(child, 0)[1] == 0
                transport.close()
                await protocol.until("lost")

        def in_child(kind):
            status = 1
            try:
                asyncio._set_running_loop(None)
                own = KINDS[kind]()
                assert own.run_until_complete(asyncio.sleep(0.001, 42)) == 42
                own.close()
                status = 0
            finally:
                os._exit(status)

        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # 3.12 warns of threads, of which there are none
            run(main())
