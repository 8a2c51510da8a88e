"""TCP transports: making them, what their protocols see, flow control, and every way to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import select
import socket
import sys
import time
import warnings
import weakref

import pytest
from conftest import turns
from recorder import Buffered, Echo, Recorder, linked, serving

RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, at once


def reset(transport):
    """Close a connection so that its peer sees a reset."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


def unused_address():
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()


def open_over(loop, sock):
    """Transport and protocol over a connected socket, before the loop runs for good."""
    return loop.run_until_complete(loop.create_connection(Recorder, sock=sock))


class TestEvents:
    """What a protocol sees, in order."""

    def test_a_conversation(self, run):
        async def main():
            async with linked(server=Echo()) as (client, server):
                client.transport.write(b"hello")
                assert await client.until_received(5) == b"hello"
                client.transport.close()
                await server.until("lost")
                await client.until("lost")
                assert client.events == [("made",), ("data", b"hello"), ("lost", None)]
                assert server.events == [("made",), ("data", b"hello"), ("eof",), ("lost", None)]

        run(main())

    def test_writing_in_connection_made(self, run):
        class Greeting(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"welcome")

        async def main():
            async with linked(server=Greeting()) as (client, _):
                assert await client.until_received(7) == b"welcome"

        run(main())

    def test_create_connection_returns_after_connection_made(self, run, loop):
        async def main():
            async with serving(Echo) as address:
                transport, protocol = await loop.create_connection(Recorder, *address)
                assert protocol.names == ["made"]
                assert protocol.transport is transport
                transport.abort()
                await protocol.until("lost")

        run(main())

    def test_connection_lost_comes_later_than_close(self, run):
        async def main():
            async with linked() as (client, _):
                client.transport.close()
                assert client.transport.is_closing()
                assert client.names == ["made"]
                await client.until("lost")
                client.transport.close()
                client.transport.abort()
                await turns(3)
                assert client.names.count("lost") == 1

        run(main())

    def test_closing_inside_data_received(self, run):
        class OneChunk(Recorder):
            def data_received(self, data):
                super().data_received(data[:1])
                self.transport.close()

        async def main():
            async with linked(server=OneChunk()) as (client, server):
                client.transport.write(bytes(2_000_000))
                await server.until("lost")
                assert server.names == ["made", "data", "lost"]
                assert server.data == b"\0"

        run(main())

    @pytest.mark.faults
    def test_a_large_transfer(self, run):
        data = os.urandom(20_000_000)

        async def main():
            async with linked() as (client, server):
                client.transport.write(data)
                assert await server.until_received(len(data)) == data

        run(main())

    @pytest.mark.faults
    def test_many_small_writes(self, run):
        async def main():
            async with linked() as (client, server):
                for number in range(10_000):
                    client.transport.write(b"%d," % number)
                expected = b"".join(b"%d," % number for number in range(10_000))
                assert await server.until_received(len(expected)) == expected

        run(main())

    def test_no_descriptor_is_inherited(self, run):
        async def main():
            async with linked() as ends:
                for end in ends:
                    assert not os.get_inheritable(end.transport.get_extra_info("socket").fileno())

        run(main())


class TestHalfClose:
    """write_eof and eof_received."""

    def test_going_on_after_the_end_of_the_peer(self, run):
        class Late(Recorder):
            def eof_received(self):
                super().eof_received()
                for _ in range(20):
                    self.transport.write(b"x" * 10_000)
                self.transport.close()
                return True

        async def main():
            async with linked(server=Late()) as (client, server):
                assert client.transport.can_write_eof()
                client.transport.write(b"request")
                client.transport.write_eof()
                await client.until("lost")
                assert client.data == b"x" * 200_000
                assert client.names == ["made", "data", "eof", "lost"]
                assert server.data == b"request"

        run(main())

    def test_the_end_waits_for_what_was_written(self, run):
        async def main():
            async with linked() as (client, server):
                client.transport.write(bytes(5_000_000))
                client.transport.write_eof()
                await server.until("lost")
                assert len(server.data) == 5_000_000

        run(main())

    def test_writing_after_it(self, run):
        async def main():
            async with linked(server=Recorder(keep_open=True)) as (client, _):
                client.transport.write_eof()
                client.transport.write_eof()
                with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
                    client.transport.write(b"x")
                assert not client.transport.is_closing()

        run(main())

    def test_writelines_after_it(self, run):
        async def main():
            async with linked(server=Recorder(keep_open=True)) as (client, _):
                client.transport.write_eof()
                with pytest.raises(RuntimeError, match=r"after write_eof\(\)"):
                    client.transport.writelines([b"x"])

        run(main())

    def test_after_close_it_does_nothing(self, run):
        async def main():
            async with linked() as (client, _):
                client.transport.close()
                client.transport.write_eof()

        run(main())

    def test_kept_open_the_loop_does_not_spin(self, run):
        """End of file stays readable; the transport must stop looking at it."""

        async def main():
            async with linked(server=Recorder(keep_open=True)) as (client, server):
                client.transport.write_eof()
                await server.until("eof")
                await turns(20)
                assert server.names == ["made", "eof"]
                assert not server.transport.is_closing()
                server.transport.write(b"still open")
                assert await client.until_received(10) == b"still open"

        run(main())


class TestWriting:
    """write and writelines."""

    @pytest.mark.parametrize(
        "data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabcx")[1:4]]
    )
    def test_kinds_of_buffers(self, run, data):
        async def main():
            async with linked() as (client, server):
                client.transport.write(data)
                client.transport.writelines([data, data])
                assert await server.until_received(9) == b"abc" * 3

        run(main())

    @pytest.mark.parametrize("data", ["text", None, 1, [b"x"], object()])
    def test_what_is_no_buffer(self, run, data):
        async def main():
            async with linked() as (client, server):
                with pytest.raises(TypeError):
                    client.transport.write(data)
                if data is not None:  # whose falsehood asyncio 3.14 takes for an empty chunk
                    with pytest.raises(TypeError):
                        client.transport.writelines([data])
                client.transport.write(b"goes on")
                await server.until_received(7)

        run(main())

    def test_nothing(self, run):
        async def main():
            async with linked() as (client, server):
                client.transport.write(b"")
                client.transport.writelines([])
                client.transport.writelines([b"", b""])
                client.transport.writelines([b"", b"x", b""])
                assert await server.until_received(1) == b"x"

        run(main())

    def test_writelines_of_any_iterable(self, run):
        async def main():
            async with linked() as (client, server):
                client.transport.writelines(b"%d" % number for number in range(5))
                client.transport.writelines((b"5", bytearray(b"6"), memoryview(b"7")))
                assert await server.until_received(8) == b"01234567"

        run(main())

    @pytest.mark.faults
    def test_writelines_of_more_than_the_kernel_takes(self, run):
        chunks = [b"%d," % number for number in range(20_000)]

        async def main():
            async with linked() as (client, server):
                client.transport.writelines(chunks)
                expected = b"".join(chunks)
                assert await server.until_received(len(expected)) == expected

        run(main())

    def test_writelines_joins_the_queue(self, run):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.write(b"a" * 3_000_000)
                client.transport.writelines([b"b" * 1000, b"c" * 1000])
                client.transport.write(b"d")
                server.transport.resume_reading()
                expected = b"a" * 3_000_000 + b"b" * 1000 + b"c" * 1000 + b"d"
                assert await server.until_received(len(expected)) == expected

        run(main())

    @pytest.mark.velodrome_only
    def test_a_buffer_that_changes_after_the_call(self, run):
        """What was written is what leaves, however late."""
        size = 5_000_000

        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                first, second = bytearray(b"a" * size), bytearray(b"b" * 1000)
                client.transport.write(first)
                client.transport.writelines([second])
                first[:] = b"x" * size
                second[:] = b"y" * 1000
                server.transport.resume_reading()
                assert await server.until_received(size + 1000) == b"a" * size + b"b" * 1000
                first.clear()

        run(main())

    def test_a_write_leaves_even_if_the_loop_stops(self, loop, pair):
        """As soon as the loop runs no more, the bytes are with the kernel."""
        ours, theirs = pair
        transport, protocol = open_over(loop, ours)
        loop.call_soon(transport.write, b"written")
        loop.call_soon(loop.stop)
        loop.run_forever()
        theirs.settimeout(5)
        assert theirs.recv(100) == b"written"
        transport.abort()
        loop.run_until_complete(protocol.until("lost"))

    def test_a_write_leaves_even_if_an_abort_follows(self, loop, pair):
        """The kernel was offered the bytes before anybody thought of aborting."""
        ours, theirs = pair
        transport, protocol = open_over(loop, ours)
        loop.call_soon(transport.write, b"last words")
        loop.call_soon(transport.abort)
        loop.call_soon(bool)
        loop.run_until_complete(protocol.until("lost"))
        theirs.settimeout(5)
        assert theirs.recv(100) == b"last words"

    def test_no_write_waits_again_for_callbacks_that_block(self, loop, pair):
        """A busy loop's writes may wait for what else is due, but not once that was seen to take long."""
        ours, theirs = pair
        arrived = []

        def block():
            time.sleep(0.02)
            arrived.append(bool(select.select([theirs], [], [], 0)[0]))

        transport, protocol = open_over(loop, ours)
        for _ in range(3):
            for _ in range(6):
                loop.call_soon(transport.write, b"x")
            loop.call_soon(block)
            loop.call_soon(loop.stop)
            loop.run_forever()
            assert theirs.recv(100) == b"xxxxxx"
        assert arrived[-1]
        transport.abort()
        loop.run_until_complete(protocol.until("lost"))

    @pytest.mark.velodrome_only
    def test_writes_of_callbacks_leave_when_the_last_of_them_has_run(self, loop):
        """A peer is woken once, and not by each of them; the last one waits for nobody."""
        pairs = [socket.socketpair() for _ in range(6)]
        arrived = []

        def write(transport):
            transport.write(b"x")
            arrived.append(len(select.select([theirs for _, theirs in pairs], [], [], 0)[0]))

        transports = [open_over(loop, ours)[0] for ours, _ in pairs]
        for expected in ([1, 2, 3, 4, 5, 6], [0] * 6):  # a loop that was busy in its last turn gathers
            arrived.clear()
            for transport in transports:
                loop.call_soon(write, transport)
            loop.call_soon(loop.stop)
            loop.run_forever()
            assert arrived == expected
            assert [theirs.recv(100) for _, theirs in pairs] == [b"x"] * 6
        arrived.clear()
        loop.call_soon(write, transports[0])
        loop.stop()
        loop.run_forever()
        assert arrived == [1]
        for transport, (_, theirs) in zip(transports, pairs, strict=True):
            transport.abort()
            theirs.close()
        loop.run_until_complete(asyncio.sleep(0))

    def test_after_close_writes_are_dropped_and_complained_about(self, run, caplog):
        async def main():
            async with linked() as (client, server):
                client.transport.close()
                with caplog.at_level(logging.WARNING, "asyncio"):
                    for _ in range(8):
                        client.transport.write(b"x")
                await server.until("lost")
                assert server.data == b""

        run(main())
        assert set(caplog.messages) == {"socket.send() raised exception."}


class TestFlowControl:
    """pause_writing, resume_writing, and the limits."""

    def test_limits(self, run):
        async def main():
            async with linked() as (client, _):
                transport = client.transport
                assert transport.get_write_buffer_limits() == (16384, 65536)
                transport.set_write_buffer_limits(high=1000)
                assert transport.get_write_buffer_limits() == (250, 1000)
                transport.set_write_buffer_limits(low=1000)
                assert transport.get_write_buffer_limits() == (1000, 4000)
                transport.set_write_buffer_limits(high=10, low=5)
                assert transport.get_write_buffer_limits() == (5, 10)
                transport.set_write_buffer_limits(0)
                assert transport.get_write_buffer_limits() == (0, 0)
                transport.set_write_buffer_limits()
                assert transport.get_write_buffer_limits() == (16384, 65536)
                for high, low in ((1, 2), (-1, None), (None, -1), (10, -1)):
                    with pytest.raises(ValueError):
                        transport.set_write_buffer_limits(high, low)
                assert transport.get_write_buffer_limits() == (16384, 65536)
                assert transport.get_write_buffer_size() == 0

        run(main())

    def fill(self, transport, chunk=bytes(100_000)):
        """Write until the kernel takes no more; give how much."""
        written = 0
        while not transport.get_write_buffer_size():
            transport.write(chunk)
            written += len(chunk)
        return written

    def test_pausing_at_the_high_mark_and_resuming_at_the_low_one(self, run):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.set_write_buffer_limits(high=200_000, low=50_000)
                size = self.fill(client.transport)
                assert "pause" not in client.names
                while "pause" not in client.names:
                    assert client.transport.get_write_buffer_size() <= 200_000
                    client.transport.write(bytes(10_000))
                    size += 10_000
                assert client.transport.get_write_buffer_size() > 200_000
                sizes = []
                resume = client.resume_writing
                client.resume_writing = lambda: (
                    sizes.append(client.transport.get_write_buffer_size()),
                    resume(),
                )
                server.transport.resume_reading()
                await client.until("resume")
                assert sizes[0] <= 50_000
                await server.until_received(size)
                assert client.names == ["made", "pause", "resume"]

        run(main())

    def test_they_alternate(self, run):
        """aiohttp asserts it."""

        class Pushing(Recorder):
            left = 60

            def push(self):
                while self.left and self.names[-1] != "pause":
                    self.left -= 1
                    self.transport.write(bytes(100_000))

            def resume_writing(self):
                super().resume_writing()
                self.push()

        async def main():
            async with linked(client=Pushing()) as (client, server):
                client.push()
                await server.until_received(6_000_000)
                await turns(3)
                flow = client.names[1:]
                assert flow == ["pause", "resume"] * (len(flow) // 2)
                assert flow

        run(main())

    def test_a_limit_of_zero(self, run):
        async def main():
            async with linked() as (client, server):
                client.transport.set_write_buffer_limits(0)
                server.transport.pause_reading()
                self.fill(client.transport)
                assert client.names == ["made", "pause"]
                server.transport.resume_reading()
                await client.until("resume")
                assert client.transport.get_write_buffer_size() == 0

        run(main())

    def test_writelines_is_under_the_same_control(self, run):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                size = self.fill(client.transport)
                client.transport.writelines([bytes(1000)] * 100)
                assert client.names == ["made", "pause"]
                assert client.transport.get_write_buffer_size() > 65536
                server.transport.resume_reading()
                await server.until_received(size + 100_000)

        run(main())

    def test_a_lower_limit_takes_effect(self, run):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.set_write_buffer_limits(10_000_000)
                self.fill(client.transport)
                assert "pause" not in client.names
                client.transport.set_write_buffer_limits(0)
                assert client.names == ["made", "pause"]

        run(main())

    @pytest.mark.faults
    def test_the_buffer_is_bounded_by_the_high_mark_and_one_write(self, run):
        largest = 0

        class Pushing(Recorder):
            left = 200

            def push(self):
                nonlocal largest
                while self.left and self.names[-1] != "pause":
                    self.left -= 1
                    self.transport.write(bytes(50_000))
                    largest = max(largest, self.transport.get_write_buffer_size())

            def resume_writing(self):
                super().resume_writing()
                self.push()

        async def main():
            async with linked(client=Pushing()) as (client, server):
                client.push()
                await server.until_received(10_000_000)

        run(main())
        assert largest <= 65536 + 50_000


class TestReading:
    """pause_reading and resume_reading."""

    def test_no_data_while_paused(self, run):
        async def main():
            async with linked() as (client, server):
                assert server.transport.is_reading()
                server.transport.pause_reading()
                assert not server.transport.is_reading()
                client.transport.write(b"hello")
                await turns(10)
                assert server.names == ["made"]
                server.transport.resume_reading()
                assert server.transport.is_reading()
                assert await server.until_received(5) == b"hello"

        run(main())

    def test_twice_is_once(self, run):
        async def main():
            async with linked() as (client, server):
                for method in ("pause_reading", "pause_reading", "resume_reading", "resume_reading"):
                    getattr(server.transport, method)()
                client.transport.write(b"x")
                await server.until_received(1)

        run(main())

    def test_paused_in_connection_made(self, run):
        class Paused(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        async def main():
            async with linked(server=Paused()) as (client, server):
                client.transport.write(b"hello")
                await turns(10)
                assert server.names == ["made"]
                server.transport.resume_reading()
                await server.until_received(5)

        run(main())

    def test_a_storm(self, run):
        data = os.urandom(3_000_000)

        class Stormy(Recorder):
            paused = False

            def data_received(self, chunk):
                assert not self.paused
                super().data_received(chunk)
                self.paused = True
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.resume)

            def resume(self):
                self.paused = False
                for _ in range(3):
                    self.transport.resume_reading()
                    self.transport.pause_reading()
                self.transport.resume_reading()

        async def main():
            async with linked(server=Stormy()) as (client, server):
                client.transport.write(data)
                assert await server.until_received(len(data)) == data

        run(main())

    def test_a_paused_transport_can_be_closed(self, run):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.write(b"never read")
                server.transport.close()
                assert not server.transport.is_reading()
                await server.until("lost")
                assert server.names == ["made", "lost"]

        run(main())

    def test_after_close_they_do_nothing(self, run):
        async def main():
            async with linked() as (client, _):
                client.transport.close()
                client.transport.pause_reading()
                client.transport.resume_reading()
                assert not client.transport.is_reading()

        run(main())


class TestBufferedProtocols:
    """get_buffer and buffer_updated."""

    def test_data(self, run):
        data = os.urandom(100_000)

        async def main():
            async with linked(server=Buffered()) as (client, server):
                client.transport.write(data)
                assert await server.until_received(len(data)) == data
                assert set(server.hints) == {-1}
                client.transport.close()
                await server.until("lost")
                assert server.names == ["made", "data", "eof", "lost"]

        run(main())

    @pytest.mark.parametrize("make", [bytearray, lambda size: memoryview(bytearray(size))])
    def test_kinds_of_buffers(self, run, make):
        async def main():
            server = Buffered()
            server.buffer = make(10)
            async with linked(server=server) as (client, server):
                client.transport.write(b"x" * 25)
                assert await server.until_received(25) == b"x" * 25

        run(main())

    @pytest.mark.parametrize("buffer", [bytearray(), b"read-only", None, "text", 1])
    def test_bad_buffers(self, run, errors, buffer):
        async def main():
            server = Buffered()
            server.buffer = buffer
            async with linked(server=server) as (client, server):
                client.transport.write(b"x")
                await server.until("lost")
                assert server.data == b""
                context = errors.take_one()
                assert context["protocol"] is server
                assert server.events[-1] == ("lost", context["exception"])
                assert isinstance(context["exception"], (RuntimeError, TypeError, BufferError))

        run(main())

    @pytest.mark.faults
    def test_half_close(self, run):
        async def main():
            async with linked(server=Buffered(keep_open=True)) as (client, server):
                client.transport.write_eof()
                await server.until("eof")
                server.transport.write(b"answer")
                assert await client.until_received(6) == b"answer"

        run(main())


class TestChangingProtocols:
    """set_protocol and get_protocol."""

    def test_mid_stream(self, run):
        async def main():
            async with linked() as (client, server):
                client.transport.write(b"first")
                await server.until_received(5)
                assert server.transport.get_protocol() is server
                second = Recorder()
                server.transport.set_protocol(second)
                assert server.transport.get_protocol() is second
                client.transport.write(b"second")
                assert await second.until_received(6) == b"second"
                assert server.data == b"first"
                server.transport.close()
                await second.until("lost")
                assert "lost" not in server.names
                server.note("lost")

        run(main())

    def test_between_the_kinds(self, run):
        async def main():
            async with linked() as (client, server):
                buffered, plain = Buffered(), Recorder()
                for protocol in (buffered, plain, buffered):
                    server.transport.set_protocol(protocol)
                    before = len(protocol.data)
                    client.transport.write(b"data")
                    await protocol.until_received(before + 4)
                server.transport.set_protocol(server)
                assert (buffered.data, plain.data, server.data) == (b"datadata", b"data", b"")

        run(main())

    def test_inside_data_received(self, run):
        second = Recorder()

        class First(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.set_protocol(second)

        async def main():
            async with linked(server=First()) as (client, server):
                client.transport.write(b"1")
                await server.until_received(1)
                client.transport.write(b"2")
                assert await second.until_received(1) == b"2"
                server.transport.set_protocol(server)

        run(main())


@contextlib.contextmanager
def warned(messages):
    """Collect what warnings say: a record of the whole warning would keep the transport, alive."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: messages.append(str(message))
        yield


class TestEndings:
    """close, abort, and what peers do."""

    @pytest.mark.faults
    def test_close_sends_what_is_left_to_a_slow_reader(self, run):
        data = os.urandom(5_000_000)

        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.write(data)
                client.transport.close()
                assert client.transport.is_closing()
                await turns(5)
                assert client.transport.get_write_buffer_size() > 0
                while len(server.data) < len(data):
                    server.transport.resume_reading()
                    before = len(server.data)
                    await server.until(lambda server: len(server.data) > before)  # noqa: B023
                    server.transport.pause_reading()
                server.transport.resume_reading()
                await server.until("lost")
                await client.until("lost")
                assert server.data == data
                assert [client.events[0], client.events[-1]] == [("made",), ("lost", None)]
                assert client.names.count("lost") == 1

        run(main())

    def test_closing_stops_reading(self, run):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.write(bytes(5_000_000))
                client.transport.close()
                server.transport.write(b"not wanted")
                await turns(10)
                assert client.data == b""

        run(main())

    def test_abort_drops_what_is_left(self, run):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.write(bytes(5_000_000))
                client.transport.abort()
                assert client.transport.is_closing()
                assert "lost" not in client.names
                await client.until("lost")
                assert client.events[-1] == ("lost", None)
                assert client.transport.get_write_buffer_size() == 0
                server.transport.resume_reading()
                await server.until("lost")
                assert len(server.data) < 5_000_000

        run(main())

    def test_a_reset_while_idle(self, run):
        async def main():
            async with linked() as (client, server):
                reset(server.transport)
                await client.until("lost")
                assert client.names == ["made", "lost"]
                assert isinstance(client.events[-1][1], ConnectionResetError)

        run(main())

    def test_a_reset_while_writing(self, run, caplog):
        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                client.transport.write(bytes(5_000_000))
                reset(server.transport)
                await client.until("lost")
                assert isinstance(client.events[-1][1], (ConnectionResetError, BrokenPipeError))
                assert client.names.count("lost") == 1
                assert client.transport.is_closing()
                client.transport.write(b"silent")
                await turns(3)
                assert client.names.count("lost") == 1

        run(main())

    def test_a_write_that_finds_the_peer_gone(self, run):
        async def main():
            async with linked(client=Recorder(keep_open=True)) as (client, server):
                server.transport.close()
                await server.until("lost")
                await client.until("eof")
                while "lost" not in client.names:
                    client.transport.write(b"x")
                    await asyncio.sleep(0)
                assert isinstance(client.events[-1][1], (ConnectionResetError, BrokenPipeError))

        run(main())

    @pytest.mark.velodrome_only  # gh-156512
    def test_resume_writing_that_closes(self, run):
        """connection_lost comes once, although the write was the last."""

        class Closing(Recorder):
            def resume_writing(self):
                super().resume_writing()
                self.transport.close()

        async def main():
            async with linked(client=Closing()) as (client, server):
                server.transport.pause_reading()
                client.transport.set_write_buffer_limits(0)
                while "pause" not in client.names:
                    client.transport.write(bytes(1_000_000))
                server.transport.resume_reading()
                await server.until("lost")
                await client.until("lost")
                await turns(3)
                assert client.names == ["made", "pause", "resume", "lost"]

        run(main())

    @pytest.mark.parametrize("end", ["close", "abort"])
    def test_on_a_closed_loop(self, new_loop, pair, end):
        loop = new_loop()
        transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=pair[0]))
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            getattr(transport, end)()
        assert transport.is_closing()
        transport.close()
        transport.abort()
        kept = [transport]
        del transport, _
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            gc.collect(kept.clear() or 2)

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_with_something_left_on_a_closed_loop(self, new_loop, pair):
        loop = new_loop()
        transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=pair[0]))
        transport.write(bytes(10_000_000))
        loop.close()
        transport.close()
        assert transport.is_closing()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            transport.abort()
        transport.abort()

    def test_a_transport_that_is_dropped_complains(self, run, loop):
        async def main():
            async with serving(Recorder) as address:
                transport, protocol = await loop.create_connection(Recorder, *address)
                text = repr(transport)
                # The loop, being idle, holds it only by its socket.
                transport.pause_reading()
                alive = weakref.ref(transport)
                messages = []
                with warned(messages):
                    protocol.transport = None
                    del transport, protocol
                    gc.collect()
                assert alive() is None
                assert any(message.startswith("unclosed transport ") for message in messages)
                assert text

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 11, 5), reason="its writers say nothing")
    @pytest.mark.parametrize("closed", [False, True])
    def test_a_stream_writer_that_is_dropped_with_its_transport_complains(self, new_loop, pair, closed):
        async def main():
            _, writer = await asyncio.open_connection(sock=pair[0])
            writer.transport.pause_reading()
            writer.itself = writer
            return writer

        loop = new_loop()
        kept = [loop.run_until_complete(main())]
        if closed:
            loop.close()
        messages = []
        with warned(messages):
            kept.clear()
            gc.collect()
        words = "loop is closed" if closed else "unclosed <StreamWriter"
        assert any(message.startswith(words) for message in messages), messages
        assert any(message.startswith("unclosed transport ") for message in messages), messages


class TestTransportObjects:
    """What a transport is, and what it says of itself."""

    def test_types(self, run):
        async def main():
            async with linked() as (client, server):
                for end in (client, server):
                    assert isinstance(end.transport, asyncio.Transport)
                    assert isinstance(end.transport, asyncio.ReadTransport)
                    assert isinstance(end.transport, asyncio.WriteTransport)

        run(main())

    def test_attributes_of_ones_own(self, run):
        """Libraries set them, and look at all of them."""

        async def main():
            async with linked() as (client, _):
                client.transport.flush = "mine"
                assert vars(client.transport)["flush"] == "mine"
                del client.transport.flush
                assert not hasattr(client.transport, "flush")

        run(main())

    def test_extra_info(self, run):
        async def main():
            async with linked() as (client, server):
                ours, theirs = client.transport, server.transport
                assert ours.get_extra_info("sockname") == theirs.get_extra_info("peername")
                assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname")
                assert ours.get_extra_info("peername")[0] == "127.0.0.1"
                assert ours.get_extra_info("nothing") is None
                assert ours.get_extra_info("nothing", 42) == 42
                assert ours.get_extra_info("sslcontext") is None

        run(main())

    def test_the_socket(self, run):
        async def main():
            async with linked() as (client, _):
                sock = client.transport.get_extra_info("socket")
                assert isinstance(sock, asyncio.trsock.TransportSocket)
                assert sock is client.transport.get_extra_info("socket")
                assert sock.family == socket.AF_INET
                assert sock.type == socket.SOCK_STREAM
                assert sock.fileno() > 0
                assert sock.getsockname() == client.transport.get_extra_info("sockname")
                assert sock.getpeername() == client.transport.get_extra_info("peername")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert isinstance(sock._sock, socket.socket)
                client.transport.close()
                await client.until("lost")
                await turns(1)
                assert sock.fileno() == -1

        run(main())

    @pytest.mark.parametrize("ask", [lambda it: it.get_extra_info("socket"), lambda it: it._extra["socket"]])
    def test_the_socket_after_the_end(self, run, ask):
        async def main():
            async with linked() as (client, server):
                client.transport.close()
                for end in (client, server):
                    await end.until("lost")
            await turns(1)
            for end in (client, server):
                sock = ask(end.transport)
                assert isinstance(sock, asyncio.trsock.TransportSocket)
                assert sock is ask(end.transport)
                assert sock.fileno() == -1
                assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
                assert sock.proto == socket.IPPROTO_TCP
                with pytest.raises(OSError):
                    sock.getsockname()

        run(main())

    def test_addresses_stay_after_the_end(self, run):
        async def main():
            async with linked() as (client, _):
                before = client.transport.get_extra_info("peername")
                client.transport.abort()
                await client.until("lost")
                assert client.transport.get_extra_info("peername") == before

        run(main())

    @pytest.mark.velodrome_only
    def test_the_address_of_a_peer_that_left_at_once(self, run):
        """Taken when accepting, not asked for later."""

        async def main():
            server = Recorder()
            async with serving(lambda: server) as address:
                with socket.create_connection(address) as client:
                    name = client.getsockname()
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                await server.until("lost")
                assert server.transport.get_extra_info("peername") == name

        run(main())

    def test_repr(self, run):
        async def main():
            async with linked() as (client, server):
                transport = client.transport
                assert f"fd={transport.get_extra_info('socket').fileno()}" in repr(transport)
                assert "read=polling" in repr(transport)
                assert "write=<idle, bufsize=0>" in repr(transport)
                transport.pause_reading()
                assert "read=idle" in repr(transport)
                server.transport.pause_reading()
                transport.write(bytes(5_000_000))
                assert f"write=<polling, bufsize={transport.get_write_buffer_size()}>" in repr(transport)
                transport.close()
                assert "closing" in repr(transport)
                transport.abort()
                await client.until("lost")
                await turns(1)
                assert "closed" in repr(transport)

        run(main())

    def test_attributes_and_weak_references(self, run):
        """pyserial-asyncio sets some."""

        async def main():
            async with linked() as (client, _):
                transport = client.transport
                transport.flush = 1
                assert transport.flush == 1
                transport._extra["ours"] = 2
                assert transport.get_extra_info("ours") == 2
                assert weakref.ref(transport)() is transport
                assert hash(transport) == hash(transport)

        run(main())


class TestCreateConnection:
    """The keywords of create_connection."""

    @pytest.fixture
    def connect(self, loop):
        """Connect to a server, check the connection, and give what the client's socket was."""

        async def connect(*arguments, **options):
            transport, protocol = await loop.create_connection(Recorder, *arguments, **options)
            sock = transport.get_extra_info("socket")
            seen = sock.family, sock.getsockname(), sock.getpeername()
            transport.abort()
            await protocol.until("lost")
            return seen

        return connect

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", b"127.0.0.1"])
    def test_host(self, run, connect, host):
        async def main():
            async with serving(Recorder) as (_, port):
                await connect(host, port)
                await connect(host, str(port))

        run(main())

    def test_host_none_is_this_machine(self, run, connect):
        async def main():
            async with serving(Recorder) as (_, port):
                await connect(None, port)

        run(main())

    def test_family(self, run, connect):
        async def main():
            async with serving(Recorder) as (_, port):
                assert (await connect("localhost", port, family=socket.AF_INET))[0] == socket.AF_INET

        run(main())

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_local_addr(self, run, connect, host):
        own = unused_address()

        async def main():
            async with serving(Recorder) as (_, port):
                seen = await connect(host, port, family=socket.AF_INET, local_addr=own)
                assert seen[1] == own

        run(main())

    def test_local_addr_that_is_taken(self, run, connect):
        async def main():
            async with serving(Recorder) as address:
                with pytest.raises(OSError, match="while attempting to bind on address"):
                    await connect(*address, local_addr=address)

        run(main())

    def test_sock(self, run, connect):
        async def main():
            async with serving(Recorder) as address:
                sock = socket.create_connection(address)
                own = sock.getsockname()
                assert (await connect(sock=sock))[1] == own
                assert sock.fileno() == -1

        run(main())

    def test_a_socket_class_of_ones_own_keeps_its_methods(self, run, loop, pair):
        class Shouting(socket.socket):
            def recv(self, *args):
                return super().recv(*args).upper()

            def send(self, data, *args):
                return super().send(bytes(data).upper(), *args)

        ours, theirs = pair

        async def main():
            protocol = Recorder()
            sock = Shouting(fileno=ours.detach())
            transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
            transport.write(b"loud")
            assert theirs.recv(9) == b"LOUD"
            theirs.send(b"echo")
            assert await protocol.until_received(4) == b"ECHO"
            transport.close()
            await protocol.until("lost")

        run(main())

    def test_a_socket_class_that_overrides_nothing_of_it(self, run, loop, pair):
        class Named(socket.socket):
            name = "mine"

        ours, theirs = pair

        async def main():
            sock = Named(fileno=ours.detach())
            transport, protocol = await loop.create_connection(Recorder, sock=sock)
            theirs.send(b"x")
            assert await protocol.until_received(1) == b"x"
            assert transport.get_extra_info("socket")._sock is sock
            transport.close()
            await protocol.until("lost")

        run(main())

    def test_refused(self, run, connect):
        async def main():
            with pytest.raises(ConnectionRefusedError):
                await connect(*unused_address())

        run(main())

    @pytest.mark.parametrize(
        ("arguments", "options", "error"),
        [
            ((), {}, ValueError),
            (("127.0.0.1", 1), {"sock": 1}, ValueError),
            (("127.0.0.1", 1), {"server_hostname": "name"}, ValueError),
            (("127.0.0.1", 1), {"ssl_handshake_timeout": 1}, ValueError),
            (("127.0.0.1", 1), {"ssl_shutdown_timeout": 1}, ValueError),
            (("127.0.0.1", 65536), {}, OverflowError),
            (("127.0.0.1", -1), {}, OverflowError),
            (("127.0.0.1", "no-such-service"), {}, socket.gaierror),
            (("127.0.0.1", 1), {"nonsense": 1}, TypeError),
        ],
    )
    def test_bad_arguments(self, run, connect, arguments, options, error):
        async def main():
            with pytest.raises(error):
                await connect(*arguments, **options)

        run(main())

    def test_a_socket_that_is_no_stream(self, run, connect):
        async def main():
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                with pytest.raises(ValueError, match="A Stream Socket was expected"):
                    await connect(sock=sock)
                assert sock.fileno() > 0

        run(main())

    def several(self, loop, *addresses):
        """Let every name resolve to these addresses."""

        async def getaddrinfo(host, port, **options):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

        loop.getaddrinfo = getaddrinfo

    @pytest.mark.parametrize(
        "options", [{}, {"happy_eyeballs_delay": 5}, {"happy_eyeballs_delay": 0.001, "interleave": 2}]
    )
    def test_the_next_address_after_a_failure(self, run, loop, connect, options):
        async def main():
            async with serving(Recorder) as address:
                self.several(loop, unused_address(), address)
                assert (await connect("name", 1, **options))[2] == address

        run(main())

    @pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.01}])
    def test_all_addresses_fail(self, run, loop, connect, options):
        self.several(loop, unused_address(), unused_address())

        async def main():
            with pytest.raises(OSError):
                await connect("name", 1, **options)

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors is new in 3.12")
    def test_all_errors(self, run, loop, connect):
        self.several(loop, unused_address(), unused_address())

        async def main():
            with pytest.raises(ExceptionGroup) as info:
                await connect("name", 1, all_errors=True)
            assert [type(error) for error in info.value.exceptions] == [ConnectionRefusedError] * 2

        run(main())

    def test_happy_eyeballs_does_not_wait_for_the_dead(self, run, loop, connect):
        """The first address never answers: its listener's queue is full."""
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(silent.getsockname())

            async def main():
                async with serving(Recorder) as address:
                    self.several(loop, silent.getsockname(), address)
                    assert (await connect("name", 1, happy_eyeballs_delay=0.01))[2] == address

            run(main())
            for filler in fillers:
                filler.close()

    def test_cancelled(self, run, loop, connect):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(silent.getsockname())

            async def main():
                connecting = asyncio.ensure_future(connect(*silent.getsockname()))
                await turns(5)
                connecting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await connecting

            run(main())
            for filler in fillers:
                filler.close()

    def test_a_name_that_does_not_exist(self, run, connect):
        async def main():
            with pytest.raises(socket.gaierror):
                await connect("no.such.name.invalid", 80)

        run(main())


class TestConnectAcceptedSocket:
    """connect_accepted_socket."""

    def test_it_is_a_connection(self, run, loop):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as listener:
                client = socket.create_connection(listener.getsockname())
                accepted, _ = listener.accept()
            with client:
                transport, protocol = await loop.connect_accepted_socket(Echo, accepted)
                assert protocol.names == ["made"]
                client.setblocking(False)
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(client, 10) == b"hello"
            await protocol.until("lost")
            assert transport.is_closing()

        run(main())

    def test_a_pair_of_sockets(self, run, loop):
        ours, theirs = socket.socketpair()

        async def main():
            left, echo = await loop.connect_accepted_socket(Echo, ours)
            right, recorder = await loop.connect_accepted_socket(Recorder, theirs)
            right.write(b"hello")
            assert await recorder.until_received(5) == b"hello"
            right.close()
            await echo.until("lost")
            await recorder.until("lost")

        run(main())

    def test_bad_arguments(self, run, loop):
        async def main():
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                with pytest.raises(ValueError, match="A Stream Socket was expected"):
                    await loop.connect_accepted_socket(Recorder, sock)
            with socket.socket() as sock:
                with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
                    await loop.connect_accepted_socket(Recorder, sock, ssl_handshake_timeout=1)

        run(main())


class TestResolving:
    """getaddrinfo and getnameinfo."""

    def test_getaddrinfo(self, run, loop):
        async def main():
            for host, port in (
                ("127.0.0.1", 80),
                ("localhost", 80),
                ("::1", None),
                (None, 0),
                ("127.0.0.1", "http"),
            ):
                options = {"type": socket.SOCK_STREAM}
                expected = socket.getaddrinfo(host, port, **options)
                assert await loop.getaddrinfo(host, port, **options) == expected

        run(main())

    def test_its_flags(self, run, loop):
        async def main():
            for options in (
                {"flags": socket.AI_PASSIVE},
                {"family": socket.AF_INET},
                {"proto": socket.IPPROTO_UDP},
                {"flags": socket.AI_CANONNAME, "type": socket.SOCK_STREAM},
            ):
                expected = socket.getaddrinfo("localhost", 80, **options)
                assert await loop.getaddrinfo("localhost", 80, **options) == expected

        run(main())

    def test_its_errors(self, run, loop):
        async def main():
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo("no.such.name.invalid", 80)
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET6)
            with pytest.raises(UnicodeError):
                await loop.getaddrinfo("a" * 100 + ".example", 80)

        run(main())

    def test_getnameinfo(self, run, loop):
        async def main():
            numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            assert await loop.getnameinfo(("127.0.0.1", 80), numeric) == ("127.0.0.1", "80")
            assert await loop.getnameinfo(("127.0.0.1", 80)) == socket.getnameinfo(("127.0.0.1", 80), 0)

        run(main())
