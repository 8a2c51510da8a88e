"""The cold side of datagram transports: what is found out once, and what only the socket module knows."""

from __future__ import annotations

import asyncio
import collections
import socket

from ._inherited import selector_events, trsock

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any


class Base(asyncio.Transport, asyncio.DatagramTransport):
    """What asyncio's datagram transports are; the native type stands on it."""

    __slots__ = ()


_NATIVE_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


def is_native(sock: Any) -> bool:
    """Whether native code understands a socket's addresses, and nobody has methods of their own for it."""
    return type(sock) is socket.socket and sock.family in _NATIVE_FAMILIES


def _probe() -> tuple[bool, int]:
    """Ask asyncio's own transport whether empty datagrams are sent, and what each counts while it is queued.

    Python 3.12.2 and before drop them and count nothing.
    """
    transport = object.__new__(selector_events._SelectorDatagramTransport)
    transport._address = None
    transport._conn_lost = transport._buffer_size = 0
    transport._protocol_paused, transport._high_water = False, 1 << 20
    transport._buffer = collections.deque([(b"", None)])
    transport.sendto(b"", ("", 0))
    return len(transport._buffer) > 1, transport._buffer_size


try:
    EMPTY_IS_SENT, HEADER_SIZE = _probe()
except Exception:  # a Python whose transport keeps other books: as the newest known
    EMPTY_IS_SENT, HEADER_SIZE = True, 8


def facts(sock: socket.socket, extra: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
    """What get_extra_info() tells of a socket, and whether it has a peer that can be named."""
    known: dict[str, Any] = {} if extra is None else extra
    known["socket"] = trsock.TransportSocket(sock)
    try:
        known["sockname"] = sock.getsockname()
    except OSError:
        known["sockname"] = None
    if "peername" not in known:
        try:
            known["peername"] = sock.getpeername()
        except OSError:
            known["peername"] = None
    return known, bool(known["peername"])


def check_address(given: Any, only: Any) -> None:
    """Refuse an address that is not the one that the endpoint was made for."""
    if given not in (None, only):
        raise ValueError(f"Invalid address: must be None or {only}")


def send_failed(transport: Any, exception: BaseException) -> None:
    """Tell of a datagram that could not be sent; what is no error of the system ends the transport."""
    if isinstance(exception, OSError):
        transport.get_protocol().error_received(exception)
    else:
        transport._fatal_error(exception, "Fatal write error on datagram transport")
