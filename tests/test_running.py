"""Running, stopping, closing, and what is left when a run ends otherwise."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import warnings

import pytest

# asyncio 3.13.0 refuses the inner run, and then cleans up after it as if it had begun.
BREAKS_THE_OUTER_RUN = pytest.mark.velodrome_only(when=(3, 13) <= sys.version_info < (3, 13, 1))


def one_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


async def nothing():
    pass


class TestRunForever:
    """run_forever and stop."""

    def test_it_is_running_only_inside(self, loop):
        seen = []
        loop.call_soon(lambda: seen.append((loop.is_running(), asyncio.get_running_loop() is loop)))
        assert not loop.is_running()
        one_turn(loop)
        assert seen == [(True, True)]
        assert not loop.is_running()
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()

    def test_stop_before_the_run_gives_one_turn(self, loop):
        seen = []
        loop.call_soon(lambda: (seen.append("first turn"), loop.call_soon(seen.append, "second turn")))
        loop.stop()
        loop.run_forever()
        assert seen == ["first turn"]

    def test_stop_lets_the_turn_end(self, loop):
        seen = []
        loop.call_soon(loop.stop)
        loop.call_soon(lambda: loop.call_soon(seen.append, "next run"))
        loop.call_soon(seen.append, "this turn")
        loop.run_forever()
        assert seen == ["this turn"]
        one_turn(loop)
        assert seen == ["this turn", "next run"]

    def test_stop_is_forgotten_after_a_run(self, loop):
        seen = []
        loop.stop()
        loop.stop()
        loop.run_forever()
        loop.call_soon(loop.call_soon, seen.append, 1)
        loop.call_soon(loop.call_soon, loop.call_soon, loop.stop)
        loop.run_forever()
        assert seen == [1]

    def test_it_returns_none_and_can_be_repeated(self, loop):
        for _ in range(100):
            loop.stop()
            assert loop.run_forever() is None

    @BREAKS_THE_OUTER_RUN
    def test_while_running(self, loop):
        caught = []

        def again():
            for run in (loop.run_forever, lambda: loop.run_until_complete(loop.create_future())):
                with pytest.raises(RuntimeError) as info:
                    run()
                caught.append(str(info.value))

        loop.call_soon(again)
        one_turn(loop)
        assert caught == ["This event loop is already running"] * 2

    @BREAKS_THE_OUTER_RUN
    def test_while_another_runs(self, new_loop):
        outer, inner = new_loop(), new_loop()
        caught = []

        def run_inner():
            with pytest.raises(RuntimeError) as info:
                inner.run_forever()
            caught.append(str(info.value))

        outer.call_soon(run_inner)
        one_turn(outer)
        assert caught == ["Cannot run the event loop while another loop is running"]
        assert not inner.is_running()
        one_turn(inner)

    @BREAKS_THE_OUTER_RUN
    def test_from_another_thread_while_running(self, loop):
        caught = []

        def work():
            try:
                loop.run_forever()
            except RuntimeError as error:
                caught.append(str(error))
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=work)
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()
        assert caught == ["This event loop is already running"]

    def test_in_a_thread(self, new_loop):
        loop = new_loop()
        seen = []
        loop.call_soon(lambda: seen.append(threading.get_ident()))
        loop.stop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        thread.join()
        assert seen == [thread.ident]


class TestRunUntilComplete:
    """run_until_complete."""

    def test_result(self, loop):
        async def main():
            await asyncio.sleep(0)
            return 42

        assert loop.run_until_complete(main()) == 42

    def test_exception(self, loop):
        async def main():
            raise LookupError("told")

        with pytest.raises(LookupError, match="told"):
            loop.run_until_complete(main())

    def test_a_future(self, loop):
        future = loop.create_future()
        loop.call_later(0.001, future.set_result, "done")
        assert loop.run_until_complete(future) == "done"
        assert loop.run_until_complete(future) == "done"

    def test_an_awaitable(self, loop):
        class Awaitable:
            def __await__(self):
                yield
                return "awaited"

        assert loop.run_until_complete(Awaitable()) == "awaited"

    @pytest.mark.parametrize("what", [None, 1, "text", print, nothing])
    def test_something_else(self, loop, what):
        with pytest.raises(TypeError):
            loop.run_until_complete(what)

    def test_a_future_of_another_loop(self, new_loop):
        future = new_loop().create_future()
        with pytest.raises(ValueError):
            new_loop().run_until_complete(future)

    def test_stopped_before_the_end(self, loop):
        future = loop.create_future()
        loop.call_soon(loop.stop)
        with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
            loop.run_until_complete(future)
        loop.call_soon(future.set_result, 1)
        assert loop.run_until_complete(future) == 1

    def test_cancelled(self, loop):
        async def main():
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(main())

    def test_the_callback_is_that_of_asyncio(self, loop):
        """Anyio finds the root task by it."""

        async def main():
            task = asyncio.current_task()
            return [callback for callback, _ in task._callbacks]

        assert loop.run_until_complete(main()) == [asyncio.base_events._run_until_complete_cb]

    def test_the_callback_is_removed(self, loop):
        future = loop.create_future()
        loop.stop()
        with pytest.raises(RuntimeError):
            loop.run_until_complete(future)
        assert not future._callbacks

    def test_a_task_is_of_the_loop(self, loop):
        async def main():
            return asyncio.current_task().get_loop()

        assert loop.run_until_complete(main()) is loop


class TestInterruption:
    """KeyboardInterrupt and SystemExit leave the run; nothing else is lost."""

    @pytest.mark.parametrize("kind_of_exception", [KeyboardInterrupt, SystemExit])
    def test_from_a_callback(self, loop, kind_of_exception):
        def leave():
            raise kind_of_exception

        seen = []
        loop.call_soon(seen.append, "before")
        loop.call_soon(leave)
        loop.call_soon(seen.append, "after")
        loop.call_later(0, seen.append, "timer")
        with pytest.raises(kind_of_exception):
            loop.run_forever()
        assert seen == ["before"]
        assert not loop.is_running()
        assert not loop.is_closed()
        one_turn(loop)
        one_turn(loop)
        assert seen == ["before", "after", "timer"]

    @pytest.mark.parametrize("kind_of_exception", [KeyboardInterrupt, SystemExit])
    def test_from_a_task(self, loop, kind_of_exception):
        async def main():
            await asyncio.sleep(0)
            raise kind_of_exception

        with pytest.raises(kind_of_exception):
            loop.run_until_complete(main())
        assert loop.run_until_complete(asyncio.sleep(0, "usable")) == "usable"

    def test_from_a_timer_and_a_reader(self, loop):
        import socket

        def leave():
            raise KeyboardInterrupt

        loop.call_later(0, leave)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            loop.add_reader(ours, leave)
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
            loop.remove_reader(ours)
        one_turn(loop)

    def test_other_base_exceptions_leave_the_run(self, loop, errors):
        """asyncio handles what is no KeyboardInterrupt and no SystemExit in the exception handler."""

        class Odd(BaseException):
            pass

        def leave():
            raise Odd

        loop.call_soon(leave)
        one_turn(loop)
        assert isinstance(errors.take_one()["exception"], Odd)

    def test_hooks_are_restored(self, loop):
        def leave():
            raise KeyboardInterrupt

        before = sys.get_asyncgen_hooks()
        loop.call_soon(leave)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert sys.get_asyncgen_hooks() == before
        assert asyncio._get_running_loop() is None


class TestClose:
    """close, and use afterwards."""

    def test_twice(self, new_loop):
        loop = new_loop()
        assert not loop.is_closed()
        loop.close()
        assert loop.is_closed()
        loop.close()
        assert not loop.is_running()

    def test_while_running(self, loop):
        caught = []

        def close():
            with pytest.raises(RuntimeError) as info:
                loop.close()
            caught.append(str(info.value))

        loop.call_soon(close)
        one_turn(loop)
        assert caught == ["Cannot close a running event loop"]
        assert not loop.is_closed()

    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("run_forever", ()),
            ("call_soon", (int,)),
            ("call_soon_threadsafe", (int,)),
            ("call_later", (1, int)),
            ("call_at", (1, int)),
            ("run_in_executor", (None, int)),
            ("add_reader", (0, int)),
            ("add_writer", (1, int)),
            ("add_signal_handler", (signal.SIGUSR1, int)),
        ],
    )
    def test_use_afterwards(self, new_loop, method, arguments):
        loop = new_loop()
        loop.close()
        with pytest.raises(RuntimeError, match="^Event loop is closed$"):
            getattr(loop, method)(*arguments)

    def test_no_task_and_no_run_afterwards(self, new_loop):
        loop = new_loop()
        loop.close()
        for method in (loop.create_task, loop.run_until_complete):
            coroutine = nothing()
            with pytest.raises(RuntimeError, match="^Event loop is closed$"):
                method(coroutine)
            coroutine.close()

    def test_what_is_still_allowed(self, new_loop):
        loop = new_loop()
        loop.close()
        loop.stop()
        assert isinstance(loop.time(), float)
        assert loop.create_future().get_loop() is loop
        assert loop.get_debug() is False
        assert loop.remove_reader(0) is False
        assert loop.remove_writer(1) is False
        assert loop.remove_signal_handler(signal.SIGUSR1) is False
        assert "closed=True" in repr(loop)

    def test_a_loop_that_is_dropped_unclosed_complains(self, kind):
        from kinds import KINDS

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop = KINDS[kind]()
            text = repr(loop)
            del loop
            gc.collect()
        (warning,) = caught
        assert warning.category is ResourceWarning
        assert str(warning.message) == f"unclosed event loop {text}"

    def test_repr(self, loop):
        text = repr(loop)
        assert text.endswith("running=False closed=False debug=False>")
        seen = []
        loop.call_soon(lambda: seen.append(repr(loop)))
        one_turn(loop)
        assert "running=True" in seen[0]


class TestAsyncGenerators:
    """The hooks for asynchronous generators."""

    def test_shutdown_closes_them(self, run, loop):
        closed = []

        async def generator():
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                closed.append(True)

        async def main():
            started = generator()
            assert await anext(started) == 1
            assert closed == []
            await loop.shutdown_asyncgens()
            assert closed == [True]

        run(main())

    def test_a_dropped_one_is_closed(self, run):
        closed = []

        async def generator():
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                closed.append(True)

        async def main():
            started = generator()
            await anext(started)
            del started
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)
            assert closed == [True]

        run(main())

    def test_one_that_fails_to_close_is_reported(self, run, loop, errors):
        async def generator():
            try:
                yield 1
            finally:
                raise LookupError("in finally")

        async def main():
            started = generator()
            await anext(started)
            await loop.shutdown_asyncgens()
            context = errors.take_one()
            assert isinstance(context["exception"], LookupError)
            assert context["asyncgen"] is started
            assert "an error occurred during closing of asynchronous generator" in context["message"]

        run(main())

    def test_one_that_starts_after_shutdown_is_warned_about(self, run, loop):
        async def generator():
            yield 1

        async def main():
            await loop.shutdown_asyncgens()
            late = generator()
            with pytest.warns(ResourceWarning, match="was scheduled after loop.shutdown_asyncgens"):
                await anext(late)
            await late.aclose()

        run(main())

    def test_the_hooks_are_those_of_the_run_only(self, loop):
        before = sys.get_asyncgen_hooks()
        inside = []
        loop.call_soon(lambda: inside.append(sys.get_asyncgen_hooks()))
        one_turn(loop)
        assert inside[0] != before
        assert None not in inside[0]
        assert sys.get_asyncgen_hooks() == before


class TestRunner:
    """asyncio.run and asyncio.Runner on our loop."""

    def test_runner(self, new_loop):
        async def main():
            return asyncio.get_running_loop()

        with asyncio.Runner(loop_factory=new_loop) as runner:
            loop = runner.get_loop()
            assert runner.run(main()) is loop
            assert runner.run(main()) is loop
        assert loop.is_closed()

    def test_what_is_left_is_cancelled(self, new_loop):
        seen = []

        async def left():
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")

        async def main():
            seen.append(asyncio.create_task(left()))
            await asyncio.sleep(0)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
        assert seen[1:] == ["cancelled"]

    def test_debug(self, new_loop):
        with asyncio.Runner(loop_factory=new_loop, debug=True) as runner:
            assert runner.get_loop().get_debug()
