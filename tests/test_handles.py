"""Handles at each moment of their lives. One that nobody keeps is used again for the next callback while the
first one still waits: nobody may be able to tell.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import random
import sys
import threading
import weakref

import pytest
from kinds import KINDS

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=-1)

SOON = ("call_soon", "call_soon_threadsafe")
METHODS = (*SOON, "call_later", "call_at")


def schedule(loop, method, callback, *arguments, **keywords):
    when = {"call_later": (0,), "call_at": (loop.time(),)}.get(method, ())
    return getattr(loop, method)(*when, callback, *arguments, **keywords)


def in_a_run(loop, callback):
    """Call `callback` from a running loop, which stops when what it scheduled for now has run."""

    def begin():
        try:
            callback()
        finally:
            loop.call_later(0.002, loop.stop)

    loop.call_soon(begin)
    loop.run_forever()


def in_rounds(loop, callback, rounds=12):
    """The same for so many turns, however long they take."""

    def next_round(left):
        if left:
            loop.call_soon(next_round, left - 1)
        else:
            loop.stop()

    loop.call_soon(callback)
    loop.call_soon(next_round, rounds)
    loop.run_forever()


def ran(loop, callback):
    """Schedule by `callback`, which is given what notes its arguments, and say what was noted."""
    seen = []
    in_a_run(loop, lambda: callback(lambda *arguments: seen.append(arguments)))
    return seen


@pytest.mark.parametrize("method", METHODS)
class TestDropped:
    @pytest.mark.parametrize("count", range(5))
    def test_all_run_in_order_with_their_arguments(self, loop, method, count):
        def begin(note):
            for number in range(100):
                schedule(loop, method, note, *[number] * count)

        assert ran(loop, begin) == [(number,) * count for number in range(100)]

    def test_of_different_callables(self, loop, method):
        seen = []

        class Bound:
            def __init__(self, number):
                self.number = number

            def called(self):
                seen.append(self.number)

        def begin():
            for number in range(50):
                schedule(loop, method, Bound(number).called)
                schedule(loop, method, lambda number=number: seen.append(number + 0.5))

        in_a_run(loop, begin)
        assert seen == [number / 2 for number in range(100)]

    def test_each_sees_the_variables_it_was_scheduled_with(self, loop, method):
        def begin(note):
            for number in range(60):
                if number % 3 == 0:
                    VARIABLE.set(number)
                schedule(loop, method, lambda: (note(VARIABLE.get()), VARIABLE.set(-2)))

        assert ran(loop, begin) == [(number - number % 3,) for number in range(60)]

    def test_given_contexts(self, loop, method):
        def begin(note):
            for number in range(20):
                context = contextvars.Context()
                context.run(VARIABLE.set, number)
                schedule(loop, method, lambda: note(VARIABLE.get()), context=context)
                schedule(loop, method, lambda: note(VARIABLE.get()))

        assert ran(loop, begin) == [(number,) for pair in range(20) for number in (pair, -1)]

    def test_what_merely_has_a_run(self, loop, method):
        class Context:
            def run(self, callback, *arguments):
                callback("run", *arguments)

        def begin(note):
            for number in range(10):
                schedule(loop, method, note, number, context=Context())

        assert ran(loop, begin) == [("run", number) for number in range(10)]

    def test_what_it_held_is_let_go_of_when_it_has_run(self, loop, method):
        class Thing:
            def called(self, other=None):
                pass

        alive = weakref.WeakSet()
        counts = []

        def begin():
            for number in range(20):
                thing, other = Thing(), Thing()
                alive.update((thing, other))
                schedule(loop, method, thing.called, *[other][: number % 2])
            del thing, other

        in_a_run(loop, begin)
        gc.disable()
        try:
            in_a_run(loop, begin)
            counts.append(len(alive))
        finally:
            gc.enable()
        assert counts == [0]

    def test_the_failure_of_one_is_reported_with_a_handle(self, loop, method, errors):
        times = []

        def fail(*arguments):
            raise KeyError(*arguments)

        def begin():
            for number in range(20):
                VARIABLE.set(number)
                if method == "call_at":
                    times.append(loop.time() + number * 1e-7 / 3)
                    loop.call_at(times[-1], fail, *[number][: number % 2])
                else:
                    schedule(loop, method, fail, *[number][: number % 2])

        in_a_run(loop, begin)
        reports = errors.take()
        assert [report["exception"].args for report in reports] == [(n,) if n % 2 else () for n in range(20)]
        for number, report in enumerate(reports):
            handle = report["handle"]
            assert "Exception in callback" in report["message"] and "fail" in report["message"]
            assert isinstance(handle, asyncio.TimerHandle if method in METHODS[2:] else asyncio.Handle)
            assert (handle._callback, handle._loop) == (fail, loop)
            assert handle._args == ((number,) if number % 2 else ())
            assert handle._context[VARIABLE] == number
            assert not handle.cancelled() and not handle._source_traceback
            if times:
                assert handle.when() == times[number]
        assert len({id(report["handle"]) for report in reports}) == 20

    def test_an_exception_that_leaves_the_loop(self, loop, method):
        seen = []

        def leave(number):
            seen.append(number)
            if number == 5:
                raise KeyboardInterrupt

        def begin():
            for number in range(10):
                schedule(loop, method, leave, number)

        with pytest.raises(KeyboardInterrupt):
            in_a_run(loop, begin)
        assert seen == list(range(6))
        loop.call_later(0.002, loop.stop)
        loop.run_forever()
        assert seen == list(range(10))

    def test_debug_mode_comes_on_while_they_wait(self, loop, method, caplog):
        seen = []

        def begin():
            for number in range(10):
                schedule(loop, method, seen.append, number)
                schedule(loop, method, lambda: seen.append("none"))
            loop.slow_callback_duration = 0
            loop.set_debug(True)

        with caplog.at_level(logging.WARNING, "asyncio"):
            in_a_run(loop, begin)
        loop.set_debug(False)
        assert seen == [what for number in range(10) for what in (number, "none")]
        lines = [record.getMessage() for record in caplog.records]
        assert sum("Executing <" in line and "append" in line for line in lines) == 10
        assert sum("Executing <" in line and "lambda" in line for line in lines) == 10

    def test_a_destructor_schedules_and_drops(self, loop, method):
        seen = []

        class Dying:
            def __init__(self, number):
                self.number = number

            def __del__(self):
                schedule(loop, method, seen.append, self.number)

            def called(self):
                pass

        def begin():
            for number in range(20):
                schedule(loop, method, Dying(number).called)
                schedule(loop, method, id, Dying(number + 20))

        in_a_run(loop, begin)
        loop.call_later(0.002, loop.stop)
        loop.run_forever()
        assert sorted(seen) == list(range(40))

    def test_the_loop_is_closed_while_they_wait(self, new_loop, method):
        class Thing:
            def called(self, *arguments):
                raise AssertionError("it is closed")

        loop, things = new_loop(), weakref.WeakSet()

        def begin():
            for _ in range(10):
                thing, other = Thing(), Thing()
                things.update((thing, other))
                schedule(loop, method, thing.called, other)
                schedule(loop, method, thing.called)
            loop.stop()

        loop.call_soon(begin)
        loop.run_forever()
        assert len(things) == 20
        loop.close()
        assert len(things) == 0

    @pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
    @pytest.mark.parametrize("arguments", [0, 1])
    def test_a_loop_that_is_garbage_takes_them_along(self, kind, method, arguments):
        class Thing:
            def called(self, *arguments):
                raise AssertionError("the loop is gone")

        things, loops = weakref.WeakSet(), weakref.WeakSet()

        def run():
            loop = KINDS[kind]()
            loops.add(loop)

            def begin():
                for _ in range(10):
                    thing = Thing()
                    thing.loop = loop
                    things.add(thing)
                    schedule(loop, method, thing.called, *[thing] * arguments)
                loop.stop()

            loop.call_soon(loop.call_soon, begin)
            loop.run_forever()
            gc.collect()
            assert len(things) == 10

        run()
        gc.collect()
        assert (len(things), len(loops)) == (0, 0)

    def test_who_asks_the_collector_sees_those_that_it_saw(self, loop, method):
        found = []

        def begin():
            schedule(loop, method, note, 2)
            handles = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Handle)]
            found.extend(handle._args for handle in handles if handle._callback is note)

        def note(number):
            pass

        kept = loop.call_soon(begin)
        schedule(loop, method, note, 1)
        loop.call_later(0.002, loop.stop)
        loop.run_forever()
        assert (1,) in found and not kept.cancelled()

    def test_who_looks_sees_a_handle_for_each(self, loop, method):
        def begin(note):
            for number in range(10):
                schedule(loop, method, note, number)
                schedule(loop, method, note)
            lists = [list(loop._ready), list(loop._scheduled)]
            mine = [handle for both in lists for handle in both if handle._callback is note]
            mine.sort(key=lambda handle: handle._args or (-1,))
            assert [handle._args for handle in mine] == [()] * 10 + [(number,) for number in range(10)]
            again = [handle for both in (loop._ready, loop._scheduled) for handle in both]
            assert {id(handle) for handle in mine} <= {id(handle) for handle in again}
            for handle in mine[::2]:
                assert handle._loop is loop and not handle.cancelled()
                assert getattr(handle, "_scheduled", True)
                handle.cancel()
            if method == "call_later":
                assert all(abs(handle.when() - loop.time()) < 5 for handle in mine)
            for number in (10, 11):
                schedule(loop, method, note, number)

        seen = ran(loop, begin)
        assert sorted(seen) == [()] * 5 + [(number,) for number in (1, 3, 5, 7, 9, 10, 11)]


@pytest.mark.parametrize("method", METHODS)
class TestKept:
    @pytest.mark.parametrize("every", [2, 3, 7])
    def test_some_are_kept(self, loop, method, every):
        kept = {}

        def begin(note):
            for number in range(50):
                handle = schedule(loop, method, note, *[number] * (number % 4))
                if number % every == 0:
                    kept[number] = handle
                del handle
            for number, handle in kept.items():
                assert handle._args == (number,) * (number % 4) and handle._callback is note

        assert ran(loop, begin) == [(number,) * (number % 4) for number in range(50)]
        assert len({id(handle) for handle in kept.values()}) == len(kept)
        assert not any(handle.cancelled() for handle in kept.values())

    @pytest.mark.parametrize("every", [1, 2, 3])
    def test_some_are_cancelled_then_dropped(self, loop, method, every):
        def begin(note):
            for number in range(50):
                handle = schedule(loop, method, note, number)
                if number % every == 0:
                    handle.cancel()
                    assert handle.cancelled() and handle._callback is None
                del handle

        assert ran(loop, begin) == [(number,) for number in range(50) if number % every]

    def test_some_are_cancelled_by_those_before_them(self, loop, method):
        handles = []

        def begin(note):
            for number in range(50):
                if number % 5 == 1:
                    schedule(loop, method, lambda: handles.pop(0).cancel())
                    handles.append(schedule(loop, method, note, "cancelled"))
                schedule(loop, method, note, number)

        assert ran(loop, begin) == [(number,) for number in range(50)]

    def test_by_a_weak_reference(self, loop, method):
        """One that is only looked at weakly dies as on asyncio: when it has run."""
        references = []

        def begin(note):
            for number in range(10):
                references.append(weakref.ref(schedule(loop, method, note, number)))
                schedule(loop, method, note, number + 0.5)
            for number, reference in enumerate(references):
                assert reference()._args == (number,)
            references[3]().cancel()
            assert references[3] is not None

        expected = [(number / 2,) for number in range(20) if number != 6]
        assert ran(loop, begin) == expected
        assert not any(reference() for reference in references)

    def test_until_a_callback_drops_it(self, loop, method):
        """While it runs, before, and after."""
        kept = []

        def begin(note):
            for number in range(30):

                def callback(number=number):
                    note(number)
                    if number % 3 == 0:
                        kept[number] = None
                    if number % 3 == 1 and number + 1 < 30:
                        kept[number + 1] = None
                    if number % 3 == 2:
                        kept[number - 1] = None

                kept.append(schedule(loop, method, callback))

        assert ran(loop, begin) == [(number,) for number in range(30)]
        gc.collect()

    def test_in_its_own_argument(self, loop, method):
        alive = weakref.WeakSet()

        class Holder:
            handle = None

        def begin(note):
            for _ in range(10):
                holder = Holder()
                alive.add(holder)
                holder.handle = schedule(loop, method, note, holder)
                schedule(loop, method, note, None)

        seen = ran(loop, begin)
        assert len(seen) == 20 and all(holder.handle._args == (holder,) for (holder,) in seen if holder)
        seen.clear()
        gc.collect()
        assert not alive

    def test_its_context_is_the_one_it_ran_in(self, loop, method):
        kept = []

        def begin():
            for number in range(10):
                kept.append(schedule(loop, method, VARIABLE.set, number))
                schedule(loop, method, VARIABLE.set, -5)

        in_a_run(loop, begin)
        assert [handle._context[VARIABLE] for handle in kept] == list(range(10))

    @pytest.mark.velodrome_only
    @pytest.mark.parametrize("name", [name for name in asyncio.Handle.__slots__ if name != "__weakref__"])
    def test_what_is_put_in_through_the_base_class_is_no_argument(self, loop, method, name, errors):
        """asyncio's descriptors reach what lies over its slots, so also where an argument would be."""

        loops = []

        def begin(note):
            for _ in range(4):
                vars(asyncio.Handle)[name].__set__(schedule(loop, method, note), contextvars.Context())
                loops.append(schedule(loop, method, note)._loop)

        assert set(ran(loop, begin)) <= {()}
        assert loops == [loop] * 4, "it is not used again"
        errors.take()

    @pytest.mark.velodrome_only
    def test_by_who_asks_the_collector_what_the_loop_holds(self, loop, method):
        kept, blank = {}, []

        def begin(note):
            for number in range(10):
                schedule(loop, method, note, number)
                if number % 2 == 0:
                    held = [thing for thing in gc.get_referents(loop) if isinstance(thing, asyncio.Handle)]
                    kept.update((handle._args, handle) for handle in held if handle._callback is note)
                    blank.extend(handle for handle in held if handle._loop and not handle._callback)

        assert ran(loop, begin) == [(number,) for number in range(10)]
        assert not blank
        assert set(kept) >= {(number,) for number in range(0, 10, 2)}
        assert all(handle._args == arguments for arguments, handle in kept.items())

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="f_locals was a copy")
    def test_on_the_stack_alone(self, loop, method):
        """From 3.14 on a variable has no count there of its own; here it is overwritten meanwhile."""
        passed = []

        def overwrite():
            sys._getframe(1).f_locals["handle"] = None
            schedule(loop, method, note, "another")

        def begin():
            for number in range(10):
                handle = schedule(loop, method, note, number)
                passed.append((handle, overwrite()))
                assert handle is None

        def note(what):
            seen.append(what)

        seen = []
        in_a_run(loop, begin)
        assert seen == [what for number in range(10) for what in (number, "another")]
        assert [handle._args for handle, _ in passed] == [(number,) for number in range(10)]

    @pytest.mark.parametrize("watch", [sys.setprofile, sys.settrace])
    def test_by_who_watches_the_calls(self, loop, method, watch):
        """What a profiler schedules while a handle is being returned does not take that handle."""
        busy, kept, seen = [], [], []

        def watcher(frame, event, argument):
            if not busy and frame.f_code.co_filename == __file__:
                busy.append(1)
                schedule(loop, method, seen.append, "watcher")
                busy.pop()
            return watcher

        def begin():
            before = sys.getprofile(), sys.gettrace()
            watch(watcher)
            try:
                for number in range(10):
                    kept.append(schedule(loop, method, seen.append, number))
                    schedule(loop, method, seen.append, number + 0.5)
            finally:
                sys.setprofile(before[0])
                sys.settrace(before[1])

        in_a_run(loop, begin)
        assert [what for what in seen if what != "watcher"] == [number / 2 for number in range(20)]
        assert [handle._args for handle in kept] == [(number,) for number in range(10)]
        assert seen.count("watcher") > 20

    def test_run_by_hand(self, loop, method):
        def begin(note):
            handle = schedule(loop, method, note, "twice")
            schedule(loop, method, note, "once")
            handle._run()

        assert ran(loop, begin) == [("twice",), ("twice",), ("once",)]


class TestTogether:
    @pytest.mark.parametrize("seed", range(20))
    def test_a_random_program_runs_as_on_asyncio(self, loop, oracle, seed):
        """Which callbacks run with what, for handles that are kept, dropped and cancelled at random."""

        def program(loop):
            choose, seen, kept, number = random.Random(seed), [], [], iter(range(10**6))

            def act(depth):
                for _ in range(choose.randrange(1, 5)):
                    context = choose.choice([None, None, None, contextvars.Context()])
                    arguments = [next(number)] * choose.randrange(4)
                    handle = getattr(loop, choose.choice(SOON))(note, depth, *arguments, context=context)
                    match choose.randrange(8):
                        case 0 | 1:
                            kept.append(handle)
                        case 2:
                            handle.cancel()
                        case 3:
                            VARIABLE.set(next(number))
                        case 4 if kept:
                            kept.pop(choose.randrange(len(kept))).cancel()
                        case 5 if kept:
                            kept.pop(choose.randrange(len(kept)))
                        case 6:
                            loop.call_soon(bare)

            def bare():
                seen.append(VARIABLE.get())

            def note(depth, *arguments):
                seen.append((depth, arguments, VARIABLE.get()))
                if depth < 6 and len(seen) < 2000:
                    act(depth + 1)

            contextvars.Context().run(in_rounds, loop, lambda: act(0))
            return seen

        assert program(loop) == program(oracle)

    def test_timers_that_are_dropped_between_timers_that_are_kept(self, loop):
        seen, kept = [], []

        def begin():
            start = loop.time()
            for number in range(200):
                handle = loop.call_at(start + (number * 37 % 200) * 1e-6, lambda n=number: seen.append(n))
                if number % 3 == 0:
                    kept.append(handle)
                if number % 9 == 0:
                    handle.cancel()
                del handle

        in_a_run(loop, begin)
        expected = [number for number in range(200) if number % 9]
        assert seen == sorted(expected, key=lambda number: number * 37 % 200)

    def test_from_other_threads(self, loop):
        """Dropped there, and by the loop's thread."""
        seen, kept, left = [], [], set(range(4))

        def burst(thread):
            for number in range(2000):
                handle = loop.call_soon_threadsafe(seen.append, (thread, number))
                if number % 7 == 0:
                    kept.append(handle)
                if number % 11 == 0:
                    loop.call_soon_threadsafe(lambda: kept and kept.pop())
                if number % 13 == 0:
                    handle.cancel()
            loop.call_soon_threadsafe(done, thread)

        def done(thread):
            left.discard(thread)
            if not left:
                loop.stop()

        threads = [threading.Thread(target=burst, args=(thread,)) for thread in tuple(left)]
        for thread in threads:
            thread.start()
        loop.run_forever()
        for thread in threads:
            thread.join()
        for thread in range(4):
            numbers = [number for which, number in seen if which == thread]
            assert numbers == sorted(set(numbers))
            assert {number for number in range(2000) if number % 13} <= set(numbers)

    def test_a_failure_goes_to_its_own_loop(self, loop, new_loop, errors):
        """Though the callback has run another one."""
        other = new_loop()
        told = []
        loop.set_exception_handler(lambda which, context: told.append((which, context["handle"]._loop)))
        other.set_exception_handler(lambda which, context: told.append((which, context["handle"]._loop)))

        def fail():
            raise KeyError

        def begin_other():
            for _ in range(3):
                other.call_soon(fail)
            other.call_soon(other.stop)

        def runs_another():
            asyncio._set_running_loop(None)
            try:
                other.call_soon(begin_other)
                other.run_forever()
            finally:
                asyncio._set_running_loop(loop)
            raise KeyError

        def begin():
            for callback in (runs_another, fail, fail):
                loop.call_soon(callback)

        in_a_run(loop, begin)
        assert told == [(which, which) for which in [other] * 3 + [loop] * 3]

    def test_failures_of_two_loops_in_two_threads(self, loop, new_loop):
        other = new_loop()
        told = []
        for each in (loop, other):
            each.set_exception_handler(
                lambda which, context: told.append((which, context["exception"].args[0]))
            )

        def fail(number, which):
            sum(range(200))
            raise KeyError(which)

        def run(which):
            def begin():
                for number in range(500):
                    which.call_soon(fail, number, which)

            in_a_run(which, begin)

        def run_bare(which):
            def bare():
                raise KeyError(which)

            def begin():
                for _ in range(500):
                    which.call_soon(bare)

            in_a_run(which, begin)

        for function in (run, run_bare):
            thread = threading.Thread(target=function, args=(other,))
            thread.start()
            function(loop)
            thread.join()
        assert len(told) == 2000
        assert all(which is meant for which, meant in told)

    def test_a_callback_that_runs_the_loop(self, loop, kind):
        if kind == "asyncio":
            pytest.skip("asyncio runs out of the callbacks that it has counted")
        seen = []

        def nested(number):
            seen.append(number)
            if number < 5:
                loop.call_soon(nested, number + 1)
                loop.call_soon(seen.append, f"after {number}")
                loop._run_once()
            seen.append(f"left {number}")

        in_a_run(loop, lambda: loop.call_soon(nested, 0))
        assert sorted(seen, key=str) == sorted(
            [*range(6), *(f"after {n}" for n in range(5)), *(f"left {n}" for n in range(6))], key=str
        )

    def test_across_runs(self, loop):
        """Left over from one run to the next, with the collector in between."""
        seen = []

        def begin(number):
            for offset in range(10):
                loop.call_soon(seen.append, number + offset)
                loop.call_later(0, lambda what=-number - offset: seen.append(what))
            loop.stop()

        for number in (10, 20, 30):
            loop.call_soon(begin, number)
            loop.run_forever()
            gc.collect()
            loop.call_soon(seen.append, number + 9.5)
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert sorted(seen, key=abs) == sorted(
            [s * n for n in range(10, 40) for s in (1, -1)] + [19.5, 29.5, 39.5], key=abs
        )
        assert [n for n in seen if n > 0] == sorted(n for n in seen if n > 0)
