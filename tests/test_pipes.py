"""Pipes as transports: their two ends, FIFOs, sockets and terminals."""

from __future__ import annotations

import asyncio
import gc
import os
import pty
import socket
import tty
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import turns
from recorder import Recorder

PIPE_BUFFER = 64 * 1024
"""What a pipe of Linux holds."""


@contextmanager
def pipe() -> Iterator[tuple[Any, Any]]:
    """The two ends of a pipe as file objects, closed at the end if nobody else did."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as read_end, open(writer, "wb", buffering=0) as write_end:
        yield read_end, write_end


@contextmanager
def fifo(path: Path) -> Iterator[tuple[Any, Any]]:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(reader, "rb", buffering=0) as read_end, path.open("wb", buffering=0) as write_end:
        yield read_end, write_end


@contextmanager
def sockets() -> Iterator[tuple[Any, Any]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@contextmanager
def terminal() -> Iterator[tuple[Any, Any]]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    with open(master, "rb", buffering=0) as read_end, open(slave, "wb", buffering=0) as write_end:
        yield read_end, write_end


@pytest.fixture(params=["pipe", "fifo", "sockets", "terminal"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    made = {"pipe": pipe, "fifo": lambda: fifo(tmp_path / "fifo"), "sockets": sockets, "terminal": terminal}
    with made[request.param]() as ends:
        yield ends


async def read_from(end: Any, **options: Any) -> Recorder:
    protocol = Recorder(**options)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, end)
    return protocol


async def write_to(end: Any) -> Recorder:
    protocol = Recorder()
    await asyncio.get_running_loop().connect_write_pipe(lambda: protocol, end)
    return protocol


def is_closed(end: Any) -> bool:
    return end.fileno() == -1 if isinstance(end, socket.socket) else end.closed


# -- everything that can be a pipe


def test_bytes_go_through(run, ends: Any) -> None:
    async def main() -> None:
        reader, writer = await read_from(ends[0]), await write_to(ends[1])
        writer.transport.write(b"hello ")
        writer.transport.write(bytearray(b"wor"))
        writer.transport.write(memoryview(b"ld"))
        assert await reader.until_received(11) == b"hello world"
        for protocol, end in ((reader, ends[0]), (writer, ends[1])):
            protocol.transport.close()
            await protocol.until("lost")
            assert protocol.events[-1] == ("lost", None)
            assert is_closed(end)
        assert reader.names == ["made", "data", "lost"]
        assert writer.names == ["made", "lost"]

    run(main())


def test_much_goes_through_in_order(run, ends: Any) -> None:
    async def main() -> None:
        data = bytes(range(256)) * 4096
        reader, writer = await read_from(ends[0]), await write_to(ends[1])
        for start in range(0, len(data), 100_000):
            writer.transport.write(data[start : start + 100_000])
        assert writer.transport.get_write_buffer_size() > 0
        assert "pause" in writer.names
        assert await reader.until_received(len(data)) == data
        await writer.until("resume")
        assert writer.transport.get_write_buffer_size() == 0
        for protocol in (reader, writer):
            protocol.transport.close()
            await protocol.until("lost")

    run(main())


def test_the_end_of_writing_ends_reading(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            reader, writer = await read_from(ends[0], keep_open=True), await write_to(ends[1])
            data = b"x" * (3 * PIPE_BUFFER)
            writer.transport.write(data)
            assert writer.transport.can_write_eof()
            writer.transport.write_eof()
            assert writer.transport.is_closing()
            await reader.until("lost")
            await writer.until("lost")
            # What eof_received() answers makes no difference: nobody can write to the reading end.
            assert reader.events == [("made",), ("data", data), ("eof",), ("lost", None)]
            assert writer.events[-1] == ("lost", None)
            assert ends[0].closed
            assert ends[1].closed

    run(main())


def test_the_writing_end_notices_that_the_reader_went_away(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            writer = await write_to(ends[1])
            ends[0].close()
            await writer.until("lost")
            assert writer.events == [("made",), ("lost", None)]
        with pipe() as ends:
            writer = await write_to(ends[1])
            writer.transport.write(b"x" * (2 * PIPE_BUFFER))
            ends[0].close()
            await writer.until("lost")
            assert type(writer.events[-1][1]) is BrokenPipeError
            writer.transport.write(b"nobody hears this")

    run(main())


def test_a_write_to_a_broken_pipe(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            writer = await write_to(ends[1])
            ends[0].close()
            writer.transport.write(b"x")
            assert writer.transport.is_closing()
            await writer.until("lost")
            assert type(writer.events[-1][1]) is BrokenPipeError

    run(main())


# -- pitfalls 2 and 11


def test_pitfall_02_the_file_object_is_closed_and_not_its_descriptor_behind_its_back(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            reader, writer = await read_from(ends[0]), await write_to(ends[1])
            numbers = [end.fileno() for end in ends]
            for protocol in (reader, writer):
                protocol.transport.close()
                await protocol.until("lost")
            assert all(end.closed for end in ends)
            # The numbers belong to somebody else now, whom the end of the file objects must not touch.
            stranger = os.pipe()
            assert set(stranger) == set(numbers)
            del reader, writer, protocol
        gc.collect()
        for fd in stranger:
            os.close(fd)

    run(main())


def test_pitfall_02_only_the_transport_closes_the_file_object(run) -> None:
    class Counted:
        """A file object of somebody's own."""

        def __init__(self, fd: int) -> None:
            self.fd = fd
            self.closed = 0

        def fileno(self) -> int:
            return self.fd

        def close(self) -> None:
            self.closed += 1
            os.close(self.fd)

    async def main() -> None:
        ends = [Counted(fd) for fd in os.pipe()]
        reader, writer = await read_from(ends[0]), await write_to(ends[1])
        assert reader.transport.get_extra_info("pipe") is ends[0]
        writer.transport.abort()
        await reader.until("lost")
        await writer.until("lost")
        assert [end.closed for end in ends] == [1, 1]

    run(main())


@pytest.mark.parametrize("which", ["connect_read_pipe", "connect_write_pipe"])
def test_pitfall_11_a_regular_file_is_no_pipe(run, loop, tmp_path: Path, which: str) -> None:
    async def main() -> None:
        with (tmp_path / "file").open("w+b", buffering=0) as file:
            with pytest.raises(ValueError, match="Pipe transport is"):
                await getattr(loop, which)(Recorder, file)
            assert not file.closed
            assert os.get_blocking(file.fileno())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    run(main())


def test_a_factory_that_raises(run, loop) -> None:
    async def main() -> None:
        def factory() -> Any:
            raise ValueError("factory")

        with pipe() as ends:
            for connect, end in ((loop.connect_read_pipe, ends[0]), (loop.connect_write_pipe, ends[1])):
                with pytest.raises(ValueError, match="factory"):
                    await connect(factory, end)
                assert not end.closed

    run(main())


# -- transports


def test_they_are_asyncios_transports(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            reader, writer = await read_from(ends[0]), await write_to(ends[1])
            assert isinstance(reader.transport, asyncio.ReadTransport)
            assert isinstance(writer.transport, asyncio.WriteTransport)
            for protocol, end in ((reader, ends[0]), (writer, ends[1])):
                transport = protocol.transport
                assert transport.get_extra_info("pipe") is end
                assert transport.get_extra_info("nothing", 5) == 5
                assert transport._pipe is end
                assert transport._fileno == end.fileno()
                assert transport.get_protocol() is protocol
                assert not transport.is_closing()
                assert not os.get_blocking(end.fileno())
                transport.mine = 1
                assert weakref.ref(transport)() is transport
            assert reader.transport.is_reading()
            assert f"fd={ends[0].fileno()} polling" in repr(reader.transport)
            assert f"fd={ends[1].fileno()} idle bufsize=0" in repr(writer.transport)
            for protocol in (reader, writer):
                protocol.transport.close()
                assert "closing" in repr(protocol.transport)
                assert protocol.transport.is_closing()
                await protocol.until("lost")
                await turns()
                assert "closed" in repr(protocol.transport)
                assert protocol.transport._pipe is None

    run(main())


def test_pausing_and_resuming(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            reader = await read_from(ends[0])
            for _ in range(2):
                reader.transport.pause_reading()
            assert not reader.transport.is_reading()
            ends[1].write(b"abc")
            await turns(5)
            assert reader.data == b""
            for _ in range(2):
                reader.transport.resume_reading()
            assert await reader.until_received(3) == b"abc"
            reader.transport.close()
            reader.transport.pause_reading()
            reader.transport.resume_reading()
            await reader.until("lost")
            assert reader.names == ["made", "data", "lost"]

    run(main())


def test_pausing_before_reading_has_begun(run) -> None:
    class Pausing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        with pipe() as ends:
            ends[1].write(b"abc")
            protocol = Pausing()
            await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, ends[0])
            await turns(5)
            assert protocol.names == ["made"]
            protocol.transport.resume_reading()
            await protocol.until_received(3)
            protocol.transport.close()
            await protocol.until("lost")

    run(main())


def test_closing_lets_what_is_queued_leave_and_aborting_does_not(run) -> None:
    async def main() -> None:
        data = b"x" * (4 * PIPE_BUFFER)
        for end in ("close", "abort"):
            with pipe() as ends:
                writer = await write_to(ends[1])
                writer.transport.write(data)
                getattr(writer.transport, end)()
                writer.transport.write(b"not any more")
                reader = await read_from(ends[0])
                await reader.until("lost")
                await writer.until("lost")
                assert writer.events[-1] == ("lost", None)
                assert (reader.data == data) is (end == "close")

    run(main())


def test_writing_nothing_and_nonsense(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            writer = await write_to(ends[1])
            writer.transport.write(b"")
            for nonsense in ("text", 5, None):
                with pytest.raises((AssertionError, TypeError)):
                    writer.transport.write(nonsense)
            writer.transport.writelines([b"a", b"", bytearray(b"b")])
            assert ends[0].read(10) == b"ab"
            writer.transport.close()
            writer.transport.close()
            await writer.until("lost")
            writer.transport.close()

    run(main())


def test_flow_control(run) -> None:
    async def main() -> None:
        with pipe() as ends:
            writer = await write_to(ends[1])
            writer.transport.set_write_buffer_limits(high=1000, low=100)
            assert writer.transport.get_write_buffer_limits() == (100, 1000)
            writer.transport.write(b"x" * (PIPE_BUFFER + 1000))
            assert writer.names == ["made"]
            writer.transport.write(b"y")
            assert writer.names == ["made", "pause"]
            reader = await read_from(ends[0])
            await writer.until("resume")
            writer.transport.close()
            await reader.until("lost")
            assert writer.names == ["made", "pause", "resume", "lost"]

    run(main())


def test_an_exception_in_a_callback(run, errors) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise ValueError("in data_received")

    async def main() -> None:
        with pipe() as ends:
            protocol = Failing()
            await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, ends[0])
            ends[1].write(b"abc")
            await protocol.until_received(3)
            await turns()
            assert "in data_received" in str(errors.take_one()["exception"])
            protocol.transport.close()
            await protocol.until("lost")

    run(main())


def test_the_order_is_asyncios(kind: str, new_loop: Callable[[], Any], oracle: Any) -> None:
    """What two ends tell, and when in relation to callbacks of the loop."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        log: list[Any] = []

        class Logged(Recorder):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            def note(self, name: str, *arguments: Any) -> None:
                log.append((self.name, name, *map(repr, arguments)))
                loop.call_soon(log.append, f"after {self.name} {name}")
                super().note(name, *arguments)

        with pipe() as ends:
            reader, writer = Logged("reader"), Logged("writer")
            loop.call_soon(log.append, "first")
            await loop.connect_read_pipe(lambda: reader, ends[0])
            log.append("connected")
            await loop.connect_write_pipe(lambda: writer, ends[1])
            log.append("connected")
            writer.transport.write(b"abc")
            loop.call_soon(log.append, "written")
            await reader.until_received(3)
            writer.transport.write(b"def")
            writer.transport.close()
            log.append("closing")
            await reader.until("lost")
            await writer.until("lost")
            await turns(3)
        return log

    assert new_loop().run_until_complete(main()) == oracle.run_until_complete(main())


def test_streams_over_a_pipe(run, loop) -> None:
    async def main() -> None:
        with pipe() as ends:
            reader = asyncio.StreamReader()
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), ends[0])
            transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, ends[1])
            writer = asyncio.StreamWriter(transport, protocol, None, loop)
            writer.write(b"one\ntwo\n")
            await writer.drain()
            assert await reader.readline() == b"one\n"
            writer.close()
            assert await reader.read() == b"two\n"
            assert reader.at_eof()
            await turns(3)
            # Nothing refers to the reading transport any more, whose connection_lost has come.
            assert ends[0].closed

    run(main())
