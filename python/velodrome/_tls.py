"""TLS connections: asyncio's ``SSLProtocol``, with what happens in every message made native.

``_core.SSLProtocol`` stands before asyncio's class, keeps its state in native fields of the same names and
replaces the methods that read and write. Handshake, shutdown, time-outs and all messages are those of the
asyncio of the Python that runs; what it gets wrong is put right here.
"""

from __future__ import annotations

import _ssl as native_ssl
import asyncio
import os
import ssl
from typing import Any

from . import _core
from ._inherited import sslproto, streams

# What native code leaves to asyncio.
write_appdata = sslproto.SSLProtocol._write_appdata
control_app_writing = sslproto.SSLProtocol._control_app_writing
control_ssl_reading = sslproto.SSLProtocol._control_ssl_reading
transport_write = sslproto._SSLProtocolTransport.write
transport_writelines = sslproto._SSLProtocolTransport.writelines

# asyncio's max_size: what a transport that is not ours reads at a time.
_FOREIGN_BUFFER = 256 * 1024

_FLUSHING = sslproto.SSLProtocolState.FLUSHING

# The interpreter's own half of the module ``ssl``.
_ssl: Any = native_ssl

_READ, _WRITE = ssl.SSLObject.read, ssl.SSLObject.write


class SSLProtocol(_core.SSLProtocol, sslproto.SSLProtocol):  # type: ignore[misc]
    """A TLS connection between a transport and a protocol."""

    _ssl_buffer: bytearray
    _ssl_buffer_view: memoryview[int]

    # asyncio's constructor allocates a buffer of this size. Transports of ours lend theirs.
    max_size = 0

    def get_buffer(self, n: int) -> Any:
        """Lend a buffer to a transport that is not ours."""
        if not self._ssl_buffer:
            self._ssl_buffer = bytearray(_FOREIGN_BUFFER)
            self._ssl_buffer_view = memoryview(self._ssl_buffer)
        return self._ssl_buffer_view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what such a transport has read."""
        self._receive(self._ssl_buffer_view[:nbytes])

    def _get_app_transport(self) -> Any:
        transport = super()._get_app_transport()
        if type(transport) is sslproto._SSLProtocolTransport:
            _core.become_instance(transport, _core.SSLTransport)
        return transport

    def eof_received(self) -> bool | None:
        """Keep the transport below while an application that has paused is owed data."""
        keeps_open = super().eof_received()
        return True if self._state is _FLUSHING else keeps_open

    def _start_shutdown(self) -> None:
        # From now on what an application does not take is dropped, as in asyncio.
        self._discards = True
        waits = self._state is _FLUSHING and self._app_reading_paused
        super()._start_shutdown()
        if waits:
            # The peer has ended first. asyncio's close() then does nothing: the connection stays for ever.
            self._do_flush()

    def _do_flush(self) -> None:
        # asyncio drops what an application has not read that pauses again, or whose buffer is small.
        if self._owes_data():
            return
        self._do_read()
        # The application may have aborted, or paused: that is no error, and no end yet.
        if self._state is _FLUSHING and not self._owes_data():
            self._set_state(sslproto.SSLProtocolState.SHUTDOWN)
            self._do_shutdown()

    def _owes_data(self) -> bool:
        return self._app_reading_paused and not self._discards and self._has_unread()

    def _do_write(self) -> None:
        # Python code that OpenSSL reports to may write: that is for the loop in progress to send.
        if self._writing:
            return
        self._writing = True
        try:
            super()._do_write()
        finally:
            self._writing = False

    def _fatal_error(self, exc: Any, message: str = "Fatal error on transport") -> None:
        if isinstance(exc, ssl.SSLError) and self._transport is not None:
            # OpenSSL has written an alert that says why; the peer is to hear it.
            self._flush()
        super()._fatal_error(exc, message)

    # Python 3.11's takes no exception, and loses the one that ended a connection inside another.
    def _abort(self, exc: BaseException | None = None) -> None:
        self._set_state(sslproto.SSLProtocolState.UNWRAPPED)
        if self._transport is not None:
            self._transport._force_close(exc)


async def insert(
    ssl_protocol: SSLProtocol, transport: Any, protocol: Any, waiter: asyncio.Future[None]
) -> Any:
    """Put a connection between a transport and its protocol, and wait until it has shaken hands."""
    _take_over_buffered(ssl_protocol, protocol)
    # Nothing may arrive before the connection knows its transport.
    transport.pause_reading()
    transport.set_protocol(ssl_protocol)
    loop = waiter.get_loop()
    begin = loop.call_soon(ssl_protocol.connection_made, transport)
    resume = loop.call_soon(transport.resume_reading)
    try:
        await waiter
    except BaseException:
        transport.close()
        begin.cancel()
        resume.cancel()
        raise
    finally:
        del waiter  # its exception's traceback has this frame
    return ssl_protocol._app_transport


def _take_over_buffered(ssl_protocol: SSLProtocol, protocol: Any) -> None:
    """Give OpenSSL what a stream reader has received and nobody has read.

    The begin of the peer's handshake, if all is well. Were it anything else and left there, the program would
    take what came in plain text (from anybody on the way) for something that came over TLS.
    """
    reader = protocol._stream_reader if isinstance(protocol, streams.StreamReaderProtocol) else None
    if reader is not None and reader._buffer:
        ssl_protocol._feed(bytes(reader._buffer))
        reader._buffer.clear()
        reader._maybe_resume_transport()


def parts(sslobj: Any) -> tuple[Any, Any]:
    """Return whose ``read`` and ``write`` to call, and the context if OpenSSL may be driven instead."""
    methods = (getattr(getattr(sslobj, name, None), "__func__", None) for name in ("read", "write"))
    if not isinstance(sslobj, ssl.SSLObject) or tuple(methods) != (_READ, _WRITE):
        return sslobj, None
    inner: Any = sslobj._sslobj  # type: ignore[attr-defined]
    return inner, inner.context if _is_unobserved(inner.context) and _direct() else None


def _is_unobserved(context: Any) -> bool:
    """Whether OpenSSL reports nothing to Python while it reads and writes.

    What goes wrong in such a callback is kept in Python's object until the call that it made returns.
    """
    return context._msg_callback is None and context.keylog_filename is None


_learnt: bool | None = None


def _direct() -> bool:
    """Whether OpenSSL can be driven directly: tried on a sample when the first connection is made."""
    global _learnt
    if _learnt is None:
        _learnt = _learn()
    return _learnt


def _learn() -> bool:
    path = getattr(_ssl, "__file__", None)
    if path is None:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = "sample.velodrome.invalid"
    inner: Any = context.wrap_bio(incoming, outgoing, server_hostname=name)._sslobj  # type: ignore[attr-defined]
    sample = [inner, context, incoming, outgoing]
    return _core.learn_openssl(os.fsencode(path), _ssl.OPENSSL_VERSION_NUMBER, sample, name.encode())
