"""One row on one loop: which processes run it, and which figures come of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import measure
from peers import FLOOR, HERE, Bench
from process import LOAD_CORE, SERVER_CORE, Failed, Gated, Process, Server, Wrk
from rows import Row

# Under callgrind everything runs fifty times slower.
COUNTED_OPERATIONS = 20_000
STARTS = 10


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A row on a loop, and how long to look."""

    bench: Bench
    row: Row
    loop: str
    seconds: float

    def python(self, script: str, *arguments: str) -> list[str]:
        return [self.bench.python, str(HERE / script), *arguments]

    @property
    def env(self) -> dict[str, str]:
        return self.bench.environment(self.loop)

    @property
    def core(self) -> int | None:
        """A thread that spins takes a core of its own: the GIL is all that the loop shares with it."""
        return None if "--spin" in self.row.server else SERVER_CORE

    # -- the processes

    def server_command(self) -> list[str]:
        if self.loop == FLOOR:
            return [self.bench.floor, self.row.floor]
        options = [*self.certified(), *(option for option in self.row.server if option != "--tls")]
        return self.python("servers/server.py", self.loop, self.row.kind, *options)

    def certified(self) -> list[str]:
        return ["--tls", str(self.bench.certificate)] if "--tls" in self.row.server else []

    def load_command(self, port: int, asked: list[str]) -> list[str]:
        trust = ["--tls", str(self.bench.trusted)] if "--tls" in self.row.server else []
        return [self.bench.load, f"127.0.0.1:{port}", "--gate", *asked, *trust]

    @contextlib.contextmanager
    def driven(
        self, command: list[str], asked: list[str], wrk: bool = False
    ) -> Iterator[tuple[Server, Gated | Wrk]]:
        """A server and a load that has warmed it up."""
        with Server(command, self.core, self.env) as server:
            with self.client(server.port(), asked, wrk) as load:
                try:
                    load.wait_ready()
                    yield server, load
                except Failed:
                    server.check_alive()
                    raise

    def client(self, port: int, asked: list[str], wrk: bool) -> contextlib.AbstractContextManager:
        """wrk cannot send an exact number of messages, so it is timed with, and not counted with."""
        if wrk and shutil.which("wrk"):
            return contextlib.nullcontext(Wrk(port, self.seconds))
        return Gated(self.load_command(port, asked), LOAD_CORE)

    @contextlib.contextmanager
    def counted(self, wrap=lambda argv: argv) -> Iterator[tuple[Process, Gated]]:
        """The process to count in, and the one that drives it; a primitive drives itself."""
        if self.row.kind == "primitive":
            argv = self.python(
                "primitives.py", self.loop, self.row.name, "--gate", "--count", str(COUNTED_OPERATIONS)
            )
            with Gated(wrap(argv), SERVER_CORE, self.env) as process:
                process.wait_ready()
                yield process, process
        else:
            amount = ["--messages", str(self.row.counted), "--warm-up", str(self.row.counted)]
            load = self.row.counted_load or self.row.load
            with self.driven(wrap(self.server_command()), [*load, *amount]) as both:
                yield both

    # -- the figures

    def round(self) -> dict:
        """The figures that noise moves: one round of several."""
        return {"primitive": self.primitive, "idle": self.idle, "startup": self.startup}.get(
            self.row.kind, self.served
        )()

    def served(self) -> dict:
        amount = (
            ["--messages", str(self.row.messages)] if self.row.messages else ["--seconds", str(self.seconds)]
        )
        asked = [*self.row.load, *amount]
        with self.driven(self.server_command(), asked, wrk=self.row.http) as (server, load):
            return measure.processor(server.pid, load) | {"peak_kb": measure.peak_memory(server.pid)}

    def primitive(self) -> dict:
        with Process(
            self.python("primitives.py", self.loop, self.row.name, "--rounds", "3"), SERVER_CORE, self.env
        ) as p:
            cost = json.loads(p.line())[self.row.name]
            if isinstance(cost, str):
                raise Failed(cost)
            return {"op_us": cost, "peak_kb": measure.peak_memory(p.pid)}

    def idle(self) -> dict:
        with Process(self.python("idle.py", self.loop, *self.certified()), SERVER_CORE, self.env) as process:
            return json.loads(process.line())

    def startup(self) -> dict:
        argv = self.python("startup.py", self.loop)
        return min(
            (measure.cost_of_run(argv, self.env) for _ in range(STARTS)), key=lambda cost: cost["cpu_ms"]
        )

    def system_calls(self) -> dict:
        with self.counted() as (process, driver):
            counted = measure.system_calls(process.pid, driver)
        calls = {name: count / self.row.at_once for name, count in counted.items()}
        return {"calls": sum(calls.values()), "calls_by_name": calls}

    def instructions(self) -> dict:
        if self.row.kind == "startup":
            return {
                "instructions": measure.instructions_of_run(self.python("startup.py", self.loop), self.env)
            }
        with tempfile.TemporaryDirectory() as folder:
            dump, messages = self.profile(pathlib.Path(folder, "out"))
            return {"instructions": measure.instructions(dump) / messages / self.row.at_once}

    def profile(self, out: pathlib.Path) -> tuple[pathlib.Path, int]:
        with self.counted(lambda argv: measure.callgrind(argv, out)) as (process, driver):
            return measure.profile(process.pid, driver, out)
