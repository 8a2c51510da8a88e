"""The language of the tests.

``loop``, ``new_loop``    a loop of the kind under test, or as many as wanted; closed at the end of the test
``run(coroutine)``        runs it on ``loop`` within a deadline
``errors``                what the exception handlers of these loops were told; must be empty at the end
``oracle``                a loop of asyncio's own, for tests that compare
``pair``                  the two ends of a local connection, not blocking
``script(source, ...)``   runs a program in a process of its own

Nothing outlives a test: descriptors and threads are counted before and after, and every warning is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kinds import KINDS

if "velodrome" in KINDS:
    import velodrome._core

DEADLINE = 10
"""Seconds that any wait in a test may take: far more than it needs on a busy machine."""

TESTS = Path(__file__).parent

INSTRUMENTED = bool(os.environ.get("VELODROME_INSTRUMENTED"))
"""Whether this is a build that counts what is alive."""


class Errors(list[dict[str, Any]]):
    """The contexts that exception handlers received."""

    def take(self) -> list[dict[str, Any]]:
        """The contexts so far, which thereby count as expected."""
        taken = list(self)
        self.clear()
        return taken

    def take_one(self) -> dict[str, Any]:
        """The only context so far."""
        (context,) = self.take()
        return context


def pytest_collection_finish() -> None:
    set_aside()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    # What is alive between two files is pytest's reports, thousands of them by the end.
    if nextitem is None or nextitem.path != item.path:
        set_aside()


def set_aside() -> None:
    """Every test collects garbage; what pytest has built up until now need not be looked at each time."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("velodrome_only")
        ours_only = mark is not None and mark.kwargs.get("when", True)
        metafunc.parametrize("kind", [kind for kind in KINDS if not (ours_only and kind == "asyncio")])


@pytest.fixture
def kind() -> str:
    """The name of the loop under test; pytest_generate_tests gives it its values."""
    raise AssertionError("always parametrised")


@pytest.fixture
def errors() -> Iterator[Errors]:
    errors = Errors()
    yield errors
    gc.collect()  # a task whose exception nobody asked for complains when it dies
    assert not errors.take()


@pytest.fixture
def new_loop(kind: str, errors: Errors) -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    loops = []

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = KINDS[kind]()
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        loops.append(loop)
        return loop

    yield new_loop
    while loops:
        loop = loops.pop(0)
        if not loop.is_closed():
            _wind_up(loop)


def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop as asyncio.run() does, so that what a test has left behind is its own fault."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture
def loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    return new_loop()


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run(main: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(asyncio.wait_for(main, DEADLINE))

    return run


@pytest.fixture
def oracle() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a local stream connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python program in a process of its own; options of the interpreter go before its name."""

    def script(
        source: str,
        *arguments: str,
        options: tuple[str, ...] = (),
        status: int | None = 0,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(source))
        done = run_python(*options, str(path), *arguments, cwd=tmp_path, **environment)
        assert status is None or done.returncode == status, done.stderr
        return done

    return script


def run_python(
    *arguments: str,
    cwd: Path | None = None,
    stdin: str = "",
    before: Sequence[str] = (),
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run the interpreter of the tests, with their modules on its path; a tracer goes ``before`` it."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [*before, sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        input=stdin,
        timeout=DEADLINE * 2,
    )


@pytest.fixture(autouse=True)
def nothing_outlives_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    descriptors, threads = open_descriptors(), running_threads()
    yield
    gc.collect()
    # A thread that was told to end, and the descriptors it holds, may take a moment to go.
    give_up = time.monotonic() + DEADLINE / 5
    while outlived(descriptors, threads) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not outlived(descriptors, threads)


def outlived(descriptors: set[tuple[int, str]], threads: set[object]) -> set[object]:
    """The descriptors and threads of now that were not there before."""
    return (open_descriptors() - descriptors) | (running_threads() - threads)


@pytest.fixture(autouse=True, scope="session")
def _instruments() -> None:
    """Where they are asked for, they must be there: without them nothing is counted and all is well."""
    if INSTRUMENTED:
        loop = KINDS["velodrome"]()
        assert alive(), "built without --features instruments"
        loop.close()


def alive() -> dict[str, int]:
    """Handles, transports, writes, registrations that live: counted in builds with instruments only."""
    return velodrome._core.alive() if "velodrome" in KINDS else {}


@pytest.fixture(autouse=True)
def nothing_stays_alive(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Outermost of all fixtures, so that the loops of the test are gone by then."""
    if not INSTRUMENTED:
        # Nothing is counted, and to collect four times for nothing would cost a good part of a run.
        yield
        return
    gc.collect()
    before = alive()
    yield
    # What pytest would keep until the next test.
    request.node.funcargs.clear()
    caplog.get_records("call").clear()
    for _ in range(3):  # a destructor may have begun something new
        gc.collect()
    after = alive()
    assert {
        kind: after[kind] - before.get(kind, 0) for kind in after if after[kind] > before.get(kind, 0)
    } == {}


def open_descriptors() -> set[tuple[int, str]]:
    """The descriptors of this process, and what they refer to."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:  # the one that listed the folder
            continue
    return found


def running_threads() -> set[object]:
    """Python's threads, and the native ones that are not ours: resolver threads of velodrome may stay on."""
    native = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            name = Path(f"/proc/self/task/{thread}/comm").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not name.startswith("velodrome"):
            native.add(int(thread))
    return native.union(thread.name for thread in threading.enumerate())


@contextlib.contextmanager
def beside(function: Callable[..., object], *arguments: object, after: float = 0) -> Iterator[None]:
    """Call a function on a thread of its own, so many seconds later; that thread has ended afterwards."""
    thread = threading.Timer(after, function, arguments)
    thread.start()
    try:
        yield
    finally:
        thread.join(DEADLINE)


async def turns(count: int = 1) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Turn the loop until something is so that no event announces."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def idles() -> None:
    """The loop sleeps when it has nothing to do."""
    before = time.process_time()
    await asyncio.sleep(0.1)
    assert time.process_time() - before < 0.05, "it spins"
