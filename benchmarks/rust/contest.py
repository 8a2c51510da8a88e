"""The rows: what is done, how it is asked for, and what share of tokio's cost is the goal.

A row is data; `run.py` knows nothing of a particular one.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).parent.parent))

from rows import TIMES, asks

OURS = "velodrome"
RIVAL = "tokio"
RUNTIMES = [OURS, RIVAL, "compio", "smol"]
FLOOR = "floor"


@dataclasses.dataclass(frozen=True)
class Goal:
    """The greatest share of tokio's cost; and whether the C loop's system calls are to be enough."""

    total: float
    instructions: float | None = None
    no_more_calls_than_floor: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A workload of `src/workloads.rs`, done `count` times."""

    name: str
    title: str
    goal: Goal
    count: int
    figure: str = "nanoseconds"
    # How often under callgrind and strace, where everything runs fifty times slower; 0 is not at all.
    counted: int = 20_000
    # How many digits after the point its own figure has.
    digits: int = 0


@dataclasses.dataclass(frozen=True)
class Served:
    """A server of `src/servers`, which `../load` asks."""

    name: str
    title: str
    goal: Goal
    kind: str
    load: tuple[str, ...]
    size: int = 64 * 1024
    floor: bool = True
    # A round ends after so many messages instead of so many seconds.
    messages: int | None = None
    # Messages in a run under strace or callgrind: enough to bury what a connection costs by itself.
    counted: int = 3000
    # As in `../rows.py`.
    counted_load: tuple[str, ...] = ()
    at_once: int = 1
    digits: int = 2


@dataclasses.dataclass(frozen=True)
class Waiting:
    """Connections that nobody says anything on: what one of them takes of the server's memory."""

    name: str
    title: str
    goal: Goal
    kind: str = "idle"
    few: int = 1000
    many: int = 5000
    digits: int = 0


ECHO = Goal(1.00, 0.60, True)
LINE = Goal(0.97, 0.60)

SERVED = [
    Served("echo-64", f"echo, 64 {TIMES} 1 KiB", ECHO, "echo", asks(64, 1024)),
    Served("echo-1", "echo, 1 connection", ECHO, "echo", asks(1, 1024)),
    # The buffer holds a message, as the floor's does.
    Served("echo-100k", f"echo, 16 {TIMES} 100 KiB", ECHO, "echo", asks(16, 102400), size=128 * 1024),
    Served(
        "in-flight",
        "echo, 16 in flight",
        ECHO,
        "echo",
        asks(1, 1024, 16),
        counted_load=asks(1, 16 * 1024),
        at_once=16,
    ),
    Served("read", f"echo by `read`, 64 {TIMES} 1 KiB", ECHO, "read", asks(64, 1024)),
    Served("line", "line protocol", LINE, "line", asks(64, 1024, mode="line")),
    Served("readline", "line protocol by `readline`", LINE, "readline", asks(64, 1024, mode="line")),
    Served(
        "accept",
        "accept, echo, close",
        Goal(0.97),
        "echo",
        asks(16, 64, mode="connect"),
        # Room for what comes: three of the four fill a buffer with zeros first, which would be nine tenths
        # of their instructions with the 64 KiB of the other rows.
        size=4096,
        # More would come near the number of ports, and the kernel's search for a free one takes over.
        messages=8000,
        counted=1000,
    ),
]

WAITING = [Waiting("idle", "memory of an idle connection with its task, bytes", Goal(0.80))]

WORKLOADS = [
    Row("spawn", "spawn a task and await it", Goal(0.60), 200_000),
    Row("spawn-many", "spawn 100, then await them", Goal(0.60), 500_000),
    Row("yield", "yield", Goal(0.70), 1_000_000),
    Row("wake", "wake from another task", Goal(0.60), 2_000_000),
    Row("wake-thread", "wake from another thread", Goal(0.90), 50_000, counted=5_000),
    Row("sleep-drop", "sleep, created and dropped", Goal(0.60), 1_000_000),
    Row("sleeping", "100,000 sleeping", Goal(0.60), 100_000),
    Row("queue-1", "queue of 1, hand-over", Goal(0.50), 500_000),
    Row("queue-64", "queue of 64, hand-over", Goal(0.50), 2_000_000),
    Row("memory", "memory of a sleeping task, bytes", Goal(0.80), 100_000, figure="bytes", counted=0),
]

Any = Row | Served | Waiting
ROWS: list[Any] = [*SERVED, *WAITING, *WORKLOADS]
BY_NAME = {row.name: row for row in ROWS}
