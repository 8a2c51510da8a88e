"""The results as tables: on the terminal, in RESULTS.md, and the short one in the crate's README.

python benchmarks/rust/tables.py      writes both documents again, from the results of the last `--write`
"""

from __future__ import annotations

import datetime
import json
import operator
import pathlib
import statistics

from contest import BY_NAME, FLOOR, OURS, RIVAL, RUNTIMES, Any

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
STORED = HERE / "results.json"
# What `../markdown.py` puts into RESULTS.md.
SECTION = HERE.parent / "results" / "rust.md"
RESULTS = ROOT / "RESULTS.md"
README = ROOT / "crates" / "velodrome" / "README.md"
HEADING = "## The Rust face\n\n"
BEGIN, END = "<!-- made by make bench-rust ARGS=--write -->\n", "<!-- end -->\n"
NOTHING = "\N{EN DASH}"
OTHERS = [runtime for runtime in RUNTIMES if runtime not in (OURS, RIVAL)]

HOW = (
    "Made by `make bench-rust`: runtimes on one thread in turn, the best round of each; tokio is "
    "`current_thread`, `floor` the C loop over epoll. What each row does is in `benchmarks/rust/src`, goals "
    "are in `benchmarks/rust/contest.py`; `to tokio` is the share of its cost that Velodrome takes, the "
    "median of what it was in each round, which the machine's faster and slower minutes do not move. Servers "
    "are measured as Python's are: time on a processor, user and system, from the scheduler, instructions of "
    "user space by callgrind, system calls by strace. A row reaches its goal when it does by each figure "
    "that it has a goal for, and is ahead of compio and smol by the first."
)

FIGURES = {
    "own": "CPU of a message, µs; of an operation, ns (or what the row says)",
    "instructions": "User-space instructions of a message or operation",
    "calls": "System calls of a message or operation",
}


def figure(row: dict, runtime: str, key: str = "own") -> float | None:
    return row.get(runtime, {}).get(key)


def ratio(row: dict, key: str = "own", rival: str = RIVAL) -> float | None:
    """Our share of a rival's cost: round by round where there were rounds."""
    if key == "own" and figure(row, OURS) is not None and figure(row, rival) is not None:
        return statistics.median(map(operator.truediv, row[OURS]["rounds"], row[rival]["rounds"]))
    ours, theirs = figure(row, OURS, key), figure(row, rival, key)
    return ours / theirs if ours is not None and theirs else None


# ---------------------------------------------------------------- what is missed


def misses(about: Any, row: dict) -> list[str]:
    """What a row was to reach and does not, in words."""
    found = [f"{about.goal.total:.2f}"] if exceeds(ratio(row), about.goal.total) else []
    if exceeds(share := ratio(row, "instructions"), about.goal.instructions):
        found.append(f"instructions {share:.2f} > {about.goal.instructions:.2f}")
    if about.goal.no_more_calls_than_floor and more_calls(row):
        found.append("calls > floor")
    return found + [f"behind {other}" for other in OTHERS if is_behind(row, other)]


def exceeds(share: float | None, goal: float | None) -> bool:
    """As it is printed: a share of 1.004 is 1.00."""
    return share is not None and goal is not None and round(share, 2) > goal


def more_calls(row: dict) -> bool:
    """With a tolerance for the calls of attaching strace and of the end of a run, as for Python's loops."""
    ours, floor = figure(row, OURS, "calls"), figure(row, FLOOR, "calls")
    return ours is not None and floor is not None and ours > floor * 1.02


def is_behind(row: dict, other: str) -> bool:
    return exceeds(ratio(row, rival=other), 1.0)


def unknown(about: Any, row: dict) -> list[str]:
    """Goals that this run cannot judge."""
    wanted = {
        "total": (True, "own"),
        "instructions": (about.goal.instructions is not None, "instructions"),
        "calls": (about.goal.no_more_calls_than_floor, "calls"),
    }
    return [name for name, (asked, key) in wanted.items() if asked and figure(row, OURS, key) is None]


def verdict(about: Any, row: dict) -> str:
    missed, unseen = misses(about, row), unknown(about, row)
    said = "misses " + ", ".join(missed) if missed else "reached"
    return f"{said} ({', '.join(unseen)} not measured)" if unseen else said


def goal(about: Any) -> str:
    parts = [f"{about.goal.total:.2f}"]
    if about.goal.instructions is not None:
        parts.append(f"instructions {about.goal.instructions:.2f}")
    if about.goal.no_more_calls_than_floor:
        parts.append("calls \N{LESS-THAN OR EQUAL TO} floor")
    return ", ".join(parts)


# ---------------------------------------------------------------- tables


def number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"


def digits_of(about: Any, key: str) -> int:
    return {"own": about.digits, "instructions": 0, "calls": 2}[key]


def share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def markdown(rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [rows[0], rule, *rows[1:]])


def table(results: dict, key: str) -> str | None:
    """All that has this figure; the row's own figure is judged, the others are compared."""
    columns = [FLOOR, *RUNTIMES]
    judged = key == "own"
    body = []
    for name, row in results["rows"].items():
        about = BY_NAME[name]
        values = [figure(row, runtime, key) for runtime in columns]
        if any(value is not None for value in values):
            cells = [number(value, digits_of(about, key)) for value in values]
            verdicts = [goal(about), verdict(about, row)] if judged else []
            body.append([about.title, *cells, share(ratio(row, key)), *verdicts])
    head = [FIGURES[key], *columns, "to tokio", *(["goal", "verdict"] if judged else [])]
    return markdown([head, *body]) if body else None


def failures(results: dict) -> list[str]:
    return [
        f"* {BY_NAME[name].title}, {runtime}: {found['error']}"
        for name, row in results["rows"].items()
        for runtime, found in row.items()
        if "error" in found
    ]


def missed(results: dict) -> str:
    listed = [(BY_NAME[name], row) for name, row in results["rows"].items()]
    lines = [f"* {about.title}: {verdict(about, row)}" for about, row in listed if misses(about, row)]
    return "\n".join(lines) or "None of the rows that were measured."


def provenance(results: dict) -> str:
    date = datetime.datetime.fromisoformat(results["date"])
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"Measured on {date:%d %B %Y} at commit `{results['commit'] or 'unknown'}`: {results['machine']}; "
        f"{versions}; {results['rounds']} rounds of {results['seconds']:g} s."
    )


def section(results: dict) -> str:
    parts = [HOW, provenance(results), *(found for key in FIGURES if (found := table(results, key)))]
    parts.append("### Rows of the Rust face that miss a goal\n\n" + missed(results))
    if failed := failures(results):
        parts.append("### Not measured\n\n" + "\n".join(failed))
    return "\n\n".join(parts) + "\n"


def short(results: dict) -> str:
    """For the README: shares of tokio's cost, and what is missed."""
    body = [
        [about.title, share(ratio(row)), share(ratio(row, "instructions")), goal(about), verdict(about, row)]
        for about, row in ((BY_NAME[name], row) for name, row in results["rows"].items())
    ]
    head = ["share of tokio's cost", "CPU or memory", "instructions", "goal", "verdict"]
    return f"{markdown([head, *body])}\n\n{provenance(results)}\n"


# ---------------------------------------------------------------- documents


def replaced(text: str, begin: str, end: str | None, new: str) -> str:
    """`text` with what stands between two marks exchanged; without an end mark, up to the end."""
    before, found, rest = text.partition(begin)
    if not found:
        raise SystemExit(f"there is no line {begin.strip()!r} to write below")
    after = end + rest.partition(end)[2] if end else ""
    return before + begin + new + after


def write(results: dict) -> None:
    STORED.write_text(json.dumps(results, indent=1) + "\n")
    SECTION.write_text(section(results))
    RESULTS.write_text(replaced(RESULTS.read_text(), HEADING, None, section(results)))
    README.write_text(replaced(README.read_text(), BEGIN, END, short(results)))


if __name__ == "__main__":
    write(json.loads(STORED.read_text()))
