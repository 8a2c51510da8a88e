"""The parts of asyncio that Velodrome stands on and that its type stubs do not mention.

One place names them all: what a new Python could move or rename is looked for here first.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events as _base_events
from asyncio import constants as _constants
from asyncio import events as _events
from asyncio import exceptions as _exceptions
from asyncio import format_helpers as _format_helpers
from asyncio import futures as _futures
from asyncio import selector_events as _selector_events
from asyncio import sslproto as _sslproto
from asyncio import streams as _streams
from asyncio import trsock as _trsock
from asyncio import unix_events as _unix_events

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any

base_events: Any = _base_events
constants: Any = _constants
exceptions: Any = _exceptions
format_helpers: Any = _format_helpers
futures: Any = _futures
selector_events: Any = _selector_events
sslproto: Any = _sslproto
streams: Any = _streams
trsock: Any = _trsock
unix_events: Any = _unix_events

# Until 3.13 a program may choose how asyncio waits for child processes.
child_watchers = hasattr(_unix_events, "AbstractChildWatcher")

# Newer releases place a file even if nothing of it was sent; the earlier ones are told how much was.
_place_file: Any = _unix_events._UnixSelectorEventLoop._sock_sendfile_update_filepos  # type: ignore[attr-defined]
sendfile_always_moves = _place_file.__code__.co_argcount == 3

# What call_soon_threadsafe() returns from 3.14 on.
ThreadSafeHandle: Any = getattr(_events, "_ThreadSafeHandle", None)

if TYPE_CHECKING:

    class SelectorEventLoop(asyncio.SelectorEventLoop):
        """asyncio's loop for Unix, with its private methods."""

        _internal_fds: int
        _ssock: Any
        _csock: Any
        _signal_handlers: dict[int, Any]

        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _check_running(self) -> None: ...
        def _check_sendfile_params(self, sock: Any, file: Any, offset: int, count: int | None) -> None: ...
        def _child_watcher_callback(self, pid: int, returncode: int, transp: Any) -> None: ...
        def _close_self_pipe(self) -> None: ...
        async def _create_connection_transport(self, *args: Any, **kwargs: Any) -> Any: ...
        def _ensure_fd_no_transport(self, fd: Any) -> None: ...
        def _getaddrinfo_debug(self, *args: Any) -> Any: ...
        def _make_datagram_transport(self, *args: Any, **kwargs: Any) -> Any: ...
        def _make_self_pipe(self) -> None: ...
        def _make_socket_transport(self, *args: Any, **kwargs: Any) -> Any: ...
        def _make_ssl_transport(self, *args: Any, **kwargs: Any) -> Any: ...
        def _process_self_data(self, data: bytes) -> None: ...
        def _read_from_self(self) -> None: ...
        async def _sendfile_native(self, *args: Any) -> int: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        async def _sock_sendfile_native(
            self, sock: Any, file: Any, offset: int, count: int | None
        ) -> int: ...
        def _start_serving(self, *args: Any, **kwargs: Any) -> None: ...
        def _stop_serving(self, sock: Any) -> None: ...

else:
    SelectorEventLoop = asyncio.SelectorEventLoop
