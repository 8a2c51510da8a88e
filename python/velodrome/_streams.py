"""asyncio's streams, made native in place when a transport begins to feed them.

Only what asyncio itself made is touched: an exact ``StreamReaderProtocol`` with an exact ``StreamReader``,
nothing overridden on class or instance. The reader and, on the side of a server, the writer get a subclass
with native methods; their state stays in the same attributes, so whoever looks finds what asyncio would have
put there.
"""

from __future__ import annotations

import functools

from . import _core
from ._inherited import exceptions, streams

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any

# asyncio's own coroutines, for what native code leaves to them.
feed_data = streams.StreamReader.feed_data
read = streams.StreamReader.read
readexactly = streams.StreamReader.readexactly
readline = streams.StreamReader.readline
readuntil = streams.StreamReader.readuntil
drain = streams.StreamWriter.drain

_DATA_RECEIVED = streams.StreamReaderProtocol.data_received
_READER_METHODS = {
    name: vars(streams.StreamReader).get(name)
    for name in (
        "exception",
        "feed_data",
        "feed_eof",
        "read",
        "readexactly",
        "readline",
        "readuntil",
        "set_exception",
        "_maybe_resume_transport",
        "_wait_for_data",
        "_wakeup_waiter",
    )
}
_READER_ATTRIBUTES = ("_buffer", "_eof", "_exception", "_limit", "_loop", "_paused", "_transport", "_waiter")
_WRITER_METHODS = {name: vars(streams.StreamWriter).get(name) for name in ("write", "drain")}


class _QuietLoop:
    """As much of a loop as a stream reader needs to be made."""

    def get_debug(self) -> bool:
        return False


def _can_be_native() -> bool:
    """Try on a sample whether this Python's readers are what native code takes them for."""
    try:
        sample = streams.StreamReader(loop=_QuietLoop())
        sample.__class__ = _core.StreamReader
        writer = object.__new__(streams.StreamWriter)
        writer._transport = _Closing()
        writer.__class__ = _core.StreamWriter
    except TypeError:
        return False
    known = all(name in vars(sample) for name in _READER_ATTRIBUTES) and type(sample._buffer) is bytearray
    return known and None not in (*_READER_METHODS.values(), *_WRITER_METHODS.values())


class _Closing:
    """As much of a transport as a stream writer asks when it goes."""

    def is_closing(self) -> bool:
        return True


_NATIVE = _can_be_native()


def adopt(protocol: Any) -> Any:
    """Make a protocol's streams native, if they are asyncio's own; return its weak reference to the reader.

    None if they are not.
    """
    if not _NATIVE or type(protocol) is not streams.StreamReaderProtocol:
        return None
    if getattr(protocol.data_received, "__func__", None) is not _DATA_RECEIVED:
        return None
    reader = protocol._stream_reader
    adopt_reader(reader)
    if type(reader) is not _core.StreamReader:
        return None
    callback = protocol._client_connected_cb
    if callback is not None and protocol._transport is None:
        protocol._client_connected_cb = functools.partial(_connected, protocol, callback)
    return protocol._stream_reader_wr


def adopt_reader(reader: Any) -> None:
    """Make a stream reader native, if it is as asyncio made it."""
    if _NATIVE and type(reader) is streams.StreamReader and _is_as_made(reader, _READER_METHODS):
        _core.become_instance(reader, _core.StreamReader)


def _is_as_made(stream: Any, methods: dict[str, Any]) -> bool:
    return all(getattr(getattr(stream, name), "__func__", None) is made for name, made in methods.items())


def _connected(protocol: Any, callback: Any, reader: Any, writer: Any) -> Any:
    """Stand in for a server's callback until it is called: that is when its writer is to be seen."""
    protocol._client_connected_cb = callback
    if type(writer) is streams.StreamWriter and _is_as_made(writer, _WRITER_METHODS):
        _core.become_instance(writer, _core.StreamWriter)
    return callback(reader, writer)


def line_too_long(message: str, consumed: int) -> None:
    """Raise what ``readline`` raises."""
    try:
        raise exceptions.LimitOverrunError(message, consumed)
    except exceptions.LimitOverrunError as error:
        raise ValueError(error.args[0])  # noqa: B904  (asyncio's words: the cause is the context)
