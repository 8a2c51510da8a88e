"""A protocol that writes down what happens to it, and lets a test wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any


class Recorder(asyncio.Protocol):
    """Events as tuples (name, argument...); consecutive ``data`` events are one, as TCP promises no more."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.transport: Any = None
        self.keep_open = keep_open
        self._changed: list[asyncio.Future[None]] = []

    @property
    def names(self) -> list[str]:
        """What happened, in order."""
        return [event[0] for event in self.events]

    @property
    def data(self) -> bytes:
        """All that was received."""
        return b"".join(event[1] for event in self.events if event[0] == "data")

    def note(self, name: str, *arguments: Any) -> None:
        """Write down an event and wake who waits for it."""
        if name == "data" and self.names[-1:] == ["data"]:
            self.events[-1] = ("data", self.events[-1][1] + arguments[0])
        else:
            self.events.append((name, *arguments))
        for future in self._changed:
            if not future.done():
                future.set_result(None)
        self._changed.clear()

    async def until(self, what: str | Callable[[Recorder], bool]) -> None:
        """Wait for an event by its name, or for something to become true of the recorder."""
        reached = what if callable(what) else lambda recorder: what in recorder.names
        while not reached(self):
            changed = asyncio.get_running_loop().create_future()
            self._changed.append(changed)
            await changed

    async def until_received(self, count: int) -> bytes:
        """Wait for so many bytes."""
        await self.until(lambda recorder: len(recorder.data) >= count)
        return self.data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.note("data", data)

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost", exc)

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")


class Buffered(Recorder, asyncio.BufferedProtocol):
    """The same over a buffer of our own; what it notes is what arrived in the buffer."""

    def __init__(self, size: int = 1000, **options: bool) -> None:
        super().__init__(**options)
        self.buffer = bytearray(size)
        self.hints: list[int] = []

    def get_buffer(self, sizehint: int) -> Any:
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.note("data", bytes(self.buffer[:nbytes]))


class Echo(Recorder):
    """Sends back what it receives."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


@asynccontextmanager
async def serving(factory: Callable[[], Any], **options: Any) -> AsyncIterator[tuple[str, int]]:
    """A TCP server on a free port; gives its address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


@asynccontextmanager
async def linked(client: Any = None, server: Any = None) -> AsyncIterator[tuple[Any, Any]]:
    """Two protocols at the two ends of a TCP connection, aborted at the end if they are still open."""
    loop = asyncio.get_running_loop()
    client, server = client or Recorder(), server or Recorder()
    async with serving(lambda: server) as address:
        await loop.create_connection(lambda: client, *address)
        await server.until("made")
    try:
        yield client, server
    finally:
        for end in (client, server):
            # asyncio's abort() fails after a close() that had something left to send.
            if "lost" not in end.names:
                end.transport.abort()
        for end in (client, server):
            await end.until("lost")


async def override_methods(writer: asyncio.StreamWriter) -> tuple[Callable[[bytes], None], list[Any]]:
    """Put methods of one's own on a writer's transport: its own write, and what they are asked."""
    transport: Any = writer.transport
    plain, done = transport.write, []
    writer.write(b"a")
    transport.write = lambda data: (done.append(data), plain(data.upper()))
    writer.write(b"b")
    await writer.drain()
    transport.is_closing = lambda: done.append("is_closing?")
    await writer.drain()
    return plain, done
