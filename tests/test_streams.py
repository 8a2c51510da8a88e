"""asyncio's streams on our transports."""

from __future__ import annotations

import asyncio
import os
from fractions import Fraction

import pytest
from conftest import turns, until
from recorder import serving


class Conversation:
    """Both ends of a connection, as streams."""

    def __init__(self, client, server):
        (self.reader, self.writer), (self.their_reader, self.their_writer) = client, server


@pytest.fixture
def talk(run):
    """Run a test with a conversation."""

    def talk(test, **options):
        async def main():
            accepted = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(
                lambda *streams: accepted.set_result(streams), "127.0.0.1", 0, **options
            )
            client = await asyncio.open_connection(*server.sockets[0].getsockname(), **options)
            conversation = Conversation(client, await accepted)
            server.close()
            try:
                await test(conversation)
            finally:
                for writer in (conversation.writer, conversation.their_writer):
                    writer.transport.abort()
                for writer in (conversation.writer, conversation.their_writer):
                    try:
                        await writer.wait_closed()
                    except ConnectionError:
                        pass

        run(main())

    return talk


class TestReader:
    """StreamReader."""

    def test_read(self, talk):
        async def test(c):
            c.their_writer.write(b"hello world")
            assert await c.reader.read(5) == b"hello"
            assert await c.reader.read(100) == b" world"
            assert await c.reader.read(0) == b""
            c.their_writer.write(b"all the ")
            c.their_writer.write(b"rest")
            c.their_writer.write_eof()
            assert await c.reader.read() == b"all the rest"
            assert c.reader.at_eof()
            assert await c.reader.read(10) == b""

        talk(test)

    def test_readline(self, talk):
        async def test(c):
            c.their_writer.write(b"one\ntwo\nthr")
            assert await c.reader.readline() == b"one\n"
            assert await c.reader.readline() == b"two\n"
            waiting = asyncio.ensure_future(c.reader.readline())
            await turns(5)
            assert not waiting.done()
            c.their_writer.write(b"ee\nend")
            assert await waiting == b"three\n"
            c.their_writer.write_eof()
            assert await c.reader.readline() == b"end"
            assert await c.reader.readline() == b""

        talk(test)

    def test_iteration(self, talk):
        async def test(c):
            c.their_writer.write(b"1\n2\n3")
            c.their_writer.write_eof()
            assert [line async for line in c.reader] == [b"1\n", b"2\n", b"3"]

        talk(test)

    def test_readexactly(self, talk):
        async def test(c):
            c.their_writer.write(b"abcdef")
            assert await c.reader.readexactly(0) == b""
            assert await c.reader.readexactly(4) == b"abcd"
            with pytest.raises(ValueError):
                await c.reader.readexactly(-1)
            c.their_writer.write_eof()
            with pytest.raises(asyncio.IncompleteReadError) as info:
                await c.reader.readexactly(3)
            assert (info.value.partial, info.value.expected) == (b"ef", 3)

        talk(test)

    def test_readexactly_of_much(self, talk):
        data = os.urandom(3_000_000)

        async def test(c):
            c.their_writer.write(data)
            assert await c.reader.readexactly(len(data)) == data

        talk(test)

    def test_readuntil(self, talk):
        async def test(c):
            c.their_writer.write(b"key: value\r\n\r\nbody")
            assert await c.reader.readuntil(b"\r\n\r\n") == b"key: value\r\n\r\n"
            with pytest.raises(ValueError):
                await c.reader.readuntil(b"")
            c.their_writer.write_eof()
            with pytest.raises(asyncio.IncompleteReadError) as info:
                await c.reader.readuntil(b"\r\n")
            assert info.value.partial == b"body"

        talk(test)

    def test_a_separator_in_pieces(self, talk):
        async def test(c):
            waiting = asyncio.ensure_future(c.reader.readuntil(b"<end>"))
            for piece in (b"data<", b"e", b"nd", b">rest"):
                c.their_writer.write(piece)
                await turns(5)
            assert await waiting == b"data<end>"
            assert await c.reader.read(4) == b"rest"

        talk(test)

    def test_the_limit(self, talk):
        async def test(c):
            c.their_writer.write(b"x" * 200 + b"\n")
            with pytest.raises(ValueError):
                await c.reader.readline()
            c.their_writer.write(b"y" * 200)
            with pytest.raises(asyncio.LimitOverrunError):
                await c.reader.readuntil(b"\n")
            assert await c.reader.readexactly(200) == b"y" * 200
            c.their_writer.write(b"short\n")
            assert await c.reader.readline() == b"short\n"

        talk(test, limit=64)

    @pytest.mark.parametrize(
        "limit", [float("inf"), float("nan"), 1e6, 2**64, 2**2000, Fraction(2001, 2)], ids=range(6)
    )
    def test_a_limit_may_be_any_number(self, talk, limit):
        async def test(c):
            c.their_writer.write(b"one\ntwo;rest")
            assert await c.reader.readline() == b"one\n"
            assert await c.reader.readuntil(b";") == b"two;"
            assert await c.reader.read(2) == b"re"
            assert await c.reader.readexactly(2) == b"st"

        talk(test, limit=limit)

    def test_a_limit_may_have_a_fraction(self, talk):
        async def test(c):
            c.their_writer.write(b"x" * 64 + b"\n" + b"y" * 65 + b"\n")
            assert await c.reader.readline() == b"x" * 64 + b"\n"
            with pytest.raises(ValueError):
                await c.reader.readline()

        talk(test, limit=64.5)

    def test_a_limit_that_is_set_later(self, talk):
        async def test(c):
            c.reader._limit = float("inf")
            c.their_writer.write(b"x" * 1000 + b"\n")
            assert len(await c.reader.readline()) == 1001
            c.reader._limit = 0.5
            c.their_writer.write(b"y")
            assert await c.reader.readexactly(1) == b"y"
            assert c.reader._transport.is_reading()
            c.their_writer.write(b"zz")
            await until(lambda: not c.reader._transport.is_reading())

        talk(test)

    def test_the_limit_holds_back_the_peer(self, talk):
        async def test(c):
            written = 0
            while c.their_writer.transport.get_write_buffer_size() < 1_000_000:
                c.their_writer.write(bytes(100_000))
                written += 100_000
                await asyncio.sleep(0)
            assert not c.reader._transport.is_reading()
            received = 0
            while received < written:
                received += len(await c.reader.read(100_000))
            assert received == written
            assert c.reader._transport.is_reading()

        talk(test, limit=1000)

    def test_an_error_of_the_connection(self, talk):
        async def test(c):
            c.reader.set_exception(LookupError("told"))
            with pytest.raises(LookupError):
                await c.reader.read(1)
            assert isinstance(c.reader.exception(), LookupError)

        talk(test)

    def test_two_readers_at_once(self, talk):
        async def test(c):
            first = asyncio.ensure_future(c.reader.read(1))
            await turns(2)
            with pytest.raises(RuntimeError, match="called while another coroutine is already waiting"):
                await c.reader.read(1)
            c.their_writer.write(b"x")
            assert await first == b"x"

        talk(test)

    def test_cancelled(self, talk):
        async def test(c):
            for waiting in (
                c.reader.read(5),
                c.reader.readline(),
                c.reader.readexactly(5),
                c.reader.readuntil(),
            ):
                task = asyncio.ensure_future(waiting)
                await turns(2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            c.their_writer.write(b"not lost\n")
            assert await c.reader.readline() == b"not lost\n"

        talk(test)

    def test_cancelled_with_data_there(self, talk):
        async def test(c):
            task = asyncio.ensure_future(c.reader.readexactly(10))
            await turns(2)
            c.their_writer.write(b"01234")
            await turns(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            c.their_writer.write(b"56789")
            assert await c.reader.readexactly(10) == b"0123456789"

        talk(test)

    def test_time_limits(self, talk):
        async def test(c):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await c.reader.read(1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(c.reader.readline(), 0.01)

        talk(test)

    def test_what_libraries_look_at(self, talk):
        async def test(c):
            assert c.reader._transport is c.writer.transport
            assert c.reader._loop is asyncio.get_running_loop()
            assert isinstance(c.reader._buffer, bytearray)
            assert "StreamReader" in repr(c.reader)
            assert isinstance(c.reader, asyncio.StreamReader)
            assert isinstance(c.writer, asyncio.StreamWriter)
            assert isinstance(c.writer.transport.get_protocol(), asyncio.StreamReaderProtocol)

        talk(test)


class TestWriter:
    """StreamWriter."""

    def test_write_and_drain(self, talk):
        data = os.urandom(5_000_000)

        async def test(c):
            async def send():
                for start in range(0, len(data), 50_000):
                    c.writer.write(data[start : start + 50_000])
                    await c.writer.drain()
                    assert c.writer.transport.get_write_buffer_size() <= 65536 + 50_000
                c.writer.write_eof()

            _, received = await asyncio.gather(send(), c.their_reader.read())
            assert received == data

        talk(test)

    def test_drain_waits_for_the_peer(self, talk):
        async def test(c):
            c.their_reader._transport.pause_reading()
            c.writer.write(bytes(10_000_000))
            draining = asyncio.ensure_future(c.writer.drain())
            await turns(10)
            assert not draining.done()
            c.their_reader._transport.resume_reading()
            assert len(await c.their_reader.readexactly(10_000_000)) == 10_000_000
            await draining

        talk(test)

    def test_several_drain_at_once(self, talk):
        async def test(c):
            c.writer.write(bytes(5_000_000))
            draining = [asyncio.ensure_future(c.writer.drain()) for _ in range(3)]
            await c.their_reader.readexactly(5_000_000)
            await asyncio.gather(*draining)

        talk(test)

    def test_cancelling_drain(self, talk):
        async def test(c):
            c.their_reader._transport.pause_reading()
            c.writer.write(bytes(10_000_000))
            draining = asyncio.ensure_future(c.writer.drain())
            await turns(3)
            draining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await draining

        talk(test)

    def test_drain_after_the_connection_was_lost(self, talk):
        async def test(c):
            c.their_writer.transport.abort()
            with pytest.raises(ConnectionError):
                while True:
                    c.writer.write(bytes(100_000))
                    await c.writer.drain()

        talk(test)

    def test_writelines(self, talk):
        async def test(c):
            c.writer.writelines([b"a", b"b", b"c"])
            await c.writer.drain()
            assert await c.their_reader.readexactly(3) == b"abc"

        talk(test)

    def test_write_eof(self, talk):
        async def test(c):
            assert c.writer.can_write_eof()
            c.writer.write(b"request")
            c.writer.write_eof()
            assert await c.their_reader.read() == b"request"
            c.their_writer.write(b"answer")
            c.their_writer.close()
            assert await c.reader.read() == b"answer"

        talk(test)

    def test_close_and_wait_closed(self, talk):
        async def test(c):
            c.writer.write(b"last words")
            assert not c.writer.is_closing()
            c.writer.close()
            assert c.writer.is_closing()
            await c.writer.wait_closed()
            await c.writer.wait_closed()
            assert await c.their_reader.read() == b"last words"

        talk(test)

    def test_extra_info(self, talk):
        async def test(c):
            assert c.writer.get_extra_info("peername") == c.their_writer.get_extra_info("sockname")
            assert c.writer.get_extra_info("nothing", 1) == 1

        talk(test)


class TestServers:
    """start_server with handlers that are coroutines."""

    def test_many_clients(self, run):
        async def handle(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()

        async def client(address, number):
            reader, writer = await asyncio.open_connection(*address)
            for count in range(10):
                writer.write(b"client %d message %d\n" % (number, count))
                assert await reader.readline() == b"CLIENT %d MESSAGE %d\n" % (number, count)
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            async with server:
                address = server.sockets[0].getsockname()
                await asyncio.gather(*(client(address, number) for number in range(50)))

        run(main())

    def test_a_handler_that_fails(self, run, errors):
        async def handle(reader, writer):
            await reader.readline()
            raise LookupError("in the handler")

        async def main():
            async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"line\n")
                await until(lambda: errors)
                context = errors.take_one()
                assert isinstance(context["exception"], LookupError)
                assert context["message"] == "Unhandled exception in client_connected_cb"
                context["transport"].abort()
                writer.close()
                try:
                    await writer.wait_closed()
                except ConnectionError:
                    pass

        run(main())

    def test_a_plain_protocol_at_the_other_end(self, run):
        from recorder import Echo

        async def main():
            async with serving(Echo) as address:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
                await writer.wait_closed()

        run(main())
