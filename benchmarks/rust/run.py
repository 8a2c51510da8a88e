"""The Rust face against tokio, compio and smol: `make bench-rust`.

Runtimes run in turn, for some rounds. Of each the best is shown, because noise only ever adds; two are
compared round by round, because the machine is now faster and now slower by a third, for longer than a
round. A workload is a process of its own, which prints what its measured part cost (`src/main.rs`); a row
over the network is a server program driven by `../load`. System calls and instructions, which noise does
not move, are counted once.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable

import tables
from contest import (
    BY_NAME,
    FLOOR,
    RUNTIMES,
    Any,
    Served,
    Waiting,
)  # shows the way to the modules of `..`, too
from figures import Experiment, Programs
from process import Failed


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- measuring


def attempt(experiment: Experiment, what: Callable[[], dict]) -> dict:
    """A failure is a result: it is kept with its reason, and the other runtimes go on."""
    try:
        return what()
    except (Failed, OSError, subprocess.SubprocessError, ValueError, KeyError, ArithmeticError) as error:
        say(f"    {experiment.runtime}: {error}")
        return {"error": f"{type(error).__name__}: {error}"}


def runtimes_of(row: Any) -> list[str]:
    return [FLOOR, *RUNTIMES] if isinstance(row, Served) and row.floor else RUNTIMES


def with_round(experiment: Experiment, kept: dict) -> dict:
    """What is kept and one round more. One failed round fails the row."""
    if "error" in kept:
        return kept
    found = attempt(experiment, experiment.round)
    if "error" in found:
        return found
    rounds = [*kept.get("rounds", []), found["own"]]
    return {"own": min(rounds), "rounds": rounds}


def measured(row: Any, programs: Programs, options: argparse.Namespace) -> dict[str, dict]:
    say(f"{row.name}: {row.title}")
    experiments = [Experiment(programs, row, runtime, options.seconds) for runtime in runtimes_of(row)]
    found: dict[str, dict] = {experiment.runtime: {} for experiment in experiments}
    # Memory does not depend on the moment, and thousands of connections take long to open.
    rounds = min(options.rounds, 2) if isinstance(row, Waiting) else options.rounds
    for _ in range(rounds):
        for experiment in experiments:
            found[experiment.runtime] = with_round(experiment, found[experiment.runtime])
    for experiment in experiments:
        if "error" not in found[experiment.runtime]:
            count(experiment, found[experiment.runtime], options)
    return found


def count(experiment: Experiment, figures: dict, options: argparse.Namespace) -> None:
    if options.calls:
        figures |= attempt(experiment, experiment.system_calls)
    if options.instructions:
        figures |= attempt(experiment, experiment.instructions)


# ---------------------------------------------------------------- what it ran on


def output(*argv: str) -> str:
    said = subprocess.run(argv, cwd=tables.ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip()


def machine() -> str:
    found = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    system = os.uname()
    processor = found[1] if found else system.machine
    return f"{processor}, {os.cpu_count()} cores, {system.sysname} {system.release}"


def versions() -> dict[str, str]:
    locked = (tables.HERE / "Cargo.lock").read_text()
    return dict(re.findall(rf'^name = "({"|".join(RUNTIMES)})"\nversion = "(.*)"$', locked, re.MULTILINE))


# ---------------------------------------------------------------- the command


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, help="all runtimes, built in release mode")
    parser.add_argument("--load", required=True, metavar="PROGRAM", help="the load generator")
    parser.add_argument("--floor", required=True, metavar="PROGRAM", help="../servers/floor.c, compiled")
    parser.add_argument(
        "--rows", nargs="+", choices=list(BY_NAME), metavar="ROW", default=list(BY_NAME), help="only these"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.2, help="how long a server is asked in a round")
    parser.add_argument("--write", action="store_true", help="into RESULTS.md and the crate's README too")
    parser.add_argument("--output", type=pathlib.Path, help="the figures as JSON, to look at")
    parser.add_argument(
        "--no-calls", dest="calls", action="store_false", help="do without strace, and its figures"
    )
    parser.add_argument(
        "--no-instructions", dest="instructions", action="store_false", help="do without callgrind"
    )
    return parser.parse_args()


def check_tools(options: argparse.Namespace) -> None:
    wanted = ["strace"] * options.calls + ["valgrind", "vgdb"] * options.instructions
    if missing := [tool for tool in wanted if not shutil.which(tool)]:
        sys.exit(f"not installed: {', '.join(missing)}; there are --no-calls and --no-instructions")


def main() -> None:
    options = parse()
    check_tools(options)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    programs = Programs(options.program, options.load, options.floor)
    results = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": output("git", "describe", "--always", "--dirty"),
        "machine": machine(),
        "versions": versions(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rows": {},
    }
    for name in options.rows:
        results["rows"][name] = measured(BY_NAME[name], programs, options)
    print(tables.section(results))
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    if options.write:
        tables.write(results)


if __name__ == "__main__":
    main()
