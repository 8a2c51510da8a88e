"""Debug mode: the switches, the checks and the logs."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time

import pytest


def one_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.fixture
def debugging(loop):
    loop.set_debug(True)
    return loop


async def nothing():
    pass


class TestSwitches:
    """What turns it on."""

    SOURCE = """
        import sys
        from kinds import KINDS
        loop = KINDS[sys.argv[1]]()
        print(loop.get_debug())
        loop.close()
    """

    def test_off_by_default(self, script, kind):
        assert script(self.SOURCE, kind).stdout == "False\n"

    def test_environment(self, script, kind):
        assert script(self.SOURCE, kind, PYTHONASYNCIODEBUG="1").stdout == "True\n"

    def test_environment_is_not_heard_with_E(self, script, kind):
        source = f"import sys; sys.path[:0] = {sys.path!r}\n" + "\n".join(
            line.strip() for line in self.SOURCE.splitlines()
        )
        assert script(source, kind, options=("-E",), PYTHONASYNCIODEBUG="1").stdout == "False\n"

    def test_development_mode(self, script, kind):
        assert script(self.SOURCE, kind, options=("-X", "dev")).stdout == "True\n"

    def test_set_debug(self, loop):
        assert loop.get_debug() is False
        loop.set_debug(True)
        assert loop.get_debug() is True
        assert "debug=True" in repr(loop)
        loop.set_debug(False)
        assert loop.get_debug() is False

    def test_origins_of_coroutines_are_tracked_while_running(self, loop):
        seen = []

        def look():
            seen.append(sys.get_coroutine_origin_tracking_depth())

        loop.set_debug(True)
        loop.call_soon(look)
        one_turn(loop)
        look()
        loop.set_debug(False)
        loop.call_soon(look)
        one_turn(loop)
        assert seen == [10, 0, 0]

    def test_switched_on_while_running(self, run, loop):
        async def main():
            loop.set_debug(True)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return sys.get_coroutine_origin_tracking_depth()

        assert run(main()) == 10
        assert sys.get_coroutine_origin_tracking_depth() == 0


class TestChecks:
    """Mistakes that debug mode finds."""

    @pytest.mark.parametrize(
        ("method", "first"),
        [("call_soon", ()), ("call_later", (1,)), ("call_at", (1,)), ("call_soon_threadsafe", ())],
    )
    def test_coroutines_are_no_callbacks(self, debugging, method, first):
        schedule = getattr(debugging, method)
        coroutine = nothing()
        with pytest.raises(TypeError, match="coroutines cannot be used with"):
            schedule(*first, coroutine)
        coroutine.close()
        with pytest.raises(TypeError, match="coroutines cannot be used with"):
            schedule(*first, nothing)

    @pytest.mark.parametrize(
        ("method", "first"),
        [("call_soon", ()), ("call_later", (1,)), ("call_at", (1,)), ("call_soon_threadsafe", ())],
    )
    @pytest.mark.parametrize("callback", [None, 1, "text"])
    def test_callbacks_must_be_callable(self, debugging, method, first, callback):
        with pytest.raises(TypeError, match="a callable object was expected"):
            getattr(debugging, method)(*first, callback)

    @pytest.mark.parametrize(
        ("method", "first", "named"),
        [("call_soon", (), "call_soon"), ("call_later", (1,), "call_at"), ("call_at", (1,), "call_at")],
    )
    def test_who_complains(self, debugging, method, first, named):
        """asyncio's call_later() calls call_at(); a closed loop says so before anything else."""
        with pytest.raises(TypeError, match=rf"expected by {named}\(\), got None"):
            getattr(debugging, method)(*first, None)
        with pytest.raises(TypeError, match=rf"cannot be used with {named}\(\)"):
            getattr(debugging, method)(*first, nothing)
        debugging.close()
        with pytest.raises(RuntimeError, match="closed"):
            getattr(debugging, method)(*first, None)

    def test_run_in_executor(self, debugging):
        with pytest.raises(TypeError, match="coroutines cannot be used with"):
            debugging.run_in_executor(None, nothing)
        with pytest.raises(TypeError, match="a callable object was expected"):
            debugging.run_in_executor(None, 1)

    @pytest.mark.parametrize(
        ("method", "first"), [("call_soon", ()), ("call_later", (1,)), ("call_at", (1,))]
    )
    def test_the_wrong_thread(self, debugging, method, first):
        caught = []

        def work():
            try:
                getattr(debugging, method)(*first, int)
            except RuntimeError as error:
                caught.append(str(error))
            debugging.call_soon_threadsafe(debugging.stop)

        thread = threading.Thread(target=work)
        debugging.call_soon(thread.start)
        debugging.run_forever()
        thread.join()
        assert caught == ["Non-thread-safe operation invoked on an event loop other than the current one"]

    def test_any_thread_will_do_while_it_does_not_run(self, debugging):
        thread = threading.Thread(target=debugging.call_soon, args=(int,))
        thread.start()
        thread.join()
        one_turn(debugging)

    def test_a_call_with_no_loop_running_is_allowed(self, debugging):
        debugging.call_soon(int).cancel()


class TestSlowCallbacks:
    """What takes long is logged."""

    def test_default_duration(self, loop):
        assert loop.slow_callback_duration == 0.1

    def slow_records(self, caplog):
        return [record.getMessage() for record in caplog.records if "took" in record.getMessage()]

    def test_a_callback(self, debugging, caplog):
        debugging.slow_callback_duration = 0.01

        def slow():
            time.sleep(0.02)

        with caplog.at_level(logging.WARNING, "asyncio"):
            debugging.call_soon(slow)
            debugging.call_soon(int)
            one_turn(debugging)
        (message,) = self.slow_records(caplog)
        assert message.startswith("Executing <Handle TestSlowCallbacks.test_a_callback.<locals>.slow() at ")
        assert "created at" in message
        assert " took 0.0" in message and message.endswith(" seconds")

    def test_a_timer(self, debugging, caplog):
        debugging.slow_callback_duration = 0.01
        with caplog.at_level(logging.WARNING, "asyncio"):
            debugging.call_later(0, time.sleep, 0.02)
            debugging.call_later(0.001, debugging.stop)
            debugging.run_forever()
        (message,) = self.slow_records(caplog)
        assert message.startswith("Executing <TimerHandle when=")

    def test_a_task(self, debugging, caplog):
        debugging.slow_callback_duration = 0.01

        async def slow_coroutine():
            time.sleep(0.02)

        with caplog.at_level(logging.WARNING, "asyncio"):
            debugging.run_until_complete(slow_coroutine())
        assert any("Executing <Task " in message for message in self.slow_records(caplog))

    @pytest.fixture
    def count_of_slow(self, debugging, run, caplog):
        """How many callbacks are logged while a coroutine runs."""
        debugging.slow_callback_duration = 0.02

        def count_of_slow(main):
            with caplog.at_level(logging.WARNING, "asyncio"):
                run(main)
            return len(self.slow_records(caplog))

        return count_of_slow

    def test_a_protocol(self, debugging, count_of_slow, pair):
        class Slow(asyncio.Protocol):
            def connection_made(self, transport):
                self.lost = debugging.create_future()
                time.sleep(0.03)

            def data_received(self, data):
                time.sleep(0.03)

            def eof_received(self):
                time.sleep(0.03)

            def connection_lost(self, error):
                time.sleep(0.03)
                self.lost.set_result(None)

        async def main():
            _, protocol = await debugging.create_connection(Slow, sock=pair[0])
            pair[1].send(b"x")
            await asyncio.sleep(0.05)
            pair[1].close()
            await protocol.lost

        assert count_of_slow(main()) >= 4

    @pytest.mark.velodrome_only(reason="asyncio names the method of its transport")
    def test_a_protocol_is_named(self, debugging, count_of_slow, pair, caplog):
        class Slow(asyncio.Protocol):
            def connection_made(self, transport):
                time.sleep(0.03)

        async def main():
            transport, _ = await debugging.create_connection(Slow, sock=pair[0])
            transport.close()
            await asyncio.sleep(0)

        count_of_slow(main())
        assert any(".Slow.connection_made() " in message for message in self.slow_records(caplog))

    def test_a_datagram_protocol(self, debugging, count_of_slow):
        class Slow(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                time.sleep(0.03)

            def datagram_received(self, data, sender):
                time.sleep(0.03)
                transport.close()

            def connection_lost(self, error):
                time.sleep(0.03)
                lost.set_result(None)

        transport = lost = None

        async def main():
            nonlocal transport, lost
            lost = debugging.create_future()
            transport, _ = await debugging.create_datagram_endpoint(Slow, ("127.0.0.1", 0))
            transport.sendto(b"x", transport.get_extra_info("sockname"))
            await lost

        assert count_of_slow(main()) >= 3

    def test_a_servers_factory(self, debugging, count_of_slow):
        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                transport.close()

            def connection_lost(self, error):
                lost.set_result(None)

        lost = None

        def factory():
            time.sleep(0.03)
            return Protocol()

        async def main():
            nonlocal lost
            lost = debugging.create_future()
            async with await debugging.create_server(factory, "127.0.0.1", 0) as server:
                with socket.create_connection(server.sockets[0].getsockname()):
                    await lost

        assert count_of_slow(main()) >= 1

    def test_a_fast_one(self, debugging, caplog):
        with caplog.at_level(logging.WARNING, "asyncio"):
            debugging.call_soon(int)
            one_turn(debugging)
        assert self.slow_records(caplog) == []

    def test_not_without_debug(self, loop, caplog):
        loop.slow_callback_duration = 0.001
        with caplog.at_level(logging.WARNING, "asyncio"):
            loop.call_soon(time.sleep, 0.005)
            one_turn(loop)
        assert self.slow_records(caplog) == []


class TestSources:
    """Where things were made."""

    def test_repr_of_a_handle(self, debugging):
        handle = debugging.call_soon(print, 1)
        line = sys._getframe().f_lineno - 1
        assert f"created at {__file__}:{line}>" in repr(handle)
        handle.cancel()
        # Cancelled, it still says what it was: arguments are gone by then.
        assert repr(handle).startswith("<Handle cancelled print(1)")

    def test_repr_of_a_timer(self, debugging):
        handle = debugging.call_later(1000, print, 1)
        line = sys._getframe().f_lineno - 1
        assert f"created at {__file__}:{line}>" in repr(handle)

    def test_context_of_an_exception(self, debugging, errors):
        debugging.call_soon(lambda: 1 / 0)
        line = sys._getframe().f_lineno - 1
        one_turn(debugging)
        context = errors.take_one()
        assert set(context) == {"message", "exception", "handle", "source_traceback"}
        last = context["source_traceback"][-1]
        assert (last.filename, last.lineno) == (__file__, line)

    def test_none_without_debug(self, loop):
        assert "created at" not in repr(loop.call_soon(int))
        one_turn(loop)

    def test_of_a_future(self, debugging):
        assert "created at" in repr(debugging.create_future())


def test_a_loop_works_the_same_in_debug_mode(debugging, run):
    async def handle(reader, writer):
        writer.write(await reader.read(100))
        writer.close()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())
