"""call_soon: order, turns, contexts, and the handles it gives."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import itertools
import socket
import sys
import weakref

import pytest

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


def one_turn(loop):
    """Run what is due now, and nothing that is scheduled meanwhile."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_first_in_first_out(loop):
    seen = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    one_turn(loop)
    assert seen == list(range(1000))


def test_a_callback_scheduled_in_a_turn_runs_in_the_next(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "scheduled by first")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    one_turn(loop)
    assert seen == ["first", "second"]
    one_turn(loop)
    assert seen == ["first", "second", "scheduled by first"]


def test_turns_keep_the_order_of_scheduling(loop):
    seen = []

    def step(name, left):
        seen.append((left, name))
        if left:
            loop.call_soon(step, name, left - 1)
        elif name == "c":
            loop.stop()

    for name in "abc":
        loop.call_soon(step, name, 3)
    loop.run_forever()
    assert seen == [(left, name) for left in (3, 2, 1, 0) for name in "abc"]


def test_a_callback_that_reschedules_itself_starves_nobody(loop):
    ours, theirs = socket.socketpair()
    counts = {"reader": 0, "timer": 0}
    scheduled = itertools.count()

    def reader():
        counts["reader"] += 1
        stop_if_done()

    def timer():
        counts["timer"] += 1
        loop.call_later(0.001, timer)
        stop_if_done()

    def stop_if_done():
        if counts["reader"] >= 100 and counts["timer"] >= 20:
            loop.stop()

    def forever():
        next(scheduled)
        loop.call_soon(forever)

    with ours, theirs:
        theirs.send(b"x")
        loop.add_reader(ours, reader)
        loop.call_soon(forever)
        loop.call_soon(timer)
        loop.run_forever()
        loop.remove_reader(ours)
    assert next(scheduled) > 100


def test_many_callbacks(loop):
    counter = itertools.count()
    for _ in range(100_000):
        loop.call_soon(next, counter)
    one_turn(loop)
    assert next(counter) == 100_000


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 20])
def test_arguments(loop, count):
    seen = []
    loop.call_soon(lambda *arguments: seen.append(arguments), *range(count))
    one_turn(loop)
    assert seen == [tuple(range(count))]


def test_kinds_of_callables(loop):
    seen = []

    class Callable:
        def __call__(self, value):
            seen.append(value)

        def method(self, value):
            seen.append(value)

        @classmethod
        def of_class(cls, value):
            seen.append(value)

    loop.call_soon(Callable(), 1)
    loop.call_soon(Callable().method, 2)
    loop.call_soon(Callable.of_class, 3)
    loop.call_soon(functools.partial(seen.append, 4))
    loop.call_soon(seen.append, 5)
    loop.call_soon(list, (6,))
    one_turn(loop)
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("schedule", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
class TestContexts:
    """Every method that schedules takes a context."""

    def schedule(self, loop, method, *arguments, **options):
        first = {"call_later": (0,), "call_at": (0,)}.get(method, ())
        return getattr(loop, method)(*first, *arguments, **options)

    def value_seen(self, loop, method, **options):
        seen = []

        def callback():
            seen.append(VAR.get())
            VAR.set("set by the callback")
            loop.stop()

        self.schedule(loop, method, callback, **options)
        loop.run_forever()
        return seen[0]

    def test_without_one_it_is_a_copy_taken_when_scheduling(self, loop, schedule):
        def inside():
            VAR.set("when scheduling")
            seen = []
            self.schedule(loop, schedule, lambda: (seen.append(VAR.get()), VAR.set("lost"), loop.stop()))
            VAR.set("later")
            loop.run_forever()
            return seen, VAR.get()

        assert contextvars.copy_context().run(inside) == (["when scheduling"], "later")

    def test_a_given_one_is_used_itself(self, loop, schedule):
        context = contextvars.copy_context()
        context.run(VAR.set, "given")
        assert self.value_seen(loop, schedule, context=context) == "given"
        assert context[VAR] == "set by the callback"

    def test_none_is_as_no_context(self, loop, schedule):
        assert self.value_seen(loop, schedule, context=None) == "unset"
        assert VAR.get() == "unset"


class TestHandles:
    """What call_soon returns."""

    def test_it_is_a_handle(self, loop):
        handle = loop.call_soon(print)
        assert isinstance(handle, asyncio.Handle)
        assert not isinstance(handle, asyncio.TimerHandle)
        handle.cancel()

    def test_cancel(self, loop):
        seen = []
        handle = loop.call_soon(seen.append, 1)
        assert not handle.cancelled()
        assert handle.cancel() is None
        assert handle.cancelled()
        handle.cancel()
        one_turn(loop)
        assert seen == []
        assert handle.cancelled()

    def test_cancel_by_a_callback_of_the_same_turn(self, loop):
        seen = []
        loop.call_soon(lambda: later.cancel())
        later = loop.call_soon(seen.append, "later")
        one_turn(loop)
        assert seen == []

    def test_cancel_by_its_own_callback(self, loop):
        seen = []
        handle = loop.call_soon(lambda: (handle.cancel(), seen.append(handle.cancelled())))
        one_turn(loop)
        assert seen == [True]

    def test_cancel_after_the_run(self, loop):
        handle = loop.call_soon(int)
        one_turn(loop)
        assert not handle.cancelled()
        handle.cancel()
        assert handle.cancelled()

    def test_callback_and_arguments(self, loop):
        handle = loop.call_soon(print, 1, 2)
        assert handle._callback is print
        assert handle._args == (1, 2)
        assert loop.call_soon(int)._args == ()
        handle.cancel()
        assert handle._callback is None
        assert handle._args is None

    def test_cancel_lets_go_of_everything_at_once(self, loop):
        class Thing:
            pass

        thing = Thing()
        alive = weakref.ref(thing)
        handle = loop.call_soon(print, thing)
        del thing
        assert alive() is not None
        handle.cancel()
        assert alive() is None

    def test_after_the_run_the_loop_keeps_nothing(self, loop):
        class Thing:
            pass

        thing = Thing()
        alive = weakref.ref(thing)
        loop.call_soon(id, thing)
        del thing
        one_turn(loop)
        gc.collect()
        assert alive() is None

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context is new in 3.12")
    def test_get_context(self, loop):
        context = contextvars.copy_context()
        assert loop.call_soon(int, context=context).get_context() is context
        VAR.set("seen by the copy")
        try:
            assert loop.call_soon(int).get_context()[VAR] == "seen by the copy"
        finally:
            VAR.set("unset")
        one_turn(loop)

    def test_repr_is_that_of_asyncio(self, loop, oracle):
        def callback():
            pass

        for function, arguments in (
            (callback, ()),
            (callback, (1, "two")),
            (print, (3,)),
            (functools.partial(int), ()),
        ):
            expected = repr(asyncio.Handle(function, arguments, oracle))
            handle = loop.call_soon(function, *arguments)
            assert repr(handle) == expected
            handle.cancel()
            assert repr(handle) == "<Handle cancelled>"

    def test_weak_references_and_hash(self, loop):
        handle = loop.call_soon(int)
        assert weakref.ref(handle)() is handle
        assert len({handle, handle, loop.call_soon(int)}) == 2
        assert handle == handle
        one_turn(loop)

    def test_a_handle_outlives_its_loop(self, new_loop):
        loop = new_loop()
        handle = loop.call_soon(int)
        loop.close()
        del loop
        gc.collect()
        handle.cancel()
        assert handle.cancelled()
        repr(handle)


def test_a_callback_scheduled_before_the_run_runs(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_what_was_scheduled_for_a_closed_loop_never_runs(new_loop):
    loop = new_loop()
    seen = []
    loop.call_soon(seen.append, 1)
    loop.close()
    assert seen == []


def test_the_loop_may_be_closed_with_a_callback_that_refers_to_it(new_loop):
    loop = new_loop()
    loop.me = loop
    loop.call_soon(loop.stop)
    loop.call_later(1000, loop.stop)
    loop.close()


def test_a_destructor_may_schedule(loop):
    seen = []

    class Dying:
        def __del__(self):
            loop.call_soon(seen.append, "scheduled by a destructor")

    loop.call_soon(id, Dying())
    one_turn(loop)
    handle = loop.call_soon(id, Dying())
    handle.cancel()
    one_turn(loop)
    one_turn(loop)
    assert seen == ["scheduled by a destructor"] * 2
