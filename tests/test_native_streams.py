"""Streams made native in place: asyncio's answers, errors and attributes, whoever feeds them."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import os
import socket
import sys
import warnings
import weakref

import pytest
from conftest import turns, until
from recorder import override_methods

NATIVE = pytest.mark.velodrome_only


@pytest.fixture
def talk(run):
    """Run a test with a server's streams and the socket at the other end."""

    def talk(test, **options):
        async def main():
            accepted = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(
                lambda *streams: accepted.set_result(streams), "127.0.0.1", 0, **options
            )
            with socket.create_connection(server.sockets[0].getsockname()) as peer:
                peer.setblocking(False)
                reader, writer = await accepted
                try:
                    await test(reader, writer, peer)
                finally:
                    writer.transport.abort()
                    server.close()
                    await server.wait_closed()
                    try:
                        await writer.wait_closed()
                    except (ConnectionError, BufferError):
                        pass

        run(main())

    return talk


async def buffered(reader, size):
    """Wait until so much has arrived."""
    await until(lambda: len(reader._buffer) >= size)


async def ended(reader):
    await until(lambda: reader._eof)


def begin(coroutine):
    """The first step: what it waits for, or its result."""
    try:
        return "waits", coroutine.send(None)
    except StopIteration as stop:
        return "done", stop.value


class TestObjects:
    """They are asyncio's objects, to whoever asks."""

    def test_classes(self, talk):
        async def test(reader, writer, peer):
            assert isinstance(reader, asyncio.StreamReader)
            assert isinstance(writer, asyncio.StreamWriter)
            assert type(reader).__name__ == "StreamReader"
            assert type(writer).__name__ == "StreamWriter"
            assert repr(reader).startswith("<StreamReader transport=<")
            assert repr(writer).startswith("<StreamWriter transport=<")
            assert "reader=<StreamReader transport=<" in repr(writer)
            assert weakref.ref(reader)() is reader
            reader.mine = 1
            assert vars(reader)["mine"] == 1

        talk(test)

    @NATIVE
    def test_native(self, talk):
        from velodrome import _core

        async def test(reader, writer, peer):
            assert type(reader) is _core.StreamReader
            assert type(writer) is _core.StreamWriter
            assert vars(type(reader)).keys() >= {"read", "readline", "readuntil", "readexactly"}

        talk(test)

    @NATIVE
    def test_native_client(self, run):
        from velodrome import _core

        async def main():
            server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert type(reader) is _core.StreamReader
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

        run(main())

    def test_attributes(self, talk):
        async def test(reader, writer, peer):
            names = {"_limit", "_loop", "_buffer", "_eof", "_waiter", "_exception", "_transport", "_paused"}
            assert vars(reader).keys() >= names
            assert (reader._limit, reader._eof, reader._waiter, reader._paused) == (100, False, None, False)
            assert reader._transport is writer.transport
            assert reader.exception() is None
            peer.send(b"abc")
            await buffered(reader, 3)
            assert reader._buffer == bytearray(b"abc")
            assert not reader.at_eof()
            waiting = asyncio.ensure_future(reader.readexactly(5))
            await turns(2)
            assert asyncio.isfuture(reader._waiter)
            assert not reader._waiter.done()
            assert "waiter=<Future pending" in repr(reader)
            peer.send(b"def")
            assert await waiting == b"abcde"
            assert (reader._waiter, reader._buffer) == (None, b"f")
            peer.shutdown(socket.SHUT_WR)
            await ended(reader)
            assert not reader.at_eof()
            assert await reader.read() == b"f"
            assert reader.at_eof()

        talk(test, limit=100)

    def test_coroutines(self, talk):
        async def test(reader, writer, peer):
            for coroutine in (
                reader.read(),
                reader.read(1),
                reader.readline(),
                reader.readexactly(1),
                reader.readuntil(b"x"),
                writer.drain(),
            ):
                assert asyncio.iscoroutine(coroutine)
                # What anyio's task groups ask of what they are to start.
                assert inspect.iscoroutine(coroutine)
                assert inspect.isawaitable(coroutine)
                assert isinstance(coroutine, collections.abc.Coroutine)
                assert coroutine.__qualname__.startswith(("StreamReader.read", "StreamWriter.drain"))
                assert coroutine.__name__ == coroutine.__qualname__.split(".")[1]
                coroutine.close()
                assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
            task = asyncio.create_task(reader.read(1))
            await asyncio.sleep(0)
            assert inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_SUSPENDED
            task.cancel()

        talk(test)

    def test_callback_of_the_server(self, run):
        """It is called as it was given, and seen as it was given."""
        seen = []

        async def main():
            def connected(reader, writer):
                seen.append(writer._protocol._client_connected_cb)
                writer.close()

            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            assert seen == [connected]

        run(main())


class TestReading:
    """Every method, before and after the data."""

    @NATIVE
    def test_what_is_buffered_suspends_nobody(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"one\ntwo\nthree;four---rest")
            await buffered(reader, 25)
            assert begin(reader.readline()) == ("done", b"one\n")
            assert begin(reader.read(4)) == ("done", b"two\n")
            assert begin(reader.readexactly(5)) == ("done", b"three")
            assert begin(reader.readuntil(b";")) == ("done", b";")
            assert begin(reader.readuntil(b"---")) == ("done", b"four---")
            assert begin(reader.read(100)) == ("done", b"rest")
            assert begin(reader.read(0)) == ("done", b"")
            assert begin(reader.readexactly(0)) == ("done", b"")
            assert begin(writer.drain()) == ("done", None)

        talk(test)

    def test_in_pieces(self, talk):
        async def test(reader, writer, peer):
            for piece in (b"a", b"bc\n", b"de\nfg", b"\r", b"\nhi", b"jklm"):
                asyncio.get_running_loop().call_later(0.001 * len(piece), peer.send, piece)
            await until(lambda: len(reader._buffer) == 17)
            text = await reader.readexactly(17)
            assert sorted(text) == sorted(b"abc\nde\nfg\r\nhijklm")
            lines = asyncio.ensure_future(reader.readuntil(b"END"))
            for piece in (b"E", b"EN", b"ENE", b"ND", b"xEND"):
                await turns(4)
                peer.send(piece)
            assert await lines == b"EENENEND"
            assert await reader.readuntil(b"END") == b"xEND"

        talk(test)

    def test_everything(self, talk):
        data = os.urandom(500_000)

        async def test(reader, writer, peer):
            reading = asyncio.ensure_future(reader.read())
            sent = 0
            while sent < len(data):
                try:
                    sent += peer.send(data[sent:])
                except BlockingIOError:
                    await asyncio.sleep(0)
            peer.shutdown(socket.SHUT_WR)
            assert await reading == data
            assert await reader.read() == b""
            assert await reader.read(10) == b""
            assert await reader.readline() == b""

        talk(test)

    def test_flow_control(self, talk):
        async def test(reader, writer, peer):
            peer.send(bytes(1000))
            await buffered(reader, 201)
            assert reader._paused
            assert not writer.transport.is_reading()
            assert "paused" in repr(reader)
            assert len(await reader.read(len(reader._buffer) - 100)) > 0
            assert not reader._paused
            assert writer.transport.is_reading()
            # More than the buffer takes is waited for all the same.
            await reader.readexactly(100)
            peer.send(bytes(100_000))
            assert len(await reader.readexactly(100_000)) == 100_000

        talk(test, limit=100)

    def test_end(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"line\npart")
            peer.shutdown(socket.SHUT_WR)
            await ended(reader)
            assert await reader.readline() == b"line\n"
            assert await reader.readline() == b"part"
            assert await reader.readline() == b""
            with pytest.raises(asyncio.IncompleteReadError) as info:
                await reader.readexactly(4)
            assert (info.value.partial, info.value.expected) == (b"", 4)
            with pytest.raises(asyncio.IncompleteReadError) as info:
                await reader.readuntil(b"xy")
            assert (info.value.partial, info.value.expected) == (b"", None)

        talk(test)

    def test_end_while_waiting(self, talk):
        async def test(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.readexactly(10))
            peer.send(b"abc")
            await buffered(reader, 3)
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(asyncio.IncompleteReadError) as info:
                await waiting
            assert (info.value.partial, info.value.expected) == (b"abc", 10)
            assert str(info.value) == "3 bytes read on a total of 10 expected bytes"
            assert reader._buffer == b""

        talk(test)

    def test_iteration(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"1\n2\n3")
            peer.shutdown(socket.SHUT_WR)
            assert [line async for line in reader] == [b"1\n", b"2\n", b"3"]

        talk(test)


class TestErrors:
    """The same exceptions with the same words."""

    def test_arguments(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"abcdef")
            await buffered(reader, 6)
            with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
                await reader.readexactly(-1)
            with pytest.raises(ValueError, match="Separator should be at least one-byte string"):
                await reader.readuntil(b"")
            with pytest.raises(TypeError):
                await reader.read("1")
            with pytest.raises(TypeError):
                await reader.readexactly(None)
            with pytest.raises(TypeError):
                reader.read(1, 2)
            with pytest.raises(TypeError):
                reader.readline(1)
            with pytest.raises(TypeError):
                reader.readexactly()
            with pytest.raises(TypeError):
                await reader.readuntil("c")
            assert await reader.read(n=1) == b"a"
            assert await reader.read(True) == b"b"
            assert await reader.readuntil(separator=b"c") == b"c"
            assert await reader.readuntil(bytearray(b"d")) == b"d"
            assert await reader.readexactly(n=2) == b"ef"

        talk(test)

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")
    def test_several_separators(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"aXXbY")
            assert await reader.readuntil((b"Y", b"XX")) == b"aXX"
            assert await reader.readuntil((b"Y", b"XX")) == b"bY"
            with pytest.raises(ValueError, match="at least one element"):
                await reader.readuntil(())

        talk(test)

    def test_separator_found_too_far_away(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"x" * 15 + b"\nrest\n")
            await buffered(reader, 21)
            with pytest.raises(asyncio.LimitOverrunError) as info:
                await reader.readuntil(b"\n")
            assert info.value.consumed == 15
            assert str(info.value) == "Separator is found, but chunk is longer than limit"
            assert len(reader._buffer) == 21
            words = "Separator is found, but chunk is longer than limit"
            with pytest.raises(ValueError, match=words) as info:
                await reader.readline()
            assert isinstance(info.value.__context__, asyncio.LimitOverrunError)
            assert reader._buffer == b"rest\n"
            assert await reader.readline() == b"rest\n"

        talk(test, limit=12)

    def test_separator_not_found(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"x" * 20)
            await buffered(reader, 20)
            with pytest.raises(asyncio.LimitOverrunError) as info:
                await reader.readuntil(b"--")
            assert (info.value.consumed, len(reader._buffer)) == (19, 20)
            assert str(info.value) == "Separator is not found, and chunk exceed the limit"
            with pytest.raises(ValueError, match="Separator is not found, and chunk exceed the limit"):
                await reader.readline()
            assert reader._buffer == b""

        talk(test, limit=12)

    def test_two_at_once(self, talk):
        async def test(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.read(1))
            await turns(2)
            text = "{}() called while another coroutine is already waiting for incoming data"
            for name, call in (
                ("read", lambda: reader.read(1)),
                ("read", reader.read),
                ("readexactly", lambda: reader.readexactly(1)),
                ("readuntil", reader.readline),
                ("readuntil", lambda: reader.readuntil(b"x")),
            ):
                with pytest.raises(RuntimeError) as info:
                    await call()
                assert str(info.value) == text.format(name)
            peer.send(b"x")
            assert await waiting == b"x"

        talk(test)

    def test_exception_of_the_connection(self, talk):
        async def test(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.readline())
            await turns(2)
            error = ConnectionResetError("told")
            reader.set_exception(error)
            with pytest.raises(ConnectionResetError) as info:
                await waiting
            assert info.value is error
            for call in (reader.read, reader.readline, lambda: reader.readexactly(1), writer.drain):
                with pytest.raises(ConnectionResetError) as info:
                    await call()
                assert info.value is error
            assert reader.exception() is error

        talk(test)

    def test_reset(self, talk):
        async def test(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.read(10))
            await turns(2)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            with pytest.raises(ConnectionResetError):
                await waiting
            with pytest.raises(ConnectionResetError):
                await writer.drain()

        talk(test)


class TestCancellation:
    """The place of who waits becomes free; nothing is lost."""

    def test_while_waiting(self, talk):
        async def test(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.readexactly(5))
            await turns(2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert reader._waiter is None
            peer.send(b"abcde")
            assert await reader.readexactly(5) == b"abcde"

        talk(test)

    @pytest.mark.parametrize("when", range(5))
    def test_while_data_arrives(self, talk, when):
        async def test(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.read(5))
            await turns(2)
            peer.send(b"abcde")
            await turns(when)
            waiting.cancel()
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            assert reader._waiter is None
            if isinstance(result, asyncio.CancelledError):
                assert await reader.read(5) == b"abcde"
            else:
                assert result == b"abcde"

        talk(test)

    def test_timeouts(self, talk):
        async def test(reader, writer, peer):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.01)
            peer.send(b"line\n")
            assert await asyncio.wait_for(reader.readline(), 5) == b"line\n"

        talk(test)

    def test_closed_or_forgotten(self, talk):
        async def test(reader, writer, peer):
            for drop in (lambda it: it.close(), lambda it: None):
                reading = reader.read(1)
                assert begin(reading)[0] == "waits"
                assert reader._waiter is not None
                drop(reading)
                del reading
                gc.collect()
                assert reader._waiter is None

        talk(test)

    def test_thrown_into(self, talk):
        async def test(reader, writer, peer):
            reading = reader.read(1)
            reading.send(None)
            with pytest.raises(KeyError):
                reading.throw(KeyError("x"))
            assert reader._waiter is None

        talk(test)

    @NATIVE
    def test_never_awaited_does_nothing_but_says_so(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"abc")
            await buffered(reader, 3)
            with pytest.warns(RuntimeWarning, match=r"coroutine 'StreamReader.read' was never awaited"):
                reader.read(3)
            with pytest.warns(RuntimeWarning, match=r"coroutine 'StreamWriter.drain' was never awaited"):
                writer.drain()
            gc.collect()
            assert reader._buffer == b"abc"

        talk(test)

    def test_one_that_was_closed_or_cancelled_before_it_began_says_nothing(self, talk):
        async def test(reader, writer, peer):
            reader.read(3).close()
            asyncio.ensure_future(writer.drain()).cancel()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                await turns(3)

        talk(test)

    def test_the_warning_leaves_an_exception_alone(self, talk):
        async def test(reader, writer, peer):
            def forgets():
                forgotten = reader.read(3)  # noqa: F841  it goes with the frame
                raise KeyError("the program's")

            with pytest.warns(RuntimeWarning, match="never awaited"), pytest.raises(KeyError):
                forgets()

        talk(test)


class TestWriting:
    """drain() waits for what asyncio's waits for."""

    def test_pressure(self, talk):
        async def test(reader, writer, peer):
            writer.transport.set_write_buffer_limits(high=1000)
            while not writer._protocol._paused:
                writer.write(bytes(100_000))
            draining = asyncio.ensure_future(writer.drain())
            await turns(3)
            assert not draining.done()
            while not draining.done():
                try:
                    peer.recv(1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert await draining is None
            assert not writer._protocol._paused

        talk(test)

    def test_protocols_flags(self, talk):
        """Drain asks the protocol, whatever it finds there."""

        async def test(reader, writer, peer):
            await writer.drain()
            protocol = writer._protocol
            for truth in (0, "", None, False):
                protocol._paused = protocol._connection_lost = truth
                await writer.drain()
            for truth in (1, "yes", True):
                protocol._connection_lost = truth
                with pytest.raises(ConnectionResetError):
                    await writer.drain()
            protocol._connection_lost = False
            del protocol._paused
            with pytest.raises(AttributeError, match="_paused"):
                await writer.drain()
            protocol._paused = False
            vars(protocol)["_connection_lost"] = vars(protocol).pop("_connection_lost")
            await writer.drain()

        talk(test)

    def test_attributes_by_another_name_of_the_same_text(self, talk):
        async def test(reader, writer, peer):
            for owner in (writer, writer._protocol):
                values = dict(vars(owner))
                vars(owner).clear()
                vars(owner).update(("".join([name[:1], name[1:]]), value) for name, value in values.items())
            for number in range(40):
                writer.write(b"%d" % (number % 10))
                await writer.drain()
            await until(lambda: len(peer.recv(100, socket.MSG_PEEK)) == 40)

        talk(test)

    def test_cancelled_under_pressure(self, talk):
        async def test(reader, writer, peer):
            while not writer._protocol._paused:
                writer.write(bytes(100_000))
            draining = asyncio.ensure_future(writer.drain())
            await turns(2)
            assert len(writer._protocol._drain_waiters) == 1
            draining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await draining
            assert not writer._protocol._drain_waiters
            waiting = writer.drain()
            waiting.send(None)
            waiting.close()
            assert not writer._protocol._drain_waiters

        talk(test)

    def test_closing(self, talk):
        async def test(reader, writer, peer):
            writer.write(b"last")
            writer.close()
            state, _ = begin(draining := writer.drain())
            assert state == "waits"
            draining.close()
            await writer.wait_closed()
            with pytest.raises(ConnectionResetError, match="Connection lost"):
                await writer.drain()

        talk(test)

    def test_write(self, talk):
        async def test(reader, writer, peer):
            assert writer.write(b"abc") is None
            writer.write(bytearray(b"def"))
            writer.write(memoryview(b"ghi"))
            await writer.drain()
            with pytest.raises(TypeError):
                writer.write("text")
            got = b""
            while len(got) < 9:
                try:
                    got += peer.recv(100)
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert got == b"abcdefghi"

        talk(test)


class TestFairness:
    """A task that always finds data lets the others run."""

    @NATIVE
    def test_flooded_reader(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"x\n" * 1000)
            await buffered(reader, 2000)
            ticks = 0

            async def others():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            task = asyncio.ensure_future(others())
            for _ in range(1000):
                assert await reader.readline() == b"x\n"
            assert 10 <= ticks <= 20
            task.cancel()

        talk(test)


class TestOverrides:
    """What somebody made their own stays theirs."""

    def test_subclasses(self, run):
        fed = []

        class Reader(asyncio.StreamReader):
            def feed_data(self, data):
                fed.append(bytes(data))
                super().feed_data(data)

        async def main():
            ours, theirs = socket.socketpair()
            loop = asyncio.get_running_loop()
            reader = Reader(loop=loop)
            protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
            theirs.send(b"abc")
            assert await reader.readexactly(3) == b"abc"
            assert (type(reader), fed) == (Reader, [b"abc"])
            transport.close()
            theirs.close()
            await turns(3)

        run(main())

    def test_subclass_of_the_protocol(self, run):
        received = []

        class Protocol(asyncio.StreamReaderProtocol):
            def data_received(self, data):
                received.append(bytes(data))
                super().data_received(data)

        async def main():
            ours, theirs = socket.socketpair()
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader(loop=loop)
            transport, _ = await loop.create_connection(lambda: Protocol(reader, loop=loop), sock=ours)
            theirs.send(b"abc")
            assert await reader.readexactly(3) == b"abc"
            assert (type(reader), received) == (asyncio.StreamReader, [b"abc"])
            transport.close()
            theirs.close()
            await turns(3)

        run(main())

    def test_patched_before(self, run):
        fed = []

        async def main():
            ours, theirs = socket.socketpair()
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader(loop=loop)
            plain = reader.feed_data
            reader.feed_data = lambda data: (fed.append(bytes(data)), plain(data))
            protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
            theirs.send(b"abc")
            assert await reader.readexactly(3) == b"abc"
            assert (type(reader), fed) == (asyncio.StreamReader, [b"abc"])
            transport.close()
            theirs.close()
            await turns(3)

        run(main())

    def test_patched_after(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"abc")
            assert await reader.readexactly(3) == b"abc"
            fed = []
            plain = reader.feed_data
            reader.feed_data = lambda data: (fed.append(bytes(data)), plain(data))
            peer.send(b"def")
            assert await reader.readexactly(3) == b"def"
            assert fed == [b"def"]
            assert type(reader) is asyncio.StreamReader

        talk(test)

    def test_methods_of_the_transport(self, talk):
        """A writer asks its transport for them each time."""

        async def test(reader, writer, peer):
            transport = writer.transport
            _, done = await override_methods(writer)
            assert done == [b"b", "is_closing?"]
            del transport.write, transport.is_closing
            writer.write(b"c")
            await writer.drain()
            assert done == [b"b", "is_closing?"]

        talk(test)

    def test_helper_of_the_protocol(self, talk):
        async def test(reader, writer, peer):
            asked = []

            class Protocol(asyncio.StreamReaderProtocol):
                async def _drain_helper(self):
                    asked.append(self)

            writer._protocol.__class__ = Protocol
            await writer.drain()
            assert asked == [writer._protocol]

        talk(test)

    def test_another_dict(self, talk):
        """Attributes are looked for where the object has them now."""

        class Dict(dict):
            pass

        async def test(reader, writer, peer):
            for kind in (dict, Dict, lambda state: dict(reversed(state.items()))):
                for stream in (reader, writer, writer._protocol):
                    stream.__dict__ = kind(vars(stream))
                waiting = asyncio.ensure_future(reader.readexactly(6))
                await turns(2)
                peer.send(b"abc")
                await turns(5)
                peer.send(b"def")
                assert await waiting == b"abcdef"
                writer.write(b"abc")
                await writer.drain()
                assert reader._waiter is None
                reader.set_exception(error := ValueError())
                with pytest.raises(ValueError) as info:
                    await reader.read(1)
                assert info.value is error
                reader._exception = None

        talk(test)

    def test_another_protocol_takes_over(self, talk):
        class Other(asyncio.Protocol):
            data = b""

            def data_received(self, data):
                self.data += data

        async def test(reader, writer, peer):
            peer.send(b"abc")
            await buffered(reader, 3)
            other, before = Other(), writer.transport.get_protocol()
            writer.transport.set_protocol(other)
            peer.send(b"def")
            await until(lambda: other.data == b"def")
            assert reader._buffer == b"abc"
            writer.transport.set_protocol(before)
            peer.send(b"ghi")
            assert await reader.readexactly(6) == b"abcghi"

        talk(test)

    def test_fed_by_hand(self, talk):
        async def test(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.readline())
            await turns(2)
            reader.feed_data(b"by hand\n")
            assert await waiting == b"by hand\n"
            waiting = asyncio.ensure_future(reader.read())
            await turns(2)
            reader.feed_eof()
            assert await waiting == b""

        talk(test)

    def test_unbound_calls(self, talk):
        async def test(reader, writer, peer):
            peer.send(b"abc\ndef")
            assert await asyncio.StreamReader.readline(reader) == b"abc\n"
            assert await asyncio.StreamReader.read(reader, 10) == b"def"
            await asyncio.StreamWriter.drain(writer)

        talk(test)

    def test_buffer_in_use(self, talk, errors):
        """Somebody looks at the buffer's memory: asyncio cannot feed it either."""

        async def test(reader, writer, peer):
            peer.send(b"abc")
            await buffered(reader, 3)
            with memoryview(reader._buffer):
                peer.send(b"def")
                await until(lambda: errors)
            assert isinstance(errors.take_one()["exception"], BufferError)
            await turns(3)
            with pytest.raises(BufferError):
                await reader.read(10)

        talk(test)

    def test_reader_that_is_dropped(self, run):
        async def main():
            ours, theirs = socket.socketpair()
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader(loop=loop)
            protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
            gone = weakref.ref(reader)
            del reader
            gc.collect()
            assert gone() is None
            theirs.send(b"abc")
            await asyncio.sleep(0.01)
            transport.close()
            theirs.close()
            await turns(3)

        run(main())

    def test_debug_mode(self, talk, loop):
        loop.set_debug(True)

        async def test(reader, writer, peer):
            peer.send(b"one\ntwo")
            assert await reader.readline() == b"one\n"
            assert await reader.readexactly(3) == b"two"
            writer.write(b"x")
            await writer.drain()
            coroutine = reader.read()
            assert inspect.iscoroutine(coroutine)
            coroutine.close()
            assert reader._source_traceback

        talk(test)

    @NATIVE
    def test_python_whose_readers_are_different(self, talk, monkeypatch):
        from velodrome import _streams

        assert _streams._NATIVE
        monkeypatch.setattr(_streams, "_NATIVE", False)

        async def test(reader, writer, peer):
            assert (type(reader), type(writer)) == (asyncio.StreamReader, asyncio.StreamWriter)
            peer.send(b"one\ntwo")
            assert await reader.readline() == b"one\n"
            assert await reader.read(10) == b"two"
            writer.write(b"x")
            await writer.drain()

        talk(test)
