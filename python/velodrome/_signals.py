"""How signals wake a loop, and whoever else in the process waits for them."""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from ._loop import EventLoop


class Wakeup:
    """Lets a signal wake the loop: without it Ctrl-C could wait until something else happens.

    Only the main thread gets signals. There is one wake-up descriptor in the process. What comes while it is
    ours is passed on to the one that was there before, which is put back afterwards, unless the program has
    set another one meanwhile.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        loop = self._loop
        self._fd = loop._open_self_pipe()
        self._before = _set_wakeup_fd(self._fd)
        self._outer = loop._wakeup_before
        if self._before != self._fd:
            loop._wakeup_before = self._before

    def __exit__(self, *exc_info: object) -> None:
        loop = self._loop
        if not loop._signal_handlers:
            now = _set_wakeup_fd(self._before)
            if now not in (self._fd, self._before):
                _set_wakeup_fd(now)
        if loop._wakeup_before >= 0 and loop._ssock is not None:
            loop._read_from_self()
        loop._wakeup_before = self._outer


def pass_on(data: bytes, fd: int) -> None:
    """Tell ``fd`` of signals: the program's own, or that of a loop with handlers that does not run now."""
    signals = data.replace(b"\0", b"")
    if signals and fd >= 0:
        # One that is full has woken whoever reads it.
        with contextlib.suppress(OSError):
            os.write(fd, signals)


def _set_wakeup_fd(fd: int) -> int:
    """Set it, or none if it was closed meanwhile; returns what was set."""
    try:
        return signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    except (OSError, ValueError):
        return signal.set_wakeup_fd(-1)
