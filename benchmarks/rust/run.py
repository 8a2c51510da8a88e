"""The Rust face against tokio, compio and smol: `make bench-rust`.

Runtimes run in turn, for some rounds, and of each the best is kept: noise only ever adds. Each row is a
process of its own, which prints what its measured part cost (`src/main.rs`). Instructions are callgrind's,
the difference between a run and one of twice the length, so that starting costs nothing.

A row over the network is another kind: a server program for each runtime, driven by `../load`. It belongs
into ROWS too, with a figure taken as `../experiment.py` takes it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from measure import instructions_of_run

RUNTIMES = ["velodrome", "tokio", "compio", "smol"]
RESULTS = pathlib.Path(__file__).parent.parent / "results" / "rust.md"
HOW = (
    "Made by `make bench-rust`: runtimes on one thread in turn, the best round of each; "
    "tokio is `current_thread`. What each row does is in `benchmarks/rust/src/workloads.rs`; "
    "`to tokio` is the share of its cost that Velodrome takes."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A workload of `src/workloads.rs`: how often, what is measured, what share of tokio's is the goal."""

    name: str
    title: str
    count: int
    goal: float
    figure: str = "nanoseconds"
    # How often under callgrind, where everything runs fifty times slower; 0 is not at all.
    counted: int = 20_000


ROWS = [
    Row("spawn", "spawn a task and await it", 500_000, 0.60),
    Row("spawn-many", "spawn 100, then await them", 500_000, 0.60),
    Row("yield", "yield", 1_000_000, 0.70),
    Row("wake", "wake from another task", 2_000_000, 0.60),
    Row("wake-thread", "wake from another thread", 50_000, 0.90, counted=5_000),
    Row("sleep-drop", "sleep, created and dropped", 1_000_000, 0.60),
    Row("sleeping", "100,000 sleeping", 100_000, 0.60, counted=0),
    Row("queue-1", "queue of 1, hand-over", 500_000, 0.50),
    Row("queue-64", "queue of 64, hand-over", 2_000_000, 0.50),
    Row("memory", "memory of a sleeping task, bytes", 100_000, 0.80, figure="bytes", counted=0),
]


def measured(program: str, runtime: str, row: Row) -> float:
    said = subprocess.run(
        [program, runtime, row.name, str(row.count)], check=True, capture_output=True, text=True
    )
    return json.loads(said.stdout)[row.figure] / row.count


def instructions(program: str, runtime: str, row: Row) -> float | None:
    if not row.counted:
        return None
    once, twice = (
        instructions_of_run([program, runtime, row.name, str(row.counted * times)], {}) for times in (1, 2)
    )
    return (twice - once) / row.counted


def best(program: str, row: Row, rounds: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for _ in range(rounds):
        for runtime in RUNTIMES:
            figure = measured(program, runtime, row)
            found[runtime] = min(figure, found.get(runtime, figure))
    return found


def verdict(row: Row, figures: dict[str, float]) -> str:
    ratio = figures["velodrome"] / figures["tokio"]
    others = min(figures["compio"], figures["smol"])
    reached = "reached" if ratio <= row.goal else f"misses {row.goal:.2f}"
    return reached if figures["velodrome"] <= others else f"{reached}, behind another ({others:.0f})"


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table(title: str, rows: list[tuple[Row, dict[str, float]]], with_goal: bool) -> str:
    head = [title, *RUNTIMES, "to tokio", *(["goal", "verdict"] if with_goal else [])]
    lines = [line(head), line(["---", *["---:"] * (len(head) - 1)])]
    for row, figures in rows:
        ratio = f"{figures['velodrome'] / figures['tokio']:.2f}"
        cells = [row.title, *(f"{figures[runtime]:,.0f}" for runtime in RUNTIMES), ratio]
        lines.append(line([*cells, *([f"{row.goal:.2f}", verdict(row, figures)] if with_goal else [])]))
    return "\n".join(lines)


def counted(program: str, rows: list[Row]) -> list[tuple[Row, dict[str, float]]]:
    """What callgrind can count: not the rows in which time or memory is the point."""
    found = []
    for row in rows:
        each = {runtime: instructions(program, runtime, row) for runtime in RUNTIMES}
        known = {runtime: count for runtime, count in each.items() if count is not None}
        if len(known) == len(RUNTIMES):
            found.append((row, known))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, help="the benchmark, built in release mode")
    parser.add_argument("--rows", nargs="*", default=[row.name for row in ROWS], help="only these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="into benchmarks/results/rust.md too")
    parser.add_argument("--no-instructions", action="store_true", help="do without callgrind")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if row.name in arguments.rows]
    costs = [(row, best(arguments.program, row, arguments.rounds)) for row in rows]
    tables = [table("CPU of an operation, ns (or what the row says)", costs, with_goal=True)]
    if not arguments.no_instructions:
        tables.append(table("user-space instructions", counted(arguments.program, rows), with_goal=False))
    text = "\n\n".join([HOW, *tables])
    print(text)
    if arguments.write:
        RESULTS.write_text(text + "\n")


if __name__ == "__main__":
    main()
