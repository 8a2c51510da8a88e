"""add_reader and add_writer: level-triggered, replaced, removed, and descriptors that go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import sys
import weakref

import pytest
from recorder import linked


def one_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def a_few_turns(loop, count=5):
    for _ in range(count):
        one_turn(loop)


@pytest.fixture
def ours(pair):
    return pair[0]


@pytest.fixture
def theirs(pair):
    return pair[1]


@pytest.fixture(autouse=True)
def loop_before_sockets(loop, pair):
    """Readers that a test leaves behind go before the loop is closed, and the sockets after it."""
    yield
    if not loop.is_closed() and pair[0].fileno() >= 0:
        loop.remove_reader(pair[0])
        loop.remove_writer(pair[0])


class TestReaders:
    """add_reader and remove_reader."""

    def test_it_is_called_while_there_is_something_to_read(self, loop, ours, theirs):
        theirs.send(b"abc")
        seen = []

        def read():
            seen.append(ours.recv(1))
            if len(seen) == 3:
                loop.call_soon(loop.stop)

        loop.add_reader(ours, read)
        loop.run_forever()
        a_few_turns(loop)
        assert seen == [b"a", b"b", b"c"]
        theirs.send(b"d")
        a_few_turns(loop)
        assert seen[3:] == [b"d"]

    def test_it_is_called_again_if_it_reads_nothing(self, loop, ours, theirs):
        count = 0

        def ignore():
            nonlocal count
            count += 1
            if count == 10:
                loop.stop()

        theirs.send(b"x")
        loop.add_reader(ours, ignore)
        loop.run_forever()

    def test_what_waits_already_is_seen(self, loop, ours, theirs):
        theirs.send(b"x")
        loop.add_reader(ours, loop.stop)
        loop.run_forever()

    def test_it_returns_none(self, loop, ours):
        assert loop.add_reader(ours, int) is None
        assert loop.add_writer(ours, int) is None

    def test_arguments(self, loop, ours, theirs):
        seen = []
        theirs.send(b"x")
        loop.add_reader(ours, lambda *arguments: (seen.append(arguments), loop.stop()), 1, "two")
        loop.run_forever()
        assert seen == [(1, "two")]

    def test_by_number(self, loop, ours, theirs):
        theirs.send(b"x")
        loop.add_reader(ours.fileno(), loop.stop)
        loop.run_forever()
        assert loop.remove_reader(ours) is True

    def test_by_an_object_with_a_number(self, loop, ours, theirs):
        class File:
            def fileno(self):
                return ours.fileno()

        theirs.send(b"x")
        loop.add_reader(File(), loop.stop)
        loop.run_forever()
        assert loop.remove_reader(File()) is True

    def test_replacing(self, loop, ours, theirs):
        seen = []
        theirs.send(b"x")
        loop.add_reader(ours, seen.append, "old")
        loop.add_reader(ours, lambda: (seen.append("new"), loop.stop()))
        loop.run_forever()
        assert seen == ["new"]

    def test_removing(self, loop, ours, theirs):
        assert loop.remove_reader(ours) is False
        loop.add_reader(ours, pytest.fail)
        theirs.send(b"x")
        assert loop.remove_reader(ours) is True
        assert loop.remove_reader(ours) is False
        a_few_turns(loop)

    @pytest.mark.parametrize("removes", [False, True])
    @pytest.mark.parametrize("writes", [False, True])
    def test_replaced_by_a_callback_of_the_same_turn(self, loop, pair, removes, writes):
        """Two are ready; whichever runs first reads both, and others are to read what comes next."""
        seen = []

        def replace():
            seen.append([end.recv(10) for end in pair])
            for end in pair:
                if removes:
                    loop.remove_reader(end)
                loop.add_reader(end, lambda end=end: seen.append(end.recv(10)))

        for end in pair:
            end.send(b"x")
            loop.add_reader(end, replace)
            if writes:
                loop.add_writer(end, int)
        a_few_turns(loop)
        assert seen == [[b"x", b"x"]]
        pair[0].send(b"y")
        a_few_turns(loop)
        assert seen == [[b"x", b"x"], b"y"]
        for end in pair:
            loop.remove_reader(end)
            loop.remove_writer(end)

    def test_removed_by_a_callback_of_the_same_turn(self, new_loop):
        """Two are ready; whichever runs first removes the other."""
        loop = new_loop()
        pairs = [socket.socketpair(), socket.socketpair()]
        seen = []

        def remove_the_other(number):
            seen.append(number)
            loop.remove_reader(pairs[1 - number][0])

        for number, (ours, theirs) in enumerate(pairs):
            theirs.send(b"x")
            loop.add_reader(ours, remove_the_other, number)
        one_turn(loop)
        loop.remove_reader(pairs[seen[0]][0])
        for pair in pairs:
            for end in pair:
                end.close()
        assert len(seen) == 1

    def test_added_again_by_its_callback(self, loop, ours, theirs):
        seen = []

        def read():
            seen.append(ours.recv(1))
            loop.remove_reader(ours)
            loop.add_reader(ours, read)
            if len(seen) == 3:
                loop.stop()

        theirs.send(b"abc")
        loop.add_reader(ours, read)
        loop.run_forever()
        assert seen == [b"a", b"b", b"c"]

    @pytest.mark.parametrize("what", ["reader", "writer"])
    def test_removed_after_it_was_closed(self, loop, ours, theirs, what):
        """By the object that was added: it has no number any more."""
        called = []
        getattr(loop, f"add_{what}")(ours, called.append, what)
        theirs.send(b"x")
        ours.close()
        remove = getattr(loop, f"remove_{what}")
        assert remove(ours) is True
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            remove(ours)
        a_few_turns(loop)
        assert called == []

    def test_what_was_added_stays_alive_until_it_is_removed(self, loop):
        ours, theirs = socket.socketpair()
        with theirs:
            alive = weakref.ref(ours)
            loop.add_reader(ours, print)
            del ours
            gc.collect()
            assert alive() is not None
            alive().close()
            assert loop.remove_reader(alive()) is True
        gc.collect()
        assert alive() is None

    def test_a_thousand_times_added_and_removed(self, loop, ours, theirs):
        """psycopg does this for each wait."""
        theirs.send(b"x")
        for _ in range(1000):
            loop.add_reader(ours, pytest.fail)
            assert loop.remove_reader(ours)
        loop.add_reader(ours, loop.stop)
        loop.run_forever()

    def test_end_of_file(self, loop, ours, theirs):
        theirs.close()
        loop.add_reader(ours, lambda: ours.recv(1) == b"" and loop.stop())
        loop.run_forever()

    def test_hanging_up_is_told_to_both(self, loop, ours, theirs):
        seen = set()

        def note(what):
            seen.add(what)
            if len(seen) == 2:
                loop.stop()

        loop.add_reader(ours, note, "reader")
        loop.add_writer(ours, note, "writer")
        theirs.close()
        loop.run_forever()

    def test_the_reader_of_a_pipe_that_can_only_be_written(self, loop):
        """Watching the writing end tells when the reading end is closed."""
        read_end, write_end = os.pipe()
        loop.add_reader(write_end, loop.stop)
        loop.call_soon(os.close, read_end)
        loop.run_forever()
        assert loop.remove_reader(write_end)
        os.close(write_end)

    def test_the_context_is_that_of_adding(self, loop, ours, theirs):
        var = contextvars.ContextVar("var", default="unset")
        seen = []

        def add():
            var.set("when adding")
            loop.add_reader(ours, lambda: (seen.append(var.get()), loop.stop()))

        contextvars.copy_context().run(add)
        theirs.send(b"x")
        loop.run_forever()
        assert seen == ["when adding"]


class TestWriters:
    """add_writer and remove_writer."""

    def test_it_is_called_while_there_is_room(self, loop, ours):
        count = 0

        def write():
            nonlocal count
            count += 1
            if count == 10:
                loop.stop()

        loop.add_writer(ours, write)
        loop.run_forever()

    def test_it_waits_for_room(self, loop, ours, theirs):
        with pytest.raises(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        seen = []
        loop.add_writer(ours, seen.append, 1)
        a_few_turns(loop)
        assert seen == []

        def drain():
            with pytest.raises(BlockingIOError):
                while True:
                    theirs.recv(65536)

        loop.call_soon(drain)
        loop.call_soon(loop.call_soon, loop.call_soon, loop.call_soon, loop.stop)
        loop.run_forever()
        assert seen

    def test_removing(self, loop, ours):
        assert loop.remove_writer(ours) is False
        loop.add_writer(ours, pytest.fail)
        assert loop.remove_writer(ours) is True
        assert loop.remove_writer(ours) is False
        a_few_turns(loop)

    def test_replacing(self, loop, ours):
        seen = []
        loop.add_writer(ours, seen.append, "old")
        loop.add_writer(ours, lambda: (seen.append("new"), loop.stop()))
        loop.run_forever()
        assert seen == ["new"]

    def test_replaced_by_a_callback_of_the_same_turn(self, loop, pair):
        """Whichever of two runs first replaces both; nobody is called for what was said before."""
        seen = []

        def replace():
            seen.append("old")
            for end in pair:
                loop.add_writer(end, seen.append, "new")

        for end in pair:
            loop.add_writer(end, replace)
        one_turn(loop)
        assert seen == ["old"]
        one_turn(loop)
        assert seen == ["old", "new", "new"]
        for end in pair:
            loop.remove_writer(end)

    def test_a_reader_and_a_writer_do_not_mind_each_other(self, loop, ours, theirs):
        seen = set()
        loop.add_reader(ours, seen.add, "reader")
        loop.add_writer(ours, seen.add, "writer")
        a_few_turns(loop)
        assert seen == {"writer"}
        loop.remove_writer(ours)
        theirs.send(b"x")
        seen.clear()
        a_few_turns(loop)
        assert seen == {"reader"}
        loop.remove_reader(ours)
        seen.clear()
        a_few_turns(loop)
        assert seen == set()


class Numbered:
    """A file that is only a number."""

    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number


@pytest.mark.parametrize("what", ["reader", "writer"])
class TestDescriptorsThatGoWrong:
    """asyncio's exceptions, at once."""

    def add(self, loop, what, fd):
        getattr(loop, f"add_{what}")(fd, int)

    def remove(self, loop, what, fd):
        return getattr(loop, f"remove_{what}")(fd)

    @pytest.mark.parametrize("fd", [-1, -100])
    def test_negative(self, loop, what, fd):
        with pytest.raises(ValueError):
            self.add(loop, what, fd)
        with pytest.raises(ValueError):
            self.remove(loop, what, fd)

    @pytest.mark.parametrize("fd", [None, "0", 1.5, b"x", object()])
    def test_wrong_types(self, loop, what, fd):
        with pytest.raises(ValueError):
            self.add(loop, what, fd)
        with pytest.raises(ValueError):
            self.remove(loop, what, fd)

    def test_one_that_is_not_open(self, loop, what):
        for fd in (9999, 10**6):
            with pytest.raises(OSError):
                self.add(loop, what, fd)
            assert self.remove(loop, what, fd) is False

    @pytest.mark.parametrize("number", [2**31, 2**40, 2**70])
    @pytest.mark.parametrize("given", [int, Numbered])
    def test_beyond_descriptors(self, loop, what, number, given):
        with pytest.raises(OverflowError, match="too large to convert to C int"):
            self.add(loop, what, given(number))
        assert self.remove(loop, what, given(number)) is False

    @pytest.mark.parametrize("given", [True, False])
    def test_a_bool(self, loop, what, given):
        """The interpreter warns from 3.13 on; whether this one can be watched is the kernel's business."""
        warns = sys.version_info >= (3, 13)
        with pytest.warns(RuntimeWarning, match="bool is used") if warns else contextlib.nullcontext():
            with contextlib.suppress(PermissionError):
                self.add(loop, what, given)
        self.remove(loop, what, int(given))

    def test_a_closed_socket(self, loop, what):
        closed = socket.socket()
        closed.close()
        with pytest.raises(ValueError):
            self.add(loop, what, closed)

    def test_a_regular_file(self, loop, what, tmp_path):
        """prompt_toolkit takes PermissionError for the end of its input."""
        with open(tmp_path / "file", "w+b") as file:
            with pytest.raises(PermissionError):
                self.add(loop, what, file)
            assert self.remove(loop, what, file) is False
            with pytest.raises(PermissionError):
                self.add(loop, what, file)

    def test_after_a_failure_the_number_is_usable(self, loop, what, ours, theirs, tmp_path):
        with open(tmp_path / "file", "w+b") as file:
            number = file.fileno()
            with pytest.raises(PermissionError):
                self.add(loop, what, file)
        theirs.send(b"x")
        os.dup2(ours.fileno(), number)
        getattr(loop, f"add_{what}")(number, loop.stop)
        loop.run_forever()
        assert self.remove(loop, what, number)
        os.close(number)

    @pytest.mark.velodrome_only
    def test_closed_without_removing_and_the_number_reused(self, loop, what):
        stale = []
        first, second = socket.socketpair()
        number = first.fileno()
        second.send(b"x")
        getattr(loop, f"add_{what}")(first, stale.append, 1)
        first.close()
        second.close()
        third, fourth = socket.socketpair()
        with third, fourth:
            if third.fileno() != number:
                os.dup2(third.fileno(), number)
            fourth.send(b"y")
            a_few_turns(loop)
            stale.clear()
            getattr(loop, f"add_{what}")(number, loop.stop)
            loop.run_forever()
            assert stale == []
            assert self.remove(loop, what, number)
            if third.fileno() != number:
                os.close(number)

    def test_closed_in_its_own_callback(self, loop, what):
        first, second = socket.socketpair()
        second.send(b"x")

        def close():
            self.remove(loop, what, first)
            first.close()
            loop.stop()

        getattr(loop, f"add_{what}")(first, close)
        loop.run_forever()
        a_few_turns(loop)
        second.close()

    def test_one_that_a_transport_owns(self, run, loop, what):
        async def main():
            async with linked() as (client, _):
                fd = client.transport.get_extra_info("socket").fileno()
                for method in (self.add, self.remove):
                    with pytest.raises(RuntimeError, match=f"File descriptor {fd} is used by transport"):
                        method(loop, what, fd)

        run(main())


def test_the_number_of_a_closed_transport_is_free(run, loop, ours, theirs):
    async def main():
        async with linked() as (client, _):
            number = client.transport.get_extra_info("socket").fileno()
            client.transport.close()
            await client.until("lost")
            await asyncio.sleep(0)
            os.dup2(ours.fileno(), number)
            readable = asyncio.Event()
            loop.add_reader(number, readable.set)
            theirs.send(b"x")
            await readable.wait()
            assert loop.remove_reader(number)
            os.close(number)

    run(main())


def test_many_readers(loop):
    pairs = [socket.socketpair() for _ in range(500)]
    seen = set()

    def read(number):
        seen.add(number)
        loop.remove_reader(pairs[number][0])
        if len(seen) == len(pairs):
            loop.stop()

    for number, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours, read, number)
        theirs.send(b"x")
    loop.run_forever()
    for pair in pairs:
        for end in pair:
            end.close()
