"""Wrong values for every argument of every public method: asyncio's exception, or its patience.

Each case runs on asyncio and on the loop under test, and the outcomes are compared. Nothing may crash.
"""

from __future__ import annotations

import asyncio
import io
import math
import socket

import pytest
from conftest import turns
from kinds import KINDS
from recorder import Recorder, linked
from secured import secured

WRONG = {
    "None": None,
    "1": 1,
    "-1": -1,
    "2**70": 2**70,
    "1.5": 1.5,
    "nan": math.nan,
    "text": "text",
    "bytes": b"bytes",
    "list": [],
    "dict": {},
    "object": object(),
    "type": int,
    "builtin": print,
}

NUMBERS = ("1", "-1", "2**70", "1.5", "nan")


async def nothing():
    pass


class Given:
    """What the valid arguments of a call are taken from: a loop and things that live as long as one case."""

    def __init__(self, loop):
        self.loop = loop
        self.sock, self.peer = socket.socketpair()
        for end in (self.sock, self.peer):
            end.setblocking(False)
        self.peer.send(b"data")
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.setblocking(False)
        self.udp.bind(("127.0.0.1", 0))

    def close(self):
        for sock in (self.sock, self.peer, self.udp):
            sock.close()


# Every method with valid arguments; each argument in turn is then replaced by each wrong value.
METHODS = {
    "call_soon": lambda g: [print],
    "call_soon_threadsafe": lambda g: [print],
    "call_later": lambda g: [1000, print],
    "call_at": lambda g: [1000, print],
    "set_debug": lambda g: [False],
    "set_exception_handler": lambda g: [print],
    "call_exception_handler": lambda g: [{"message": "told"}],
    "set_task_factory": lambda g: [print],
    "set_default_executor": lambda g: [None],
    "create_task": lambda g: [None],
    "run_until_complete": lambda g: [None],
    "run_in_executor": lambda g: [1, int],
    "add_reader": lambda g: [g.sock, print],
    "add_writer": lambda g: [g.sock, print],
    "remove_reader": lambda g: [g.sock],
    "remove_writer": lambda g: [g.sock],
    "add_signal_handler": lambda g: [10, print],
    "remove_signal_handler": lambda g: [10],
    "sock_recv": lambda g: [g.sock, 10],
    "sock_recv_into": lambda g: [g.sock, bytearray(10)],
    "sock_recvfrom": lambda g: [g.sock, 10],
    "sock_recvfrom_into": lambda g: [g.sock, bytearray(10), 5],
    "sock_sendall": lambda g: [g.sock, b"x"],
    "sock_sendto": lambda g: [g.udp, b"x", g.udp.getsockname()],
    "sock_connect": lambda g: [g.udp, g.udp.getsockname()],
    "sock_accept": lambda g: [g.sock],
    "sock_sendfile": lambda g: [g.sock, io.BytesIO(b"x"), 0, 1],
    "getaddrinfo": lambda g: ["127.0.0.1", 80],
    "getnameinfo": lambda g: [("127.0.0.1", 80), 0],
    "create_server": lambda g: [Recorder, "127.0.0.1", 0],
    "connect_accepted_socket": lambda g: [Recorder, g.udp],
    "is_running": lambda g: [],
    "is_closed": lambda g: [],
    "time": lambda g: [],
    "stop": lambda g: [],
    "close": lambda g: [],
    "get_debug": lambda g: [],
    "create_future": lambda g: [],
    "run_forever": lambda g: [],
    "get_exception_handler": lambda g: [],
    "shutdown_asyncgens": lambda g: [],
}

# Where both outcomes are right, or the oracle's is an accident of its duck typing.
LENIENT = {
    # asyncio notices only when it compares timers.
    ("call_at", 0),
    # The value is looked at only when the loop calls it.
    ("set_task_factory", 0),
}

# These would wait for a network or for good.
SKIPPED = {
    ("create_server", 1, "text"),
    ("create_server", 1, "bytes"),
    ("getaddrinfo", 0, "text"),
    ("getaddrinfo", 0, "bytes"),
    ("getaddrinfo", 0, "None"),
    # A number is taken for a descriptor, and these are the test's own.
    ("add_reader", 0, "1"),
    ("add_writer", 0, "1"),
}


def outcome(kind, method, arguments_of, position, value):
    """What a call gives: the type of its exception, or the word that it returned."""
    loop = KINDS[kind]()
    loop.set_exception_handler(lambda *_: None)
    given = Given(loop)
    arguments = arguments_of(given)
    if position < len(arguments):
        arguments[position] = value
    else:
        arguments.append(value)
    try:
        return attempt(loop, method, arguments)
    finally:
        given.close()
        loop.close()


def attempt(loop, method, arguments):
    try:
        result = getattr(loop, method)(*arguments)
        if asyncio.iscoroutine(result) or (asyncio.isfuture(result) and method == "run_in_executor"):
            result = loop.run_until_complete(asyncio.wait_for(result, 5))
        if isinstance(result, asyncio.AbstractServer):
            result.close()
        return "returned"
    except Exception as error:
        return type(error)


def cases():
    for method, arguments_of in METHODS.items():
        with_arguments = Given(None)
        # One more than there are, where a method takes no more.
        count = len(arguments_of(with_arguments)) or 1
        with_arguments.close()
        for position in range(count):
            yield method, position


@pytest.mark.parametrize(("method", "position"), list(cases()))
def test_methods_of_the_loop(kind, method, position):
    differences = {}
    for name, value in WRONG.items():
        if (method, position, name) in SKIPPED:
            continue
        expected, got = (outcome(k, method, METHODS[method], position, value) for k in ("asyncio", kind))
        if expected != got and not acceptable(method, position, name, expected, got):
            differences[name] = expected, got
    assert not differences


def acceptable(method, position, name, expected, got):
    """Whether an outcome that is not asyncio's is as good."""
    if (method, position, name) == ("call_later", 0, "nan"):
        # asyncio's timers are out of order from then on.
        return got is ValueError
    if (method, position) in LENIENT:
        return got in (TypeError, ValueError, OverflowError, "returned")
    # An attribute that is missing where asyncio happens to look for it first.
    return expected is AttributeError and got is TypeError


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("call_soon", ()),
        ("call_soon_threadsafe", ()),
        ("call_later", ()),
        ("call_later", (1,)),
        ("call_at", (1,)),
        ("add_reader", (0,)),
        ("add_writer", ()),
        ("run_until_complete", ()),
        ("create_task", ()),
        ("set_exception_handler", ()),
        ("call_exception_handler", ()),
        ("add_signal_handler", (10,)),
    ],
)
def test_too_few_arguments(loop, method, arguments):
    with pytest.raises(TypeError):
        getattr(loop, method)(*arguments)


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
class TestKeywords:
    """Those of the scheduling methods."""

    def test_unknown(self, loop, method):
        first = (1000,) if method in ("call_later", "call_at") else ()
        with pytest.raises(TypeError):
            getattr(loop, method)(*first, print, nonsense=1)

    def test_by_name(self, loop, method):
        """The parameters have asyncio's names."""
        options = {"call_later": {"delay": 1000}, "call_at": {"when": 10**9}}.get(method, {})
        getattr(loop, method)(callback=print, **options).cancel()
        with pytest.raises(TypeError):
            getattr(loop, method)(*[1000] * bool(options), print, callback=print)

    @pytest.mark.parametrize("context", [1, "text", {}, object()])
    def test_a_context_that_is_none(self, loop, method, context):
        """asyncio finds out when it runs the callback; to refuse it is as good. Nothing may crash."""
        first = (0,) if method in ("call_later", "call_at") else ()
        loop.set_exception_handler(lambda *_: None)
        try:
            getattr(loop, method)(*first, print, context=context)
            loop.call_later(0.001, loop.stop)
            loop.run_forever()
        except (TypeError, AttributeError):
            pass


TRANSPORT_METHODS = {
    "write": 1,
    "writelines": 1,
    "set_write_buffer_limits": 2,
    "get_extra_info": 1,
    "pause_reading": 0,
    "resume_reading": 0,
    "is_reading": 0,
    "is_closing": 0,
    "get_protocol": 0,
    "get_write_buffer_size": 0,
    "get_write_buffer_limits": 0,
    "can_write_eof": 0,
    "write_eof": 0,
    "close": 0,
    "abort": 0,
}


def transport_outcome(kind, method, arguments):
    """As outcome, for a method of a transport."""
    loop = KINDS[kind]()
    loop.set_exception_handler(lambda *_: None)
    ours, theirs = socket.socketpair()

    async def main():
        transport, protocol = await loop.connect_accepted_socket(Recorder, ours)
        try:
            result = getattr(transport, method)(*arguments)
            return "returned", type(result)
        except Exception as error:
            return "raised", type(error)
        finally:
            transport.abort()
            await protocol.until("lost")

    try:
        return loop.run_until_complete(asyncio.wait_for(main(), 5))
    finally:
        theirs.close()
        loop.close()


@pytest.mark.parametrize("method", TRANSPORT_METHODS)
def test_methods_of_transports(kind, method):
    differences = {}
    for name, value in WRONG.items():
        for arguments in ([value], [value, value], [1, value])[: max(1, TRANSPORT_METHODS[method] * 2 - 1)]:
            expected, got = (transport_outcome(k, method, arguments) for k in ("asyncio", kind))
            if expected != got:
                differences[name, len(arguments)] = expected, got
    assert not differences


class TestOneArgumentByName:
    """Methods of one argument know its name, as asyncio's do."""

    @staticmethod
    def wrong(method, name, value):
        """Each way to get it wrong."""
        with pytest.raises(TypeError, match=f"missing 1 required positional argument: '{name}'"):
            method()
        for arguments, options in [
            ([value, value], {}),
            ([value], {name: value}),
            ([value], {"nonsense": value}),
            ([], {"nonsense": value}),
            ([], {name: value, "nonsense": value}),
        ]:
            with pytest.raises(TypeError):
                method(*arguments, **options)

    @pytest.mark.parametrize("both_ends", [linked, secured])
    def test_of_transports(self, run, both_ends):
        async def main():
            async with both_ends() as (client, server):
                client.transport.write(data=b"one")
                client.transport.writelines(list_of_data=[b"two", b"three"])
                assert await server.until_received(11) == b"onetwothree"
                client.transport.set_protocol(protocol=client)
                self.wrong(client.transport.write, "data", b"wrong")
                self.wrong(client.transport.writelines, "list_of_data", [b"wrong"])
                self.wrong(client.transport.set_protocol, "protocol", Recorder())
                assert client.transport.get_protocol() is client
                client.transport.write(b"end")
                assert await server.until_received(14) == b"onetwothreeend"

        run(main())

    def test_of_datagram_transports(self, run, loop):
        async def main():
            transport, protocol = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
            )
            transport.set_protocol(protocol=asyncio.DatagramProtocol())
            assert transport.get_protocol() is not protocol
            self.wrong(transport.set_protocol, "protocol", protocol)
            transport.close()
            await turns()

        run(main())

    def test_of_streams(self, run):
        async def main():
            async def serve(reader, writer):
                writer.write(data=await reader.read(n=3))
                writer.writelines(data=[b"two", b"three"])
                self.wrong(writer.write, "data", b"wrong")
                self.wrong(reader.feed_data, "data", b"wrong")
                reader.feed_data(data=b"fed")
                writer.write(await reader.readexactly(n=3))
                writer.close()
                await writer.wait_closed()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(data=b"one")
            assert await reader.read() == b"onetwothreefed"
            writer.close()
            await writer.wait_closed()
            server.close()

        run(main())


@pytest.mark.velodrome_only  # writelines of asyncio 3.12 counts items where it should count bytes
def test_buffers_of_odd_shapes(run, loop):
    """Strided and multi-dimensional views, other item sizes: all their bytes or an exception."""
    import array

    data = bytes(range(12))
    views = [
        memoryview(data).cast("B", (3, 4)),
        memoryview(array.array("i", range(3))),
        array.array("d", [1.0, 2.0]),
    ]

    async def main():
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, protocol = await loop.connect_accepted_socket(Recorder, ours)
        for view in views:
            for send in (transport.write, lambda view: transport.writelines([view])):
                try:
                    send(view)
                except (TypeError, ValueError, BufferError):
                    continue
                expected = bytes(view)
                received = b""
                while len(received) < len(expected):
                    received += (data := await loop.sock_recv(theirs, 1000))
                    assert data, "closed by an error"
                assert received == expected
        released = memoryview(data)
        released.release()
        with pytest.raises((TypeError, ValueError)):
            transport.write(released)
        transport.abort()
        await protocol.until("lost")
        theirs.close()

    run(main())
