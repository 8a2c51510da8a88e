"""``loop.sendfile`` and ``loop.sock_sendfile`` by ``os.sendfile``: from the page cache to the socket.

asyncio takes the descriptor into its selector and out again for every piece, and waits after each. Here the
next piece is tried as long as the kernel takes whole ones: a file that fits into the socket's buffer is sent
without any wait.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os

from ._inherited import exceptions, sendfile_always_moves

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any

# After so much others get a turn. With a reader who keeps up the kernel would go on for the whole file: 1 MiB
# is a third of a millisecond over loopback.
_FAIR_SHARE = 1 << 20


async def to_socket(loop: Any, sock: Any, file: Any, offset: int, count: int | None) -> int:
    """Send a file to a socket; return how many bytes went."""
    sending = _Sending(file, offset, count)
    room = _Room(loop, sock)
    try:
        while not sending.advance(sock.fileno()):
            await room.wait()
    finally:
        room.close()
        sending.place_file()
    return sending.sent


async def to_transport(transport: Any, file: Any, offset: int, count: int | None) -> int:
    """Send a file to a stream transport that has nothing else to write; return how many bytes went."""
    sending = _Sending(file, offset, count)
    try:
        while not _is_sent(sending, transport):
            await transport._wait_for_room()
    finally:
        sending.place_file()
    return sending.sent


def _is_sent(sending: _Sending, transport: Any) -> bool:
    if transport._conn_lost:
        # By now its number may be a stranger's.
        raise ConnectionError("Connection is closed by peer")
    return sending.advance(transport._sock_fd)


class _Sending:
    """How far a file has been sent."""

    def __init__(self, file: Any, offset: int, count: int | None) -> None:
        try:
            self._file = file.fileno()
            self._size = os.fstat(self._file).st_size
        except (AttributeError, OSError, io.UnsupportedOperation):
            raise exceptions.SendfileNotAvailableError("not a regular file") from None
        self._offset = offset
        self._count = count
        self._tried = False
        self.sent = 0

    def advance(self, fd: int) -> bool:
        """Send what the kernel takes now. True if that was all."""
        if not self._count and not self._size:
            return True
        share = _FAIR_SHARE
        while share > 0 and not self._is_complete():
            asked = min(share, self._count - self.sent if self._count else share)
            taken = self._send(fd, asked)
            if taken is None:
                return False
            self.sent += taken
            if taken == 0:
                return True
            if taken < asked and self._offset + self.sent < self._size:
                return False
            share -= taken
        return self._is_complete()

    def _is_complete(self) -> bool:
        return bool(self._count) and self.sent >= (self._count or 0)

    def _send(self, fd: int, asked: int) -> int | None:
        """None if the kernel takes nothing now; 0 at the end of the file."""
        self._tried = True
        try:
            return os.sendfile(fd, self._file, self._offset + self.sent, asked)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if self.sent == 0:
                # Most likely a file that is not in the page cache, which the fallback can read.
                raise exceptions.SendfileNotAvailableError("os.sendfile call failed") from error
            if error.errno == errno.ENOTCONN and type(error) is not ConnectionError:
                raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
            raise

    def place_file(self) -> None:
        """Leave the file where reading would go on, whatever happened."""
        if self.sent > 0 or (self._tried and sendfile_always_moves):
            # A pipe has no place. asyncio lets that error hide the one that says so.
            with contextlib.suppress(OSError):
                os.lseek(self._file, self._offset + self.sent, os.SEEK_SET)


class _Room:
    """Waits until a socket takes more, and watches it from the first wait to the end."""

    def __init__(self, loop: Any, sock: Any) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = -1
        self._waiter: Any = None

    async def wait(self) -> None:
        self._waiter = self._loop.create_future()
        if self._fd == -1:
            self._loop.add_writer(self._sock.fileno(), self._ready)
            self._fd = self._sock.fileno()
        await self._waiter

    def _ready(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        # Closed meanwhile, the number may be a stranger's.
        if self._fd != -1 and self._sock.fileno() == self._fd:
            self._loop.remove_writer(self._fd)
