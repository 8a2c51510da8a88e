"""The benchmark: every row on every loop, in turn, for several rounds; the best round of each is kept.

python benchmarks/run.py                      the whole table
python benchmarks/run.py --quick              in five minutes
python benchmarks/run.py --rows echo-64 udp --loops velodrome uvloop --rounds 5
python benchmarks/run.py --rows echo-64 --rounds 5 --seconds 2 --add-to benchmarks/results/RESULT.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Callable

import measure
import peers
import report
from experiment import Experiment
from process import Failed
from rows import BY_NAME, ROWS, Row

# Five minutes do not hold the rows that are slow to count, nor those that repeat another one's lesson.
QUICK_LEAVES_OUT = {"tls-streams", "uvicorn-h11", "aiohttp", "idle-tls", "readline"}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict:
    about = pathlib.Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.*)$", about, re.MULTILINE)
    processor = found[1] if found else platform.processor()
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": platform.system(),
    }


def commit() -> str | None:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=peers.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or None


def best_of(row: Row, every_round: list[dict]) -> dict:
    """All figures of a loop come from its best round; one failed round fails the row."""
    if failed := next((figures for figures in every_round if "error" in figures), None):
        return failed
    choose = max if row.higher_is_better else min
    best = choose(every_round, key=lambda figures: figures[row.figure])
    return measure.shared_out(best, every_round) if "user_ticks" in best else best


def attempt(experiment: Experiment, what: Callable[[], dict]) -> dict:
    """A failure is a result: it is kept with its reason, and the other loops go on."""
    try:
        return what()
    except (Failed, OSError, subprocess.SubprocessError, ValueError, KeyError, ArithmeticError) as error:
        say(f"    {experiment.loop}: {error}")
        return {"error": f"{type(error).__name__}: {error}"}


def loops_of(row: Row, loops: list[str]) -> list[str]:
    return [*([peers.FLOOR] if row.floor else []), *loops]


def rounds(row: Row, experiments: list[Experiment], count: int) -> dict[str, dict]:
    """Loops in turn, so that a disturbance of the machine falls on all of them."""
    every: dict[str, list[dict]] = {experiment.loop: [] for experiment in experiments}
    for _ in range(count):
        for experiment in experiments:
            if not any("error" in figures for figures in every[experiment.loop]):
                every[experiment.loop].append(attempt(experiment, experiment.round))
    return {loop: best_of(row, figures) for loop, figures in every.items()}


def count(row: Row, experiment: Experiment, figures: dict, options: argparse.Namespace) -> None:
    """The figures that noise does not move need one run."""
    if "error" in figures or not row.counted or row.kind == "idle":
        return
    if options.calls and row.kind not in ("primitive", "startup"):
        figures |= attempt(experiment, experiment.system_calls)
    if options.instructions:
        figures |= attempt(experiment, experiment.instructions)


def measure_row(bench: peers.Bench, row: Row, options: argparse.Namespace) -> dict[str, dict]:
    say(f"{row.name}: {row.title}")
    experiments = [Experiment(bench, row, loop, options.seconds) for loop in loops_of(row, options.loops)]
    best = rounds(row, experiments, options.rounds)
    for experiment in experiments:
        count(row, experiment, best[experiment.loop], options)
    return best


def better(row: Row, before: dict, now: dict) -> dict:
    """The figures of the better one; what was counted before stands."""
    if "error" in before or "error" in now:
        return before
    choose = max if row.higher_is_better else min
    return before | now if choose(now[row.figure], before[row.figure]) == now[row.figure] else before


def add_rounds(results: dict, bench: peers.Bench, row: Row, options: argparse.Namespace) -> None:
    """Where the machine's noise hid a ratio: every loop of the row has as many rounds more."""
    before = results["rows"][row.name]
    options.loops = [loop for loop in before if loop != peers.FLOOR]
    options.calls = options.instructions = False
    now = measure_row(bench, row, options)
    results["rows"][row.name] = {loop: better(row, before[loop], now[loop]) for loop in before}
    added = results.setdefault("added", {})
    added[row.name] = added.get(row.name, 0) + options.rounds


def check_alike(before: dict, now: dict) -> None:
    """Rounds of other programs or machines are no rounds of the same."""
    different = [key for key in ("machine", "versions", "seconds") if before[key] != now[key]]
    if not is_product_of(before["commit"]):
        different.append("commit")
    if different:
        sys.exit(f"not to be added, another {', '.join(different)}")


def is_product_of(commit: str | None) -> bool:
    """Whether what is measured is as in that commit; documents and the benchmark itself may differ."""
    if commit is None:
        return False
    compared = ["git", "diff", "--quiet", commit, "--", "crates", "python", "Cargo.toml", "Cargo.lock"]
    return subprocess.run(compared, cwd=peers.ROOT, capture_output=True, check=False).returncode == 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--loops", nargs="+", metavar="LOOP", help="default: all that this Python has")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round")
    parser.add_argument("--quick", action="store_true", help="fewer rows, two short rounds, no callgrind")
    parser.add_argument("--no-calls", dest="calls", action="store_false", help="leave strace out")
    parser.add_argument(
        "--no-instructions", dest="instructions", action="store_false", help="leave callgrind out"
    )
    parser.add_argument("--velodrome-path", default=str(peers.ROOT / "python"), metavar="FOLDER")
    parser.add_argument("--python", metavar="PROGRAM", help="interpreter that the environment is made from")
    parser.add_argument("--load", metavar="PROGRAM", help="load generator; default: built by cargo")
    parser.add_argument(
        "--output", type=pathlib.Path, help="default: in benchmarks/results, by date and Python"
    )
    parser.add_argument(
        "--add-to",
        type=pathlib.Path,
        metavar="RESULT",
        help="add rounds to these rows of a result made before",
    )
    options = parser.parse_args()
    if options.add_to and not options.rows:
        parser.error("--add-to needs --rows")
    return quicken(options) if options.quick else options


def quicken(options: argparse.Namespace) -> argparse.Namespace:
    options.rows = options.rows or [row.name for row in ROWS if row.name not in QUICK_LEAVES_OUT]
    options.rounds, options.seconds = min(options.rounds, 2), min(options.seconds, 0.5)
    options.instructions = False
    return options


def check_tools(options: argparse.Namespace) -> None:
    wanted = ["cc", "openssl"] + ["strace"] * options.calls + ["valgrind", "vgdb"] * options.instructions
    if missing := peers.missing_tools(wanted):
        sys.exit(f"not installed: {', '.join(missing)}")


def main() -> None:
    options = parse()
    check_tools(options)
    # Each peer lies in its environment with its bytecode, as a user's does: our package gets some, too.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    bench = peers.prepare(options.python, options.velodrome_path, options.load)
    options.loops = options.loops or peers.loops(bench.python)
    began = datetime.datetime.now(datetime.UTC)
    results = {
        "date": began.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": bench.versions(),
        "commit": commit(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rows": {},
    }
    if options.add_to:
        before = json.loads(options.add_to.read_text())
        check_alike(before, results)
        results = before
    output = (
        options.add_to
        or options.output
        or peers.HERE / "results" / f"{began:%Y-%m-%d-%H%M}-python-{report.python_of(results)}.json"
    )
    for name in options.rows or list(BY_NAME):
        if options.add_to:
            add_rounds(results, bench, BY_NAME[name], options)
        else:
            results["rows"][name] = measure_row(bench, BY_NAME[name], options)
        output.write_text(json.dumps(results, indent=1) + "\n")
    print(report.text(results))
    say(f"written: {output}")


if __name__ == "__main__":
    main()
