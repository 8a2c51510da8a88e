"""The table on the terminal: one line per row, our ratio to the best peer, and a mark at a missed goal.

python benchmarks/report.py [RESULT.json...]      the table again; by default of each Python
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys

from rows import BY_NAME, Row

OURS = "velodrome"
FLOOR = "floor"
ORDER = [FLOOR, "asyncio", "uvloop", "rloop", "aiofastnet", "zuvloop", "rsloop", OURS]
NOTHING = "\N{EN DASH}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of all rows that have it; without a key it is the row's own."""

    title: str
    key: str | None = None
    higher_is_better: bool = False

    def of(self, row: Row, figures: dict) -> float | None:
        if self.key == "user_us" and row.figure != "cpu_us":
            return None  # beside a thread that spins, what the server takes says nothing
        return figures.get(self.key or row.figure)


OWN = Figure("CPU per message or operation, µs (or what the row says)")
USER = Figure("User part of the CPU per message, µs", "user_us")
CALLS = Figure("System calls per message", "calls")
INSTRUCTIONS = Figure("User-space instructions per message or operation", "instructions")
FIGURES = [
    OWN,
    USER,
    CALLS,
    INSTRUCTIONS,
    Figure("Messages per second", "per_second", higher_is_better=True),
    Figure("Median latency, µs", "p50_us"),
    Figure("99th percentile of latency, µs", "p99_us"),
    Figure("Peak memory of the server, kB", "peak_kb"),
]


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of one figure: the value of every loop, and how we stand."""

    row: Row
    values: dict[str, float | None]
    higher_is_better: bool

    @property
    def best_peer(self) -> str | None:
        peers = {loop: v for loop, v in self.values.items() if v is not None and loop not in (OURS, FLOOR)}
        if not peers:
            return None
        return (max if self.higher_is_better else min)(peers, key=peers.get)

    @property
    def ratio(self) -> float | None:
        """Ours to the best peer's. For the start-up the peer is asyncio, which all of them import."""
        ours = self.values.get(OURS)
        peer = "asyncio" if self.row.kind == "startup" else self.best_peer
        theirs = self.values.get(peer) if peer else None
        return ours / theirs if ours is not None and theirs else None


def line(figure: Figure, name: str, loops: dict[str, dict]) -> Line:
    row = BY_NAME[name]
    higher = row.higher_is_better if figure.key in (None, row.figure) else figure.higher_is_better
    return Line(row, {loop: figure.of(row, figures) for loop, figures in loops.items()}, higher)


def lines(results: dict, figure: Figure) -> list[Line]:
    """The rows that have this figure at all."""
    every = [line(figure, name, loops) for name, loops in results["rows"].items() if name in BY_NAME]
    return [one for one in every if any(value is not None for value in one.values.values())]


def loops(results: dict) -> list[str]:
    seen = {loop for row in results["rows"].values() for loop in row}
    return [loop for loop in ORDER if loop in seen] + sorted(seen - set(ORDER))


def misses(results: dict, one: Line) -> list[str]:
    """Which goals of a row are missed, in words; nothing where we were not measured."""
    row, measured = one.row, results["rows"][one.row.name]
    missed = []
    if one.ratio is not None and _worse(one.ratio, row.target.total, one.higher_is_better):
        missed.append(f"{row.target.total:.2f}")
    user, what = user_ratio(row, measured)
    if row.target.user is not None and user is not None and user > row.target.user:
        missed.append(f"{what} {user:.2f} > {row.target.user:.2f}")
    if row.target.no_more_calls_than_floor and _more_calls(measured):
        missed.append("calls > floor")
    return missed


def user_ratio(row: Row, measured: dict) -> tuple[float | None, str]:
    """How we stand by the user part, and what that was taken from.

    By its instructions where they were counted: a kernel that samples at ticks finds a server of one
    connection in user space ten times in a round.
    """
    counted = line(INSTRUCTIONS, row.name, measured).ratio
    if counted is not None:
        return counted, "user instructions"
    return line(USER, row.name, measured).ratio, "user"


def _worse(ratio: float, target: float, higher_is_better: bool) -> bool:
    return ratio < target if higher_is_better else ratio > target


def _more_calls(measured: dict) -> bool:
    """With a tolerance for the calls of attaching strace and of the end of a run."""
    ours, floor = (measured.get(loop, {}).get("calls") for loop in (OURS, FLOOR))
    return ours is not None and floor is not None and ours > floor * 1.02


def verdict(results: dict, one: Line) -> str:
    if one.ratio is None:
        return NOTHING
    missed = misses(results, one)
    return "misses " + ", ".join(missed) if missed else "reached"


def number(value: float | None) -> str:
    if value is None:
        return NOTHING
    digits = 0 if value >= 1000 else 1 if value >= 100 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def table(results: dict, figure: Figure) -> list[list[str]]:
    """Head and body as text; the row's own figure is judged, the others are only compared."""
    names = loops(results)
    judged = [["goal", "verdict"]] if figure is OWN else [[]]
    body = [["workload", *names, "ratio", *judged[0]]]
    for one in lines(results, figure):
        verdicts = [f"{one.row.target.total:.2f}", verdict(results, one)] if figure is OWN else []
        cells = [number(one.values.get(name)) for name in names]
        body.append([one.row.title, *cells, ratio(one.ratio), *verdicts])
    return body


def aligned(cells: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not index else cell.rjust(width) for index, (cell, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    )


def errors(results: dict) -> list[str]:
    return [
        f"{name}, {loop}: {figures['error']}"
        for name, row in results["rows"].items()
        for loop, figures in row.items()
        if "error" in figures
    ]


def text(results: dict) -> str:
    parts = [
        f"{figure.title}\n{aligned(table(results, figure))}" for figure in FIGURES if lines(results, figure)
    ]
    failures = errors(results)
    return "\n\n".join(parts + (["Not measured\n" + "\n".join(failures)] if failures else []))


def python_of(results: dict) -> str:
    """3.13, of 3.13.0."""
    return results["versions"]["python"].rpartition(".")[0]


def newest() -> list[dict]:
    """The newest result of each Python, the oldest Python first."""
    paths = sorted((pathlib.Path(__file__).parent / "results").glob("*.json"))
    by_python = {python_of(results): results for results in map(read, paths)}
    return [by_python[python] for python in sorted(by_python)]


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


def load(arguments: list[str]) -> list[dict]:
    return [read(pathlib.Path(argument)) for argument in arguments] or newest()


if __name__ == "__main__":
    for results in load(sys.argv[1:]):
        print(f"Python {python_of(results)}\n\n{text(results)}\n")
