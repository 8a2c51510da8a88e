"""Signals: handlers of the loop, handlers of Python, and Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
import weakref

import pytest
from conftest import DEADLINE, beside

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


def one_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def kill_from_a_thread(number=USR1):
    """Send ourselves a signal while the loop is (most likely) waiting."""
    thread = threading.Thread(target=os.kill, args=(os.getpid(), number))
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def dispositions_are_restored():
    numbers = (signal.SIGINT, USR1, USR2)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


class TestHandlers:
    """add_signal_handler and remove_signal_handler."""

    def test_it_is_called_with_its_arguments(self, loop):
        seen = []
        loop.add_signal_handler(USR1, lambda *arguments: (seen.append(arguments), loop.stop()), 1, "two")
        os.kill(os.getpid(), USR1)
        loop.run_forever()
        assert seen == [(1, "two")]
        assert loop.remove_signal_handler(USR1)

    def test_it_wakes_an_idle_loop(self, loop):
        loop.add_signal_handler(USR1, loop.stop)
        loop.call_later(0, kill_from_a_thread)
        loop.run_forever()

    def test_it_runs_as_a_callback_of_the_loop(self, loop):
        seen = []

        def handler():
            seen.append(asyncio.get_running_loop())
            loop.stop()

        loop.add_signal_handler(USR1, handler)
        loop.call_soon(os.kill, os.getpid(), USR1)
        loop.run_forever()
        assert seen == [loop]

    def test_it_is_called_for_each_of_many(self, loop):
        """One at a time, as signals of one kind that are pending merge."""
        seen = []

        def handler():
            seen.append(1)
            if len(seen) < 100:
                os.kill(os.getpid(), USR1)
            else:
                loop.stop()

        loop.add_signal_handler(USR1, handler)
        os.kill(os.getpid(), USR1)
        loop.run_forever()
        assert len(seen) == 100

    def test_several_signals(self, loop):
        seen = []
        for number in (USR1, USR2):
            loop.add_signal_handler(number, seen.append, number)
        for number in (USR1, USR2):
            os.kill(os.getpid(), number)
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert sorted(seen) == [USR1, USR2]

    def test_a_signal_while_nothing_runs_is_kept(self, loop):
        seen = []
        loop.add_signal_handler(USR1, lambda: (seen.append(1), loop.stop()))
        one_turn(loop)
        os.kill(os.getpid(), USR1)
        assert seen == []
        begun = time.monotonic()
        loop.run_forever()
        assert seen == [1]
        assert time.monotonic() - begun < 0.4

    def test_replacing(self, loop):
        seen = []
        loop.add_signal_handler(USR1, seen.append, "old")
        loop.add_signal_handler(USR1, lambda: (seen.append("new"), loop.stop()))
        os.kill(os.getpid(), USR1)
        loop.run_forever()
        assert seen == ["new"]

    def test_removing(self, loop):
        assert loop.remove_signal_handler(USR1) is False
        loop.add_signal_handler(USR1, int)
        assert loop.remove_signal_handler(USR1) is True
        assert loop.remove_signal_handler(USR1) is False
        assert signal.getsignal(USR1) is signal.SIG_DFL

    def test_removing_that_of_sigint_restores_ctrl_c(self, loop):
        loop.add_signal_handler(signal.SIGINT, int)
        assert loop.remove_signal_handler(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_close_removes_them(self, new_loop):
        loop = new_loop()
        loop.add_signal_handler(USR1, int)
        loop.add_signal_handler(USR2, int)
        loop.close()
        assert signal.getsignal(USR1) is signal.SIG_DFL
        assert signal.getsignal(USR2) is signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1

    def test_an_exception_in_it(self, loop, errors):
        loop.add_signal_handler(USR1, lambda: 1 / 0)
        os.kill(os.getpid(), USR1)
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert isinstance(errors.take_one()["exception"], ZeroDivisionError)

    def test_removed_by_another_callback_before_it_ran(self, loop):
        seen = []
        loop.add_signal_handler(USR1, seen.append, 1)
        os.kill(os.getpid(), USR1)
        loop.remove_signal_handler(USR1)
        one_turn(loop)
        assert seen == []

    @pytest.mark.parametrize("number", [0, -1, 65, 1000, 2**40])
    @pytest.mark.parametrize("method", ["add_signal_handler", "remove_signal_handler"])
    def test_numbers_that_are_none(self, loop, method, number):
        with pytest.raises(ValueError):
            getattr(loop, method)(number, *([int] if method.startswith("add") else []))

    @pytest.mark.parametrize("number", ["SIGUSR1", None, 1.5, b"x"])
    @pytest.mark.parametrize("method", ["add_signal_handler", "remove_signal_handler"])
    def test_types_that_are_none(self, loop, method, number):
        with pytest.raises(TypeError):
            getattr(loop, method)(number, *([int] if method.startswith("add") else []))

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
    def test_signals_that_cannot_be_caught(self, loop, number):
        with pytest.raises(RuntimeError, match=f"sig {int(number)} cannot be caught"):
            loop.add_signal_handler(number, int)

    def test_coroutines(self, loop):
        async def coroutine():
            pass

        with pytest.raises(TypeError):
            loop.add_signal_handler(USR1, coroutine)
        made = coroutine()
        with pytest.raises(TypeError):
            loop.add_signal_handler(USR1, made)
        made.close()

    def test_only_in_the_main_thread(self, loop):
        caught = []

        def work():
            try:
                loop.add_signal_handler(USR1, int)
            except (RuntimeError, ValueError) as error:
                caught.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        # asyncio's own words differ with the step that finds out.
        assert caught in ([RuntimeError], [ValueError])

    def test_a_loop_with_handlers_is_closed_off_the_main_thread(self, new_loop):
        """It says that it cannot remove them, and is closed all the same: what waits is dropped."""
        loop, caught = new_loop(), []
        loop.add_signal_handler(USR1, int)

        class Waiting:
            def __call__(self):
                """Never called."""

        waiting = Waiting()
        alive = weakref.ref(waiting)
        loop.call_soon(waiting)
        del waiting

        def work():
            try:
                loop.close()
            except (RuntimeError, ValueError) as error:
                caught.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        gc.collect()
        assert (caught in ([RuntimeError], [ValueError]), loop.is_closed(), alive()) == (True, True, None)
        # What only this thread can.
        loop._signal_handlers.clear()
        signal.signal(USR1, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)

    def test_handlers_are_listed_as_handles(self, loop):
        """prompt_toolkit reads callback and arguments of the handler it replaces."""
        loop.add_signal_handler(USR1, print, 1)
        handle = loop._signal_handlers[USR1]
        assert (handle._callback, handle._args) == (print, (1,))
        loop.remove_signal_handler(USR1)
        assert USR1 not in loop._signal_handlers


class TestHandlersOfPython:
    """signal.signal, while the loop runs."""

    @pytest.fixture
    def handle(self):
        """Install a handler for SIGUSR1 with signal.signal."""
        before = signal.getsignal(USR1)
        yield lambda handler: signal.signal(USR1, handler)
        signal.signal(USR1, before)

    def test_it_runs_while_the_loop_waits(self, loop, handle):
        """uvicorn stops its loop so."""
        handle(lambda *_: loop.call_soon_threadsafe(loop.stop))
        loop.call_soon(kill_from_a_thread)
        loop.run_forever()

    def test_its_exception_leaves_the_run(self, loop, handle):
        def raising(*_):
            raise LookupError("from the handler")

        handle(raising)

        handle(raising)
        # A moment later, so that the loop most likely waits; whenever it comes, it leaves the run.
        with beside(os.kill, os.getpid(), USR1, after=0.02), pytest.raises(LookupError):
            loop.run_forever()
        one_turn(loop)


class TestCtrlC:
    """SIGINT."""

    def test_in_a_callback(self, loop):
        seen = []
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        loop.call_soon(seen.append, "after")
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        one_turn(loop)
        assert seen == ["after"]

    def test_while_the_loop_waits(self, loop):
        loop.call_later(0.01, kill_from_a_thread, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        one_turn(loop)

    def test_while_it_waits_for_a_socket(self, loop):
        """Nothing but the signal may wake it: no timer is pending when it comes."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, int)
            loop.call_soon(kill_from_a_thread, signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
            loop.remove_reader(ours)

    def test_the_runner_cancels_the_main_task(self, new_loop):
        seen = []

        async def main():
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, kill_from_a_thread, signal.SIGINT)
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            finally:
                await asyncio.sleep(0)
                seen.append("finally")

        with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(KeyboardInterrupt):
            runner.run(main())
        assert seen == ["cancelled", "finally"]

    def test_twice_is_at_once(self, new_loop):
        async def main():
            try:
                signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(DEADLINE)
            finally:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())


STORM = """
    import asyncio, signal, sys
    from kinds import KINDS

    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def send(writer, data):
        for start in range(0, len(data), 100_000):
            writer.write(data[start : start + 100_000])
            await writer.drain()
        writer.write_eof()

    async def main(handle):
        handle(asyncio.get_running_loop())
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        data = bytes(range(256)) * 24_000
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        sending = asyncio.create_task(send(writer, data))
        assert await reader.read(-1) == data
        await sending
        while handled < 20:
            await asyncio.sleep(0.001)
        signal.setitimer(signal.ITIMER_REAL, 0)
        writer.close()
        server.close()
        await server.wait_closed()

    handled = 0
    def count(*_):
        global handled
        handled += 1

    by_the_loop = lambda loop: loop.add_signal_handler(signal.SIGALRM, count)
    by_python = lambda loop: signal.signal(signal.SIGALRM, count)
    with asyncio.Runner(loop_factory=KINDS[sys.argv[1]]) as runner:
        runner.run(main(globals()[sys.argv[2]]))
    print("done")
"""


@pytest.mark.parametrize("by", ["by_the_loop", "by_python"])
@pytest.mark.faults
def test_a_signal_each_millisecond(script, kind, by):
    """Six megabytes of echo arrive whole."""
    assert script(STORM, kind, by).stdout == "done\n"


def test_a_wakeup_descriptor_of_others_comes_back(new_loop):
    """The loop uses the process's one wake-up descriptor only while it must."""
    loop = new_loop()
    loop.add_signal_handler(USR1, int)
    loop.remove_signal_handler(USR1)
    loop.close()
    assert signal.set_wakeup_fd(-1) == -1


class TestWakeupDescriptorsOfTheProgram:
    """There is one in the process, and a loop has it while it runs."""

    @pytest.fixture
    def wakeup(self):
        """A descriptor that the program has set; what its other end reads."""
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)
            signal.set_wakeup_fd(writer.fileno())
            before = signal.signal(USR1, lambda *_: None)
            yield reader, writer
            signal.signal(USR1, before)
            signal.set_wakeup_fd(-1)

    def test_it_is_told_while_the_loop_runs(self, loop, wakeup):
        reader, _ = wakeup
        told = []
        loop.add_reader(reader, lambda: (told.append(reader.recv(9)), loop.stop()))
        loop.call_soon(kill_from_a_thread)
        loop.call_later(5, loop.stop)
        loop.run_forever()
        loop.remove_reader(reader)
        assert told == [bytes([USR1])]

    def test_it_is_told_of_the_last_moment(self, loop, wakeup):
        reader, writer = wakeup

        async def main():
            os.kill(os.getpid(), USR1)

        loop.run_until_complete(main())
        assert reader.recv(9) == bytes([USR1])
        assert signal.set_wakeup_fd(writer.fileno()) == writer.fileno()

    def test_one_that_is_set_meanwhile_stays(self, loop):
        reader, writer = socket.socketpair()
        with reader, writer:
            writer.setblocking(False)

            async def main():
                signal.set_wakeup_fd(writer.fileno())

            loop.run_until_complete(main())
            assert signal.set_wakeup_fd(-1) == writer.fileno()

    def test_one_that_was_closed_meanwhile_is_no_error(self, loop):
        reader, writer = socket.socketpair()
        with reader:
            writer.setblocking(False)
            signal.set_wakeup_fd(writer.fileno())

            async def main():
                writer.close()
                os.kill(os.getpid(), signal.SIGCONT)

            loop.run_until_complete(main())
        signal.set_wakeup_fd(-1)

    def test_a_loop_hears_of_what_came_while_another_ran(self, new_loop):
        outer, inner, seen = new_loop(), new_loop(), []
        outer.add_signal_handler(USR1, seen.append, "handled")

        async def main():
            os.kill(os.getpid(), USR1)
            await asyncio.sleep(0.02)

        inner.run_until_complete(main())
        outer.run_until_complete(asyncio.sleep(0.02))
        assert seen == ["handled"]
        outer.remove_signal_handler(USR1)
