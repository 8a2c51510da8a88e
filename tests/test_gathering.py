"""Writes that wait for the end of their turn, and who must not notice. On a busy loop of ours, what callbacks
write leaves together; asyncio sends it at once, so all of this holds there by nature.
"""

from __future__ import annotations

import os
import select
import socket
import warnings

import pytest
from recorder import Recorder

HANDED_OUT = {
    "get_extra_info": lambda transport: transport.get_extra_info("socket").fileno(),
    "_sock": lambda transport: transport._sock.fileno(),
    "_sock_fd": lambda transport: transport._sock_fd,
    "_extra": lambda transport: transport._extra["socket"].fileno(),
}

IN_A_CHILD = {
    "end of turn": lambda transport: None,
    "write": lambda transport: transport.write(b""),
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "new marks": lambda transport: transport.set_write_buffer_limits(1),
    "the socket": HANDED_OUT["get_extra_info"],
}


def one_turn(loop, *callbacks):
    for callback in callbacks:
        loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.fixture
def written(loop, kind, pair):
    """Call something with a transport that has just written b"first ", which waits if the loop is ours."""
    ours, theirs = pair
    transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))

    def written(act):
        # A loop in which many callbacks wrote in the last turn expects more of them.
        one_turn(loop, *[lambda: transport.write(b"x")] * 8)
        assert theirs.recv(100) == b"x" * 8

        def callback():
            transport.write(b"first ")
            assert bool(select.select([theirs], [], [], 0)[0]) == (kind == "asyncio")
            act(transport)

        one_turn(loop, callback)
        return transport, theirs

    yield written
    transport.abort()
    loop.run_until_complete(protocol.until("lost"))


@pytest.mark.parametrize("how", HANDED_OUT)
@pytest.mark.parametrize("before", [None, *HANDED_OUT])
def test_who_is_handed_the_socket_sends_after_what_was_written(written, how, before):
    """Also who was handed it before, in another way or the same."""

    def act(transport):
        os.write(HANDED_OUT[how](transport), b"second ")
        transport.write(b"third")

    if before is not None:
        written(lambda transport: HANDED_OUT[before](transport))[1].recv(100)
    assert written(act)[1].recv(100) == b"first second third"


def test_what_was_written_leaves_before_the_socket_is_shut_down(written):
    def act(transport):
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    _, theirs = written(act)
    assert [theirs.recv(100), theirs.recv(100)] == [b"first ", b""]


@pytest.fixture
def forked(written):
    """Fork after the write. The child does something to its transport and ends with its turn."""

    def forked(then):
        parent, statuses = os.getpid(), []

        def act(transport):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which there are none
                child = os.fork()
            if child:
                statuses.append(os.waitpid(child, 0)[1])
            else:
                then(transport)

        status = 1
        try:
            result = written(act)
            status = 0
        finally:
            if os.getpid() != parent:
                os._exit(status)
        assert statuses == [0]
        return result

    return forked


@pytest.mark.parametrize("then", IN_A_CHILD)
def test_a_forked_child_does_not_send_it_again(forked, then):
    transport, theirs = forked(IN_A_CHILD[then])
    transport.write(b"second")
    assert theirs.recv(100) == b"first second"


def test_a_forked_child_may_go_on_with_the_connection(forked):
    """What the parent wrote comes first, or last, but once."""

    def act(transport):
        transport.write(b"child ")
        transport.get_extra_info("socket")

    assert sorted(forked(act)[1].recv(100).split()) == [b"child", b"first"]
