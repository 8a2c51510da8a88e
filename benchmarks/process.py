"""Processes that are measured: where they run, how they say that they are ready, and how they end."""

from __future__ import annotations

import json
import os
import pathlib
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence

SERVER_CORE = 0
LOAD_CORE = 1
PATIENCE = 90.0
HOST = "127.0.0.1"


class Failed(Exception):
    """A process that ended, or said nothing in time; the message is the last of what it wrote to stderr."""


def cores_of(core: int | None) -> set[int]:
    """One core, if the machine has it; without a core all of them."""
    everywhere = os.sched_getaffinity(0)
    return everywhere if core is None else {core} & everywhere or everywhere


class Process:
    """A child on one core that speaks in lines: its output is read line by line, a newline lets it go on."""

    def __init__(self, argv: Sequence[str], core: int | None, env: dict[str, str] | None = None) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        cores = cores_of(core)
        self.child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, "PYTHONHASHSEED": "0", **(env or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.pid = self.child.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self.errors):
            stream.close()

    def line(self, patience: float = PATIENCE) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            if not selector.select(patience):
                raise Failed(f"nothing heard for {patience:.0f} s; {self.last_words()}")
        line = self.child.stdout.readline().decode().strip()
        if not line:
            raise Failed(self.last_words())
        return line

    def go(self) -> str:
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()
        return self.line()

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"


class Gated(Process):
    """A process that warms up, says `ready`, and makes its measured part when it is told to go."""

    def wait_ready(self) -> None:
        line = self.line()
        if line != "ready":
            raise Failed(f"expected `ready`, heard `{line}`")

    def result(self) -> dict:
        return json.loads(self.go())


class Wrk:
    """wrk in the place of a `Gated` load: the client that HTTP servers are usually measured with."""

    def __init__(self, port: int, seconds: float) -> None:
        cores = cores_of(LOAD_CORE)
        self.argv = ["wrk", "-t1", "-c64", "--latency", f"http://{HOST}:{port}/"]
        self.seconds = seconds
        self.pin = lambda: os.sched_setaffinity(0, cores)

    def run(self, seconds: float) -> str:
        # wrk takes whole seconds only.
        argv = [*self.argv, f"-d{max(1, round(seconds))}s"]
        return subprocess.run(argv, check=True, capture_output=True, text=True, preexec_fn=self.pin).stdout

    def wait_ready(self) -> None:
        self.run(1)

    def result(self) -> dict:
        said = self.run(self.seconds)
        if "Non-2xx" in said or "Socket errors" in said:
            raise Failed(" ".join(said.split()))
        messages, seconds = re.search(r"(\d+) requests in ([\d.]+)s", said).groups()
        figures = {"messages": int(messages), "seconds": float(seconds), "client": "wrk"}
        percentiles = {
            f"p{q}_us": _micros(*re.search(rf"{q}%\s+([\d.]+)(\w+)", said).groups()) for q in (50, 99)
        }
        return figures | percentiles | {"per_second": int(messages) / float(seconds)}


def _micros(number: str, unit: str) -> float:
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


class Server(Process):
    """A process that says on which port it serves."""

    def port(self) -> int:
        return int(self.line().removeprefix("port "))

    def check_alive(self) -> None:
        if self.child.poll() is not None:
            raise Failed(self.last_words())


def interrupt(child: subprocess.Popen) -> None:
    child.send_signal(signal.SIGINT)
    child.wait()


def wait_for(path: pathlib.Path, text: str, patience: float = 10.0) -> None:
    """Wait until a file holds a text that another process writes."""
    end = time.monotonic() + patience
    while text not in path.read_text():
        if time.monotonic() > end:
            raise Failed(f"{path} never said `{text}`: {path.read_text().strip()}")
        time.sleep(0.01)
