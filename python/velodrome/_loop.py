"""The event loop: native where the clock ticks, the interpreter's own asyncio where it does not.

``_core.Loop`` schedules, runs turns, watches descriptors and carries streams. What is cold
(``create_server``, ``create_connection``, executors, exception handlers, signals, …) is inherited from the
asyncio of the Python that runs, so it is that version's in every detail.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import contextvars
import os
import socket
import sys
import threading
import time
import weakref
from asyncio import events, tasks

# _support is native code's to call, which may be when no descriptor is left to import it with.
from . import _core, _datagrams, _probe, _processes, _sendfile, _signals, _support  # noqa: F401
from ._inherited import SelectorEventLoop, base_events, futures

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any

# A look-up blocks a thread for as long as a name server takes: enough that a few dead ones do not stop the
# others, and few enough that a burst of look-ups does not exhaust the process.
_RESOLVER_THREADS = 16

_HAS_RUN_FOREVER_SETUP = hasattr(base_events.BaseEventLoop, "_run_forever_setup")

# A free-threaded interpreter has switched the GIL on for the extension, unless its user forbade that.
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError("velodrome needs the GIL: run without -X gil=0 and PYTHON_GIL=0")

_core.learn(*_probe.samples(), _probe.tasks_take_any_keyword(), _probe.servers_keep_weak_sets())


# Epoll is shared with a forked child, which must not take the parent's descriptors out of it.
_all_loops: weakref.WeakSet[EventLoop] = weakref.WeakSet()


def _disown_all() -> None:
    for loop in list(_all_loops):
        loop._disown()


os.register_at_fork(after_in_child=_disown_all)


class _Selector:
    """Stands where asyncio's loops have their selector.

    It tells what is watched, for the repr of transports, and takes a turn for nest_asyncio.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop

    def get_key(self, fd: int) -> Any:
        watched = self._loop._watched(fd)
        if not watched:
            raise KeyError(fd)
        return _Key(watched)

    def select(self, timeout: float | None = None) -> list[Any]:
        """Run one turn, and leave nothing to do: this is what nest_asyncio's own turn asks.

        The task that runs another loop inside itself steps aside, as nest_asyncio has it do.
        """
        task = tasks.current_task(self._loop)
        if task is not None:
            tasks._leave_task(self._loop, task)
        try:
            _core.Loop._run_once(self._loop)
        finally:
            if task is not None:
                tasks._enter_task(self._loop, task)
        return []

    def close(self) -> None:
        """Nothing of its own to close."""


class _Key:
    def __init__(self, watched: int) -> None:
        self.events = watched


# The native methods stand before asyncio's, whose types differ in names and in what they leave open.
class EventLoop(_core.Loop, SelectorEventLoop):  # type: ignore[misc]
    """An asyncio event loop on Velodrome's engine; see ``asyncio.AbstractEventLoop`` for its methods."""

    # All that asyncio's constructors set, so that the instance has no dictionary until somebody else sets
    # something. Where there is one, CPython 3.13 looks there for every method first and never learns the way
    # to the class: 266 instructions more for each `loop.call_soon`, which takes 3,200 with its turn.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_current_handle",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_internal_fds",
        "_old_agen_hooks",
        "_resolver",
        "_selector",
        "_signal_handlers",
        "_ssock",
        "_timer_cancelled_count",
        "_transports",
        "_unix_server_sockets",
        "_wakeup_before",
        "_watcher",
        "slow_callback_duration",
    )

    def __init__(self) -> None:
        self._ssock: Any = None
        self._csock: Any = None
        self._wakeup_before = -1
        self._resolver: concurrent.futures.ThreadPoolExecutor | None = None
        super().__init__(_Selector(self))  # type: ignore[arg-type]
        for name in ("time", "call_at"):
            if getattr(type(self), name) is not getattr(_core.Loop, name):
                self._use_own(name)
        _all_loops.add(self)

    # nest_asyncio replaces _run_once, on the class, by a turn of its own over these two. There is nothing in
    # them for it: what waits and what is due runs natively while it asks the selector.

    @property
    def _ready(self) -> Any:
        return [] if self._is_nested() else super()._ready

    @_ready.setter
    def _ready(self, value: Any) -> None:
        """Only asyncio's constructor sets it."""

    @property
    def _scheduled(self) -> Any:
        return [] if self._is_nested() else super()._scheduled

    @_scheduled.setter
    def _scheduled(self, value: Any) -> None:
        """Only asyncio's constructor sets it."""

    def _is_nested(self) -> bool:
        return hasattr(type(self), "_nest_patched")

    # -- life cycle

    def run_forever(self) -> None:
        """Run until ``stop()`` is called."""
        self._run_forever_setup()
        try:
            with _signals.Wakeup(self) if _on_main_thread() else _RunningElsewhere(self):
                self._run()
        finally:
            self._run_forever_cleanup()

    if not _HAS_RUN_FOREVER_SETUP:

        def _run_forever_setup(self) -> None:
            self._check_closed()
            self._check_running()
            self._set_coroutine_origin_tracking(self._debug)
            self._old_agen_hooks = sys.get_asyncgen_hooks()
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)
            events._set_running_loop(self)

        def _run_forever_cleanup(self) -> None:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*self._old_agen_hooks)

    def close(self) -> None:
        """Close the loop: what still waits is dropped."""
        try:
            super().close()
        finally:
            # Off the main thread it raises for handlers of signals, which is the last thing it does.
            if self.is_closed():
                self._let_go()

    def _let_go(self) -> None:
        if self._resolver is not None:
            self._resolver.shutdown(wait=False)
            self._resolver = None
        self._shut()

    # -- the pipe through which signals arrive, made when the first one may come

    def _make_self_pipe(self) -> None:
        """Not yet: see ``_open_self_pipe``. Threads wake the loop through the engine."""

    def _open_self_pipe(self) -> int:
        if self._csock is None:
            super()._make_self_pipe()
            self._mark_internal(self._ssock.fileno())
        fd: int = self._csock.fileno()
        return fd

    def _close_self_pipe(self) -> None:
        if self._csock is None:
            return
        if self._ssock.fileno() >= 0:
            super()._close_self_pipe()
        else:
            # Of a dropped loop, the garbage collector may finalize the sockets first: they are younger.
            self._ssock = self._csock = None
            self._internal_fds -= 1

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        """Call ``callback(*args)`` from the loop when the signal arrives."""
        self._check_closed()
        self._open_self_pipe()
        super().add_signal_handler(sig, callback, *args)

    def _process_self_data(self, data: bytes) -> None:
        super()._process_self_data(data)
        _signals.pass_on(data, self._wakeup_before)

    # -- transports

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        transport = self._transport_of(fd)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")
        super()._ensure_fd_no_transport(fd)

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        context: contextvars.Context | None = None,
    ) -> Any:
        if not _asks_the_kernel(sock, _CONVERSING):
            return super()._make_socket_transport(
                sock, protocol, waiter, extra=extra, server=server, **_given(context=context)
            )
        self._ensure_fd_no_transport(sock)
        transport = self._open_stream(sock, protocol, extra, server, context)
        if waiter is not None:
            # After connection_made, which has just been queued.
            self.call_soon(futures._set_result_unless_cancelled, waiter, None, context=context)
        return transport

    def _make_datagram_transport(
        self, sock: socket.socket, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> Any:
        if not _datagrams.is_native(sock):
            return super()._make_datagram_transport(sock, protocol, address, waiter, extra)
        self._ensure_fd_no_transport(sock)
        transport = self._open_datagram(sock, protocol, address, extra)
        if waiter is not None:
            # After connection_made, which has just been queued.
            self.call_soon(futures._set_result_unless_cancelled, waiter, None)
        return transport

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        context: contextvars.Context | None = None,
        **timeouts: Any,
    ) -> Any:
        if not _asks_the_kernel(rawsock, _CONVERSING):
            return super()._make_ssl_transport(
                rawsock,
                protocol,
                sslcontext,
                waiter,
                server_side=server_side,
                server_hostname=server_hostname,
                extra=extra,
                server=server,
                **_given(context=context),
                **timeouts,
            )
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol = _tls().SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        self._open_stream(rawsock, ssl_protocol, extra, server, context)
        return ssl_protocol._app_transport

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Put TLS between a transport and its protocol; return the transport to write to from now on."""
        tls = _tls()
        if not isinstance(sslcontext, tls.ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        ssl_protocol = tls.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=False,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        try:
            return await tls.insert(ssl_protocol, transport, protocol, waiter)
        finally:
            del waiter  # its exception's traceback has this frame

    async def create_connection(
        self, protocol_factory: Any, *args: Any, sock: socket.socket | None = None, **kwargs: Any
    ) -> Any:
        """Connect to a host and port, or take a connected socket over; see asyncio's documentation."""
        if sock is None:
            protocol_factory = _ForOwnSocket(protocol_factory)
        return await super().create_connection(protocol_factory, *args, sock=sock, **kwargs)

    async def create_unix_connection(
        self, protocol_factory: Any, path: Any = None, *, sock: socket.socket | None = None, **kwargs: Any
    ) -> Any:
        """Connect to a Unix socket, or take a connected one over; see asyncio's documentation."""
        if sock is None:
            protocol_factory = _ForOwnSocket(protocol_factory)
        return await super().create_unix_connection(protocol_factory, path, sock=sock, **kwargs)

    async def _create_connection_transport(
        self, sock: socket.socket, protocol_factory: Any, *args: Any, **kwargs: Any
    ) -> Any:
        try:
            return await super()._create_connection_transport(sock, protocol_factory, *args, **kwargs)
        except BaseException:
            # asyncio leaves a socket of its own to the collector when the factory raises.
            if isinstance(protocol_factory, _ForOwnSocket) and not protocol_factory.succeeded:
                sock.close()
            raise

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if sslcontext is not None or not _asks_the_kernel(sock, ("accept",)):
            super()._start_serving(protocol_factory, sock, sslcontext, server, backlog, *args, **kwargs)
        else:
            # The server's context, of which each connection has its own copy: 3.15 and later.
            self._listen(sock, protocol_factory, server, backlog, kwargs.get("context"))

    def _stop_serving(self, sock: socket.socket) -> None:
        self._unlisten(sock)
        super()._stop_serving(sock)

    async def _make_subprocess_transport(self, protocol: Any, *args: Any, **kwargs: Any) -> Any:
        watcher = _processes.chosen_watcher()
        with watcher or contextlib.nullcontext():
            if watcher is not None and not watcher.is_active():
                raise RuntimeError(
                    "asyncio.get_child_watcher() is not activated, subprocess support is not installed."
                )
            waiter = self.create_future()
            transport = _processes.SubprocessTransport(self, protocol, *args, waiter=waiter, **kwargs)
            try:
                transport.watch(watcher)
                await waiter
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                transport.close()
                # The pipes may still be on their way, and nobody waits for them any more.
                waiter.cancel()
                await transport._wait()
                raise
        _processes.adopt_streams(protocol)
        return transport

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        if not isinstance(transp, _core.StreamTransport):
            return await super()._sendfile_native(transp, file, offset, count)
        self._check_sendfile_params(transp._sock, file, offset, count)
        resume_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            return await _sendfile.to_transport(transp, file, offset, count)
        finally:
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()

    async def _sock_sendfile_native(self, sock: Any, file: Any, offset: int, count: int | None) -> int:
        return await _sendfile.to_socket(self, sock, file, offset, count)

    # -- names

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """Resolve a name on a thread of the loop's own; a numeric address at once."""
        if _is_numeric(host) and _is_numeric_port(port):
            # The C library answers without waiting for anyone.
            flags |= socket.AI_NUMERICHOST
            return socket.getaddrinfo(host, port, family, type, proto, flags)
        look_up = self._getaddrinfo_debug if self._debug else socket.getaddrinfo
        return await self._resolve(look_up, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """Resolve an address on a thread of the loop's own."""
        return await self._resolve(socket.getnameinfo, sockaddr, flags)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run ``func`` on a thread, which must get at the interpreter's lock."""
        self._expect_thread()
        return super().run_in_executor(executor, func, *args)

    def _resolve(self, look_up: Any, *args: Any) -> Any:
        if self._resolver is None:
            self._resolver = concurrent.futures.ThreadPoolExecutor(
                _RESOLVER_THREADS, thread_name_prefix="velodrome-resolver"
            )
        return self.run_in_executor(self._resolver, look_up, *args)


_core.learn_class(EventLoop)


class _ForOwnSocket:
    """The protocol factory of a connection whose socket the loop made itself."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.succeeded = False

    def __call__(self) -> Any:
        protocol = self._factory()
        self.succeeded = True
        return protocol


class _RunningElsewhere:
    """Knows the loops that run outside the main thread, to stop those of daemon threads before the end."""

    _loops: weakref.WeakSet[EventLoop] = weakref.WeakSet()

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._loops.add(self._loop)

    def __exit__(self, *exc_info: object) -> None:
        self._loops.discard(self._loop)

    @classmethod
    def park(cls) -> None:
        """At exit: let each finish its turn, then sleep for good; see ``park`` in native/running.rs."""
        deadline = time.monotonic() + _PARKING_SECONDS
        for loop in list(cls._loops):
            loop._ask_to_park()
            while not loop._is_parked() and time.monotonic() < deadline:
                time.sleep(0.001)


# A callback that takes longer than this on a daemon thread is left behind.
_PARKING_SECONDS = 1.0


def _nobody_comes_after() -> bool:
    """Whether all that runs at exit runs before us, but for what ``logging`` does.

    Handlers run in the reverse order, and one that was registered earlier may ask a loop something: parked,
    it would not answer. Then what is left is the guard inside each call (``kit/calls.rs``).
    """
    registered: int = getattr(atexit, "_ncallbacks", int)()
    return registered <= 1


if sys.version_info < (3, 14) and _nobody_comes_after():  # later ones let such threads sleep by themselves
    atexit.register(_RunningElsewhere.park)


# What asyncio's stream transports call of their socket, and native code asks the kernel for.
_CONVERSING = ("recv", "recv_into", "send", "sendmsg", "shutdown", "getsockname", "getpeername")


def _asks_the_kernel(sock: Any, names: tuple[str, ...]) -> bool:
    """Whether the class of a socket has no such methods of its own, past which native code would go."""
    kind = type(sock)
    if kind is socket.socket:
        return True
    plain = ((name, getattr(socket.socket, name, None)) for name in names)
    return all(getattr(kind, name, method) is method for name, method in plain)


def _given(**options: Any) -> dict[str, Any]:
    """The options that are not None: others this Python's asyncio may not know."""
    return {name: value for name, value in options.items() if value is not None}


def _tls() -> Any:
    """The module for TLS, which a Python without ``ssl`` does not have: everything else works there."""
    from . import _tls

    return _tls


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_numeric(host: Any) -> bool:
    if host is None:
        return True
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def _is_numeric_port(port: Any) -> bool:
    if port is None or isinstance(port, int):
        return True
    return isinstance(port, (str, bytes)) and port.isdigit()
