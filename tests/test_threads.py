"""Other threads: call_soon_threadsafe, executors, and loops side by side."""

from __future__ import annotations

import asyncio
import contextvars
import os
import select
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from conftest import DEADLINE


def start(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


def test_eight_threads(loop):
    threads, each = 8, 20_000
    seen = [[] for _ in range(threads)]
    left = threads

    def finish():
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    def work(number):
        for count in range(each):
            loop.call_soon_threadsafe(seen[number].append, count)
        loop.call_soon_threadsafe(finish)

    started = [start(work, number) for number in range(threads)]
    loop.run_forever()
    for thread in started:
        thread.join()
    assert all(counts == list(range(each)) for counts in seen)


def test_an_idle_loop_misses_no_wake_up(loop):
    rounds = 2000
    woken = threading.Event()
    waits = []

    def work():
        for _ in range(rounds):
            woken.clear()
            asked = time.monotonic()
            loop.call_soon_threadsafe(woken.set)
            if not woken.wait(DEADLINE):
                break
            waits.append(time.monotonic() - asked)
        loop.call_soon_threadsafe(loop.stop)

    thread = start(work)
    loop.run_forever()
    thread.join()
    assert len(waits) == rounds
    assert max(waits) < 1


def test_callbacks_scheduled_before_the_run(loop):
    seen = []
    thread = start(loop.call_soon_threadsafe, seen.append, "thread")
    thread.join()
    loop.call_soon_threadsafe(seen.append, "here")
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert seen == ["thread", "here"]


def test_same_thread_order_of_both_methods(loop):
    seen = []
    for number in range(100):
        schedule = loop.call_soon_threadsafe if number % 3 else loop.call_soon
        schedule(seen.append, number)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == list(range(100))


def test_same_thread_order_within_a_turn(loop):
    seen = []

    def schedule_both():
        for number in range(100):
            schedule = loop.call_soon if number % 2 else loop.call_soon_threadsafe
            schedule(seen.append, number)
        loop.call_soon(loop.stop)

    loop.call_soon(schedule_both)
    loop.run_forever()
    assert seen == list(range(100))


def test_its_handle(loop):
    seen = []
    handle = loop.call_soon_threadsafe(seen.append, 1)
    assert isinstance(handle, asyncio.Handle)
    assert handle._callback == seen.append
    handle.cancel()
    assert handle.cancelled()
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert seen == []


def test_cancel_from_the_other_thread(loop):
    def work():
        handle = loop.call_soon_threadsafe(pytest.fail, "cancelled in time, as the loop does not run yet")
        handle.cancel()

    start(work).join()
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_the_context_is_that_of_the_calling_thread(loop):
    var = contextvars.ContextVar("var", default="main")
    seen = []

    def work():
        var.set("thread")
        loop.call_soon_threadsafe(lambda: seen.append(var.get()))
        loop.call_soon_threadsafe(loop.stop)

    thread = start(work)
    loop.run_forever()
    thread.join()
    assert seen == ["thread"]


def test_after_close(new_loop):
    loop = new_loop()
    loop.close()
    caught = []

    def work():
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as error:
            caught.append(str(error))

    start(work).join()
    work()
    assert caught == ["Event loop is closed"] * 2


def test_closing_under_fire(new_loop):
    """Threads call while the loop closes: each call either counts or is refused."""
    caught = []

    def work(loop, begun):
        begun.wait(DEADLINE)
        try:
            while True:
                loop.call_soon_threadsafe(int)
        except BaseException as error:
            caught.append(str(error))

    for _ in range(20):
        loop = new_loop()
        begun = threading.Barrier(4)
        threads = [start(work, loop, begun) for _ in range(3)]
        begun.wait(DEADLINE)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        for thread in threads:
            thread.join()
    assert caught == ["Event loop is closed"] * 60


def test_two_loops_in_two_threads(new_loop):
    """Each wakes the other a thousand times."""
    loops = [new_loop(), new_loop()]
    counts = [0, 0]

    def play(me):
        counts[me] += 1
        if sum(counts) >= 2000:
            for loop in loops:
                loop.call_soon_threadsafe(loop.stop)
        else:
            loops[1 - me].call_soon_threadsafe(play, 1 - me)

    loops[0].call_soon(play, 0)
    thread = start(loops[1].run_forever)
    loops[0].run_forever()
    thread.join()
    assert counts == [1000, 1000]


def test_stop_from_another_thread(loop):
    thread = start(lambda: loop.call_soon_threadsafe(loop.stop))
    loop.run_forever()
    thread.join()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="such handles are new in 3.14")
class TestThreadSafeHandles:
    """A handle of call_soon_threadsafe, cancelled on another thread than the one that runs its callback."""

    @pytest.mark.parametrize("method", ["cancel", "cancelled"])
    def test_it_answers_when_the_callback_has_ended(self, loop, method):
        begun, said = threading.Event(), []

        def callback():
            begun.set()
            time.sleep(0.05)
            said.append("the callback ended")

        def ask(handle):
            assert begun.wait(DEADLINE)
            getattr(handle, method)()
            said.append("the thread was answered")
            loop.call_soon_threadsafe(loop.stop)

        handle = loop.call_soon_threadsafe(callback)
        thread = start(ask, handle)
        loop.run_forever()
        thread.join()
        assert said == ["the callback ended", "the thread was answered"]
        assert handle.cancelled() is (method == "cancel")

    def test_many_ask_at_once(self, loop):
        begun, left = threading.Event(), set(range(20))
        running, answers = True, []

        def callback():
            nonlocal running
            begun.set()
            time.sleep(0.05)
            running = False

        def ask(number):
            assert begun.wait(DEADLINE)
            handle.cancel()
            loop.call_soon_threadsafe(answered, number, running)

        def answered(number, too_early):
            answers.append(too_early)
            left.discard(number)
            if not left:
                loop.stop()

        handle = loop.call_soon_threadsafe(callback)
        threads = [start(ask, number) for number in tuple(left)]
        loop.run_forever()
        for thread in threads:
            thread.join()
        assert not any(answers)

    def test_a_callback_may_ask_for_itself(self, run, loop):
        async def main():
            done = loop.create_future()

            def callback():
                handle.cancel()
                done.set_result(handle.cancelled())

            handle = loop.call_soon_threadsafe(callback)
            assert await done

        run(main())

    def test_it_does_not_run_once_cancelled(self, run, loop):
        async def main():
            ran = []
            handle = loop.call_soon_threadsafe(ran.append, 1)
            await asyncio.to_thread(handle.cancel)
            assert handle.cancelled()
            await asyncio.sleep(0)
            assert not ran

        run(main())

    def test_a_callback_that_raises_lets_those_who_wait_go(self, loop, errors):
        begun = threading.Event()

        def callback():
            begun.set()
            time.sleep(0.05)
            raise KeyError("seen")

        def ask():
            assert begun.wait(DEADLINE)
            handle.cancel()
            loop.call_soon_threadsafe(loop.stop)

        handle = loop.call_soon_threadsafe(callback)
        thread = start(ask)
        loop.run_forever()
        thread.join()
        assert isinstance(errors.take_one()["exception"], KeyError)

    def test_its_type(self, loop):
        handle = loop.call_soon_threadsafe(print)
        assert isinstance(handle, asyncio.events._ThreadSafeHandle)
        handle.cancel()
        assert repr(handle) == f"<{type(handle).__name__} cancelled>"


class TestExecutors:
    """run_in_executor and what closes it."""

    def test_result_and_exception(self, run, loop):
        async def main():
            assert await loop.run_in_executor(None, pow, 2, 10) == 1024
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(None, divmod, 1, 0)

        run(main())

    def test_it_is_another_thread(self, run, loop):
        async def main():
            return await loop.run_in_executor(None, threading.get_ident)

        assert run(main()) != threading.get_ident()

    def test_an_executor_of_the_caller(self, run, loop):
        async def main():
            with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
                return await loop.run_in_executor(executor, lambda: threading.current_thread().name)

        assert run(main()).startswith("mine")

    def test_the_default_executor_can_be_set(self, run, loop):
        loop.set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="default"))

        async def main():
            return await loop.run_in_executor(None, lambda: threading.current_thread().name)

        assert run(main()).startswith("default")

    @pytest.mark.parametrize("executor", [None, 1, "executor"])
    def test_the_default_executor_must_be_one_of_threads(self, loop, executor):
        with pytest.raises(TypeError):
            loop.set_default_executor(executor)

    def test_nor_may_it_be_one_of_processes(self, loop):
        # One that was begun would leave 3.14's fork server behind.
        executor = ProcessPoolExecutor.__new__(ProcessPoolExecutor)
        with pytest.raises(TypeError):
            loop.set_default_executor(executor)

    def test_many_jobs(self, run, loop):
        async def main():
            return await asyncio.gather(*(loop.run_in_executor(None, abs, -n) for n in range(500)))

        assert run(main()) == list(range(500))

    def test_cancelling_the_wait(self, run, loop):
        release = threading.Event()

        async def main():
            future = loop.run_in_executor(None, release.wait, DEADLINE)
            await asyncio.sleep(0)
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            release.set()

        run(main())

    def test_to_thread_carries_the_context(self, run):
        var = contextvars.ContextVar("var")

        async def main():
            var.set("carried")
            return await asyncio.to_thread(var.get)

        assert run(main()) == "carried"

    def test_shutdown_waits_for_the_jobs(self, run, loop):
        done = []

        async def main():
            started = asyncio.Event()
            release = threading.Event()

            def job():
                loop.call_soon_threadsafe(started.set)
                release.wait(DEADLINE)
                done.append("job")

            loop.run_in_executor(None, job)
            await started.wait()
            shutdown = asyncio.ensure_future(loop.shutdown_default_executor())
            await asyncio.sleep(0)
            assert not shutdown.done()
            release.set()
            await shutdown
            done.append("shutdown")

        run(main())
        assert done == ["job", "shutdown"]

    def test_no_job_after_shutdown(self, run, loop):
        async def main():
            await loop.run_in_executor(None, int)
            await loop.shutdown_default_executor()
            with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
                loop.run_in_executor(None, int)

        run(main())

    def test_shutdown_without_an_executor(self, run, loop):
        run(loop.shutdown_default_executor())
        run(loop.shutdown_default_executor())


class TestBesideALoopThatIsAlwaysBusy:
    """A loop that always has something due lets other threads have the interpreter's lock, too."""

    def turns_of_each(self, run, loop, job, jobs=41):
        """How many turns pass during each of some jobs, of which the middle one counts: machines are busy."""
        turns, is_over, each = 0, False, []

        async def spin():
            nonlocal turns
            while not is_over:
                turns += 1
                await asyncio.sleep(0)

        async def main():
            nonlocal is_over
            spinning = loop.create_task(spin())
            for _ in range(jobs):
                before = turns
                await job()
                each.append(turns - before)
            is_over = True
            await spinning

        run(main())
        return sorted(each)[jobs // 2]

    def test_jobs_of_an_executor(self, run, loop):
        def work():
            return sum(range(50))

        assert self.turns_of_each(run, loop, lambda: loop.run_in_executor(None, work)) < 2000

    def test_a_thread_that_calls_again_when_it_was_answered(self, run, loop):
        ended = threading.Event()
        answers = asyncio.Queue()

        def work():
            while not ended.is_set():
                future = asyncio.run_coroutine_threadsafe(answers.put(None), loop)
                future.result(DEADLINE)

        thread = start(work)
        try:
            assert self.turns_of_each(run, loop, answers.get) < 2000
        finally:
            ended.set()
            while thread.is_alive():
                run(asyncio.sleep(0.001))
            thread.join()


class TestRunCoroutineThreadsafe:
    """asyncio.run_coroutine_threadsafe, which stands on ours."""

    def run_with_thread(self, loop, work):
        """Run the loop until `work` has ended in a thread; give what it returned."""
        outcome = Future()

        def thread():
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)
            loop.call_soon_threadsafe(loop.stop)

        started = start(thread)
        loop.run_forever()
        started.join()
        return outcome.result(0)

    def test_result(self, loop):
        async def add(a, b):
            await asyncio.sleep(0)
            return a + b

        future = asyncio.run_coroutine_threadsafe
        assert self.run_with_thread(loop, lambda: future(add(1, 2), loop).result(DEADLINE)) == 3

    def test_exception(self, loop):
        async def fail():
            raise LookupError("from the coroutine")

        with pytest.raises(LookupError):
            self.run_with_thread(
                loop, lambda: asyncio.run_coroutine_threadsafe(fail(), loop).result(DEADLINE)
            )

    def test_cancel(self, loop):
        cancelled = []
        begun = threading.Event()

        async def wait():
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        def work():
            future = asyncio.run_coroutine_threadsafe(wait(), loop)
            begun.wait(DEADLINE)
            future.cancel()
            with pytest.raises(CancelledError):
                future.result(DEADLINE)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(DEADLINE)

        self.run_with_thread(loop, work)
        assert cancelled == [True]


# Asks, and looks busy for a moment before it asks again, as a client on another machine does.
ASKS = """
import socket, sys, time
peer = socket.socket(fileno=int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    peer.send(b"x")
    assert peer.recv(1) == b"x"
    end = time.perf_counter() + 60e-6
    while time.perf_counter() < end:
        pass
"""


class Echo(asyncio.Protocol):
    def __init__(self, lost):
        self.lost = lost

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, exception):
        self.lost.set_result(None)


class Computes:
    """A thread that never waits, and notes the longest time that it was kept from computing."""

    def __enter__(self):
        self.longest, self.ends = 0.0, False
        self.thread = start(self.compute)
        return self

    def __exit__(self, *exception):
        self.ends = True
        self.thread.join()

    def compute(self):
        before = time.monotonic()
        while not self.ends:
            now = time.monotonic()
            self.longest, before = max(self.longest, now - before), now


class TestBesideAThreadThatComputes:
    @pytest.fixture
    def interval(self):
        before = sys.getswitchinterval()
        yield sys.setswitchinterval
        sys.setswitchinterval(before)

    @pytest.mark.velodrome_only
    def test_what_comes_soon_is_answered_without_letting_go_of_the_lock(self, loop, run, interval):
        trips, seconds = 200, 0.05
        interval(seconds)

        async def main():
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            lost = loop.create_future()
            await loop.create_connection(lambda: Echo(lost), sock=ours)
            client = subprocess.Popen(
                [sys.executable, "-c", ASKS, str(theirs.fileno()), str(trips)], pass_fds=[theirs.fileno()]
            )
            theirs.close()
            with Computes():
                began = time.monotonic()
                await lost
                lasted = time.monotonic() - began
            assert client.wait(DEADLINE) == 0
            return lasted

        # Whoever lets go for each question waits for a whole interval each time: ten seconds in all.
        assert run(main()) < trips * seconds / 2

    def test_the_thread_does_not_starve(self, loop, interval):
        """Even if the callbacks are such that run no Python code, which would give the lock up by itself."""
        interval(0.005)
        reader, writer = os.pipe()
        os.write(writer, b"x")
        told = []
        loop.add_reader(reader, told.append, 1)
        loop.call_later(1.0, loop.stop)
        with Computes() as thread:
            loop.run_forever()
        loop.remove_reader(reader)
        assert select.select([reader], [], [], 0)[0]
        os.close(reader)
        os.close(writer)
        assert told
        assert thread.longest < 0.5
