"""One row on one runtime: which processes run it, and which figures come of it.

As for Python's loops (`../experiment.py`), the server has core 0 and the load core 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

import measure
from contest import FLOOR, Any, Row, Served, Waiting
from process import HOST, LOAD_CORE, PATIENCE, SERVER_CORE, Failed, Gated, Server

# A server that takes no time for so long waits.
QUIET = 0.1
# No more connections at once than every listener has room for: what the kernel drops is lost for good.
FEW_ENOUGH = 50
# A run that takes so many seconds hangs: compio does under valgrind, where its ring misses wake-ups.
ENDLESS = 40.0


@dataclasses.dataclass(frozen=True)
class Programs:
    """What was built: all runtimes in one, the load generator, the C loop."""

    bench: str
    load: str
    floor: str


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A row on a runtime, and how long to look."""

    programs: Programs
    row: Any
    runtime: str
    seconds: float

    # -- the figures; each row has the one that it is judged by, `own`

    def round(self) -> dict:
        """What noise moves: one round of several."""
        if isinstance(self.row, Row):
            return {"own": self.worked(self.row)}
        return {"own": self.kept(self.row) if isinstance(self.row, Waiting) else self.served(self.row)}

    def system_calls(self) -> dict:
        if isinstance(self.row, Waiting) or not self.row.counted:
            return {}
        calls = self.calls_of_work(self.row) if isinstance(self.row, Row) else self.calls_of_server(self.row)
        return {"calls": sum(calls.values()), "calls_by_name": calls}

    def instructions(self) -> dict:
        if isinstance(self.row, Waiting) or not self.row.counted:
            return {}
        count = self.count_work if isinstance(self.row, Row) else self.count_server
        return {"instructions": count(self.row)}

    # -- workloads, which measure themselves

    def work(self, row: Row, times: int) -> list[str]:
        return [self.programs.bench, self.runtime, row.name, str(times)]

    def worked(self, row: Row) -> float:
        said = subprocess.run(
            self.work(row, row.count), check=True, capture_output=True, text=True, timeout=ENDLESS
        )
        return json.loads(said.stdout)[row.figure] / row.count

    def count_work(self, row: Row) -> float:
        """The difference to a run of twice the length, so that starting costs nothing."""
        once, twice = (
            measure.instructions_of_run(self.work(row, row.counted * times), {}, ENDLESS) for times in (1, 2)
        )
        return (twice - once) / row.counted

    def calls_of_work(self, row: Row) -> dict[str, float]:
        once, twice = (calls_of_run(self.work(row, row.counted * times)) for times in (1, 2))
        more = {name: (twice.get(name, 0) - once.get(name, 0)) / row.counted for name in twice | once}
        # A call or two by chance is none of the workload's.
        return {name: calls for name, calls in more.items() if calls > 0.0005}

    # -- servers, which are measured

    def server(self, row: Served | Waiting) -> list[str]:
        if self.runtime == FLOOR:
            return [self.programs.floor, "tcp"]
        size = row.size if isinstance(row, Served) else 0
        return [self.programs.bench, "serve", self.runtime, row.kind, str(size)]

    @contextlib.contextmanager
    def driven(self, server: list[str], *asks: str) -> Iterator[tuple[Server, Gated]]:
        """A server and a load that has warmed it up."""
        with Server(server, SERVER_CORE) as process:
            command = [self.programs.load, f"127.0.0.1:{process.port()}", "--gate", *asks]
            with Gated(command, LOAD_CORE) as load:
                try:
                    load.wait_ready()
                    yield process, load
                except Failed:
                    process.check_alive()
                    raise

    def served(self, row: Served) -> float:
        """Microseconds of processor per message, user and system."""
        amount = ("--messages", row.messages) if row.messages else ("--seconds", self.seconds)
        with self.driven(self.server(row), *row.load, *map(str, amount)) as (server, load):
            return measure.processor(server.pid, load)["cpu_us"]

    def calls_of_server(self, row: Served) -> dict[str, float]:
        with self.driven(self.server(row), *counted(row)) as (server, load):
            calls = measure.system_calls(server.pid, load)
        return {name: count / row.at_once for name, count in calls.items()}

    def count_server(self, row: Served) -> float:
        with tempfile.TemporaryDirectory() as folder:
            dump, messages = self.profile(row, pathlib.Path(folder, "out"))
            return measure.instructions(dump) / messages / row.at_once

    def profile(self, row: Served, out: pathlib.Path) -> tuple[pathlib.Path, int]:
        with self.driven(measure.callgrind(self.server(row), out), *counted(row)) as (server, load):
            return measure.profile(server.pid, load, out)

    def kept(self, row: Waiting) -> float:
        """Bytes of memory that a connection more takes, between few of them and many."""
        few, many = (self.resident(row, connections) for connections in (row.few, row.many))
        return (many - few) / (row.many - row.few)

    def resident(self, row: Waiting, connections: int) -> int:
        with Server(self.server(row), SERVER_CORE) as server, contextlib.ExitStack() as open_ones:
            address = HOST, server.port()
            for number in range(1, connections + 1):
                open_ones.enter_context(socket.create_connection(address))
                if number % FEW_ENOUGH == 0:
                    settle(server.pid, number)
            settle(server.pid, connections, QUIET)
            return resident(server.pid)


def counted(row: Served) -> list[str]:
    return [*(row.counted_load or row.load), "--messages", str(row.counted), "--warm-up", str(row.counted)]


def settle(pid: int, connections: int, quiet: float = 0.0) -> None:
    """Wait until a server has accepted so many connections and has done nothing for so long."""
    end, spent = time.monotonic() + PATIENCE, None
    while (accepted := open_descriptors(pid)) <= connections or spent != processor(pid):
        if time.monotonic() > end:
            raise Failed(f"{accepted} descriptors for {connections} connections after {PATIENCE:.0f} s")
        spent = processor(pid)
        time.sleep(quiet)


def processor(pid: int) -> int:
    return measure.processor_time(pid)[0]


def open_descriptors(pid: int) -> int:
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def calls_of_run(argv: list[str]) -> dict[str, int]:
    """System calls of a whole process by name."""
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder, "table")
        command = [*measure.strace_counting(table), *argv]
        subprocess.run(command, check=True, capture_output=True, timeout=ENDLESS)
        return measure.counted_calls(table)
