"""Child processes: asyncio's transport and the standard library's ``Popen``, watched and signalled by pidfd.

A pidfd means one process for ever, where its number is given to the next one as soon as somebody has
reaped it: so no signal reaches a stranger. It needs no signal handler, no thread and no loop in the main
thread. Where there is none (another kernel, a sandbox, no descriptor left) a thread waits for the child,
without reaping it.

The child is reaped by ``Popen.poll``, under the lock that the standard library's own ``wait`` takes: exactly
once, and whoever does it leaves the return code for the others.

A child watcher that the program has set (``asyncio.set_child_watcher``, until 3.13) is told of the child, and
reaps it; signals go through the pidfd all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import threading
import warnings
from asyncio import events
from asyncio.log import logger

from . import _streams
from ._inherited import child_watchers, unix_events

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any

_STANDARD: Any = subprocess.Popen

# What asyncio's child watchers report of a child that somebody else has reaped.
_UNKNOWN = 255

# asyncio's own choices, when nobody has chosen: they do nothing that we do not.
_DEFAULT_WATCHERS = tuple(
    getattr(unix_events, name)
    for name in ("ThreadedChildWatcher", "PidfdChildWatcher")
    if hasattr(unix_events, name)
)

# Whoever puts a Popen of his own in the place of the standard library's gets asyncio's simplest watcher.
_other_popens: Any = getattr(unix_events, "_ThreadedChildWatcher", None) or unix_events.ThreadedChildWatcher
_other_popens = _other_popens()

_thread_numbers = itertools.count()


def chosen_watcher() -> Any:
    """The child watcher that the program has set, or None."""
    if not child_watchers:
        return None
    policy: Any = events.get_event_loop_policy()
    watcher = getattr(policy, "_watcher", None)
    if type(policy).get_child_watcher is not unix_events.DefaultEventLoopPolicy.get_child_watcher:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            watcher = policy.get_child_watcher()
    return None if type(watcher) in _DEFAULT_WATCHERS else watcher


class SubprocessTransport(unix_events._UnixSubprocessTransport):  # type: ignore[misc]
    """asyncio's, whose signals go to the child or to nobody."""

    def _start(self, *args: Any, **kwargs: Any) -> None:
        super()._start(*args, **kwargs)
        if type(self._proc) is _STANDARD:
            self._proc._child = _take_charge(self._loop, self._proc.pid)
            self._proc.__class__ = Popen

    def watch(self, watcher: Any) -> None:
        """Have the end of the child reported."""
        if watcher is None and type(self._proc) is not Popen:
            watcher = _other_popens
        if watcher is not None:
            watcher.add_child_handler(self._pid, self._loop._child_watcher_callback, self)
        elif not self._watch_pidfd():
            try:
                _wait_on_a_thread(self)
            except RuntimeError:
                # No more threads either: a child whose end nobody would notice must not live.
                self._proc.kill()
                self._proc.wait()
                self._report()
                raise

    def _watch_pidfd(self) -> bool:
        pidfd = self._proc._child.fileno()
        if pidfd is None:
            return False
        try:
            self._loop._add_reader(pidfd, self._pidfd_ready)
        except OSError:
            return False
        return True

    def _pidfd_ready(self) -> None:
        # Not ended after all: a debugger holds the child, or another thread is about to reap it. Then we are
        # asked again.
        if self._proc.poll() is not None:
            self._loop._remove_reader(self._proc._child.fileno())
            self._report()

    def _waited(self) -> None:
        if self._proc.poll() is not None:
            self._report()
        else:
            self._loop.call_soon(self._waited)

    def _report(self) -> None:
        if self._loop.get_debug():
            logger.debug("process %s exited with returncode %s", self._pid, self._proc.returncode)
        self._loop._child_watcher_callback(self._pid, self._proc.returncode, self)

    def _process_exited(self, returncode: int) -> None:
        if type(self._proc) is Popen:
            self._proc._child.close()
        super()._process_exited(returncode)

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child; nothing happens if it has ended."""
        self._check_proc()
        self._proc.send_signal(signal)

    def terminate(self) -> None:
        """Ask the child to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child."""
        self.send_signal(signal.SIGKILL)


class Popen(subprocess.Popen[bytes]):
    """The standard library's, which has spawned the child already: its class is set afterwards."""

    _child: Any
    _waitpid_lock: Any

    def poll(self) -> int | None:
        """Return how the child ended, or None if it runs."""
        # Another thread may hold the lock for as long as the child runs.
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                self._reap()
            finally:
                self._waitpid_lock.release()
        return self.returncode

    def _reap(self) -> None:
        try:
            if self.returncode is None:
                self.returncode = self._child.reap()
        except ChildProcessError:
            # Somebody else has reaped it, or SIGCHLD is ignored.
            self.returncode = _UNKNOWN
            logger.warning(
                "child process pid %d exit status already read:  will report returncode 255", self.pid
            )

    def send_signal(self, sig: int) -> None:
        """Send a signal to the child; nothing happens if it has ended."""
        # 0 is no signal, but the question whether there is such a process.
        if self.poll() is None and sig != 0:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(sig)


def adopt_streams(protocol: Any) -> None:
    """Make the readers of ``asyncio.create_subprocess_exec`` native."""
    if type(protocol) is asyncio.subprocess.SubprocessStreamProtocol:
        for reader in (protocol.stdout, protocol.stderr):
            _streams.adopt_reader(reader)


class _ByNumber:
    """A child known by its number alone, which stays its own: only who holds its Popen's lock reaps it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def fileno(self) -> None:
        """There is none to wait for."""

    def reap(self) -> int | None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return unix_events.waitstatus_to_exitcode(status) if pid else None

    def send_signal(self, sig: int) -> None:
        os.kill(self._pid, sig)

    def close(self) -> None:
        """Nothing to close."""


def _take_charge(loop: Any, pid: int) -> Any:
    try:
        return loop._open_child(pid)
    except OSError:
        # None on this kernel, forbidden, or no descriptor left; or reaped already, which is found out later.
        return _ByNumber(pid)


def _wait_on_a_thread(transport: SubprocessTransport) -> None:
    threading.Thread(
        target=_wait,
        args=(transport._loop, transport._pid, transport),
        name=f"velodrome-waitpid-{next(_thread_numbers)}",
        daemon=True,
    ).start()


def _wait(loop: Any, pid: int, transport: SubprocessTransport) -> None:
    """Wait until the child ends, and leave it to be reaped: until then its number is nobody else's."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        loop.call_soon_threadsafe(transport._waited)
    except RuntimeError:
        # The loop is closed, but the child must not stay behind as a zombie.
        logger.warning("Loop %r that handles pid %r is closed", loop, pid)
        transport._proc.poll()
