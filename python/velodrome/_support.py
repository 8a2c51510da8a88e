"""What native code calls in Python: reports in asyncio's words, and objects that only Python can make.

Nothing here runs for a message that arrives and is answered; it is for errors, debug mode and set-up.
"""

from __future__ import annotations

import asyncio
import socket
import warnings
import weakref
from asyncio.log import logger

from ._inherited import base_events, constants, format_helpers, selector_events, trsock

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any

create_task = base_events.BaseEventLoop.create_task
sock_recv = selector_events.BaseSelectorEventLoop.sock_recv
sock_recv_into = selector_events.BaseSelectorEventLoop.sock_recv_into
sock_recvfrom = selector_events.BaseSelectorEventLoop.sock_recvfrom
sock_recvfrom_into = selector_events.BaseSelectorEventLoop.sock_recvfrom_into
sock_sendall = selector_events.BaseSelectorEventLoop.sock_sendall
sock_sendto = selector_events.BaseSelectorEventLoop.sock_sendto
sock_accept = selector_events.BaseSelectorEventLoop.sock_accept
socket_fileno = socket.socket.fileno
# The class and its method from one moment: nest_asyncio puts another class in its place.
Future = asyncio.Future
set_result = Future.set_result
SENDFILE_MODE = constants._SendfileMode.TRY_NATIVE

# Python 3.12.1 and before count the transports of a server; later ones keep them.
_SERVER_KEEPS_TRANSPORTS = base_events.Server._attach.__code__.co_argcount > 1


Server = base_events.Server
SERVER_ATTACH = Server._attach
SERVER_DETACH = Server._detach
WeakSet = weakref.WeakSet


def attach(server: Any, transport: Any) -> None:
    """Tell a server of a connection."""
    if _SERVER_KEEPS_TRANSPORTS:
        server._attach(transport)
    else:
        server._attach()


def detach(server: Any, transport: Any, with_transport: bool = _SERVER_KEEPS_TRANSPORTS) -> None:
    """Tell a server that a connection is gone, perhaps when this module has lost what it had found out."""
    if with_transport:
        server._detach(transport)
    else:
        server._detach()


def callback_failed(handle: Any, exception: BaseException) -> None:
    """Report what the callback of a handle raised, as ``asyncio.Handle._run`` does."""
    source = format_helpers._format_callback_source(handle._callback, handle._args)
    context = {"message": f"Exception in callback {source}", "exception": exception, "handle": handle}
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    handle._loop.call_exception_handler(context)


def slow_callback(handle: Any, seconds: float) -> None:
    """Log a callback that held the loop up."""
    logger.warning("Executing %s took %.3f seconds", base_events._format_handle(handle), seconds)


def log_debug(message: str, subject: Any) -> None:
    """Log a line of debug mode about a transport."""
    logger.debug(message if "%r" in message else f"%r: {message}", subject)


def fatal_error(transport: Any, exception: BaseException, message: str) -> None:
    """Report the exception for which a transport is closed; errors of the system are no news."""
    loop = transport._loop
    if isinstance(exception, OSError):
        if loop is not None and loop.get_debug():
            logger.debug("%r: %s", transport, message, exc_info=exception)
    elif loop is not None:
        protocol_failed(transport, exception, message)


def protocol_failed(transport: Any, exception: BaseException, message: str) -> None:
    """Report an exception that a protocol's callback raised."""
    transport._loop.call_exception_handler(
        {
            "message": message,
            "exception": exception,
            "transport": transport,
            "protocol": transport.get_protocol(),
        }
    )


def too_many_writes() -> None:
    """Warn of a program that goes on writing to a lost connection."""
    logger.warning("socket.send() raised exception.")


def unclosed_transport(transport: Any, warn: Any = warnings.warn) -> None:
    """Warn of a transport that nobody closed, perhaps when this module has lost what it had imported."""
    warn(f"unclosed transport {transport!r}", ResourceWarning, source=transport, stacklevel=2)


def fail_empty_waiter(waiter: asyncio.Future[None]) -> None:
    """End the wait of a sendfile whose connection is gone."""
    if not waiter.done():
        waiter.set_exception(ConnectionError("Connection is closed by peer"))


def accept_exhausted(loop: Any, sock: Any, exception: OSError) -> None:
    """Report that descriptors have run out, or that every connection is forbidden."""
    forbidden = isinstance(exception, PermissionError)
    loop.call_exception_handler(
        {
            "message": f"socket.accept() {'not permitted' if forbidden else 'out of system resource'}",
            "exception": exception,
            "socket": trsock.TransportSocket(sock),
        }
    )


def accept_failed(loop: Any, sock: Any, exception: OSError) -> None:
    """Report that a listening socket failed."""
    loop.call_exception_handler(
        {
            "message": f"Exception in accept() on {sock!r}",
            "exception": exception,
            "socket": trsock.TransportSocket(sock),
        }
    )


def accepted_failed(loop: Any, exception: BaseException, protocol: Any) -> None:
    """Report, in debug mode, that an accepted connection got no transport."""
    context = {
        "message": "Error on transport creation for incoming connection",
        "exception": exception,
    }
    if protocol is not None:
        context["protocol"] = protocol
    loop.call_exception_handler(context)


def socket_over(fd: int) -> socket.socket:
    """Make a socket object over a transport's descriptor, detached before the transport closes it."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def closed_socket(family: int) -> socket.socket | None:
    """Make a socket object such as a stream transport has at the end; None where none can be made."""
    proto = 0 if family == socket.AF_UNIX else socket.IPPROTO_TCP
    try:
        sock = socket.socket(family, socket.SOCK_STREAM, proto)
    except OSError:
        return None
    sock.close()
    return sock
