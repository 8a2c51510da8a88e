"""Each system call of a small program fails once, in turn, on our loop: ``python nth_call.py``.

strace counts the calls and makes them fail. What must hold: no crash, no hang, no descriptor left behind.
Whether the program gets through or ends in an exception is its own affair.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VICTIM = Path(__file__).parent / "victim.py"

CALLS = {
    *("epoll_create1", "epoll_ctl", "epoll_pwait2", "epoll_pwait", "epoll_wait", "eventfd2", "pipe2"),
    *("socket", "socketpair", "bind", "listen", "accept4", "connect", "shutdown", "fcntl", "ioctl"),
    *("getsockopt", "setsockopt", "getsockname", "getpeername", "read", "write", "writev"),
    *("recvfrom", "sendto", "sendmsg", "recvmsg", "recvmmsg", "sendmmsg"),
    *("pidfd_open", "pidfd_send_signal", "waitid", "sendfile"),
}
"""What our engine, the resolver and asyncio ask of the kernel. Memory and files are Python's own."""

ERRORS = ("EIO", "ENOMEM")

HANG = 60
"""Seconds, of which the program itself needs one or two: it has time limits of its own."""


def strace(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the victim; only its main thread is traced, so that the counts are the same each time."""
    with tempfile.NamedTemporaryFile() as log:
        return subprocess.run(
            ["strace", "-qq", "-o", log.name, *options, sys.executable, str(VICTIM)],
            capture_output=True,
            text=True,
            timeout=HANG,
        )


def calls_between_the_marks() -> list[tuple[str, int]]:
    """Name and number of each call that the loop makes."""
    seen: Counter[str] = Counter()
    found, inside = [], False
    with tempfile.NamedTemporaryFile("r") as log:
        trace = ",".join(["access", "faccessat", "faccessat2", *(f"?{call}" for call in sorted(CALLS))])
        subprocess.run(
            ["strace", "-qq", "-o", log.name, "-e", f"trace={trace}", sys.executable, str(VICTIM)], check=True
        )
        for line in log:
            name = line.partition("(")[0]
            seen[name] += 1
            if "/velodrome/begin" in line:
                inside = True
            elif "/velodrome/end" in line:
                break
            elif inside and name in CALLS:
                found.append((name, seen[name]))
    return found


def verdict(call: str, number: int, error: str) -> str | None:
    """What went wrong when the call failed; None if nothing did."""
    try:
        done = strace("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}")
    except subprocess.TimeoutExpired:
        return "hangs"
    if done.returncode < 0 or re.search("panicked|Fatal Python|Segmentation", done.stderr):
        return f"status {done.returncode}: {done.stderr[-500:]}"
    return None if done.returncode == 0 else f"{done.stdout.strip()} {done.stderr[-500:]}"


def main() -> int:
    calls = calls_between_the_marks()
    tries = [(call, number, error) for call, number in calls for error in ERRORS]
    print(f"{len(calls)} calls, {len(tries)} tries", flush=True)
    bad = 0
    with ThreadPoolExecutor(2) as pool:
        for what, problem in zip(tries, pool.map(lambda what: verdict(*what), tries), strict=True):
            if problem is not None:
                bad += 1
                print(*what, "->", problem, flush=True)
    print(f"{len(tries) - bad} survived, {bad} did not")
    return 1 if bad or not calls else 0


if __name__ == "__main__":
    sys.exit(main())
