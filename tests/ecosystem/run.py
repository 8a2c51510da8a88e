#!/usr/bin/env python3
"""Other people's programs on our loop: the smoke of each, and again on another loop as a check of the smoke.

python run.py [--timeout SECONDS] [NAME]...
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import services

HERE = Path(__file__).parent
OURS = "velodrome"


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    package: str  # whose version is shown
    smoke: tuple[str, ...]  # the script, and its arguments
    check: str  # the loop that is known to work: asyncio, or the uvloop that the program names


def plain(package: str) -> Program:
    return Program(package, package, (f"smoke_{package.replace('-', '_')}.py",), "asyncio")


def on_uvloop(package: str, what: str, *smoke: str) -> Program:
    return Program(f"{package} {what}", package, smoke or ("smoke_as_uvloop.py", package), "uvloop")


PROGRAMS = [
    plain("uvicorn"),
    plain("aiohttp"),
    plain("httpx"),
    plain("anyio"),
    plain("tornado"),
    plain("websockets"),
    plain("redis"),
    plain("asyncpg"),
    Program("grpc.aio", "grpcio", ("smoke_grpc.py",), "asyncio"),
    plain("pyzmq"),
    plain("nest-asyncio"),
    plain("pytest-asyncio"),
    plain("distributed"),
    plain("granian"),
    plain("hypercorn"),
    on_uvloop("gunicorn", "-k asgi --asgi-loop uvloop"),
    on_uvloop("hypercorn", "-k uvloop"),
    on_uvloop("sanic", "(takes uvloop)"),
    on_uvloop("granian", "--loop uvloop"),
    on_uvloop("uvicorn", "--loop uvloop"),
    on_uvloop("distributed", "event-loop: uvloop", "smoke_distributed.py", "uvloop"),
    on_uvloop("streamlit", "(takes uvloop)", "smoke_streamlit.py"),
]

# A smoke whose programs print one of these has failed, whatever its status: these go unnoticed otherwise.
BAD = re.compile(
    r"panicked at|^Fatal Python error|^Exception ignored|^Traceback \(most recent call last\)"
    r"|was never awaited|was never retrieved|Task was destroyed but it is pending",
    re.M,
)


@dataclasses.dataclass(frozen=True)
class Result:
    passed: bool
    seconds: float
    output: str
    why: str  # it failed

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'} {self.seconds:5.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="*", help="only the programs whose names begin so")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each smoke on each loop")
    args = parser.parse_args()
    programs = [p for p in PROGRAMS if not args.name or p.name.startswith(tuple(args.name))]
    services.install()
    results = {}
    for program in programs:
        for loop in (OURS, program.check):
            results[program, loop] = result = run(program, loop, args.timeout)
            print(f"{program.name:40} {loop:10} {result}", flush=True)
            if not result.passed:
                print(indented(f"{result.why}\n{result.output}"), flush=True)
    print_table(programs, results)
    failed = sum(not result.passed for result in results.values())
    print(f"\n{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


def run(program: Program, loop: str, timeout: float) -> Result:
    """One smoke on one loop, in a process group of its own, of which nothing is left behind."""
    script, *arguments = program.smoke
    launcher = ["-m", OURS] if loop == OURS else []
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *launcher, script, *arguments],
        cwd=HERE,
        env={**os.environ, "ECOSYSTEM_LOOP": loop, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
        why = verdict(process.returncode, output)
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        output, _ = process.communicate()
        why = f"no end within {timeout:.0f} s"
    finally:
        kill_group(process.pid)
    return Result(why == "", time.monotonic() - begun, output, why)


def verdict(status: int, output: str) -> str:
    """Why it failed, or nothing."""
    if status != 0:
        return f"exit status {status}"
    said = BAD.search(output)
    return f"it said {said.group()!r}" if said else ""


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def indented(text: str) -> str:
    return "".join(f"    | {line}\n" for line in text.splitlines())


def print_table(programs: list[Program], results: dict[tuple[Program, str], Result]) -> None:
    print(f"\n{'program':40} {'version':12} {OURS:16} check of the smoke")
    for program in programs:
        ours, check = results[program, OURS], results[program, program.check]
        version = importlib.metadata.version(program.package)
        print(f"{program.name:40} {version:12} {ours!s:16} {program.check}: {check}")


if __name__ == "__main__":
    sys.exit(main())
