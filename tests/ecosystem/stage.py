"""What the smokes share: which loop is expected, how to start programs on it, patience.

A smoke is a program: `run.py` starts it, once on our loop and once on another that is known to work, and its
exit status is the verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCALHOST = "127.0.0.1"

LOOP = os.environ["ECOSYSTEM_LOOP"]
"""The package that the loop has to come from: velodrome, asyncio or uvloop."""

PATIENCE = 30.0
"""Seconds that any wait may take; far more than it needs."""


def kind(loop: asyncio.AbstractEventLoop | None = None) -> str:
    """The package that a loop comes from, of the running one by default."""
    return type(loop or asyncio.get_running_loop()).__module__.partition(".")[0]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` as any program does, on the loop that is expected."""

    async def checked() -> None:
        assert kind() == LOOP, f"the loop is {asyncio.get_running_loop()}, not of {LOOP}"
        await asyncio.wait_for(main, 3 * PATIENCE)

    asyncio.run(checked())


def program(*arguments: str) -> list[str]:
    """The command that runs a Python program on the expected loop, without a word to the program."""
    return [sys.executable, *(["-m", "velodrome"] if LOOP == "velodrome" else []), *arguments]


def program_of_uvloop(*arguments: str) -> list[str]:
    """The command that runs a program which chooses uvloop itself."""
    launcher = ["-m", "velodrome", "--as-uvloop"] if LOOP == "velodrome" else []
    return [sys.executable, *launcher, *arguments]


def free_port() -> int:
    with socket.create_server((LOCALHOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, *, statuses: tuple[int, ...] = (0,), **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, from its first connection to its end, which has to be by SIGTERM and tidy."""
    process = subprocess.Popen(command, **{"cwd": HERE, **options})
    try:
        wait_until_listening(process, port)
        yield process
        assert process.poll() is None, f"{command} ended by itself, with status {process.returncode}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in statuses, f"{command} ended with status {process.returncode}"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < give_up:
        try:
            socket.create_connection((LOCALHOST, port), timeout=PATIENCE).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{process.args} does not listen on port {port}; its status: {process.poll()}")
