"""RESULTS.md and the charts, from a JSON of `run.py`; nothing in them is written by hand.

python benchmarks/markdown.py [RESULT.json...]      by default the newest result of each Python

Each result has a part of its own in RESULTS.md; the charts show the first.
"""

from __future__ import annotations

import datetime
import pathlib
import sys

import chart
import report
from report import FIGURES, OWN

ROOT = pathlib.Path(__file__).parent.parent
CHARTS = pathlib.Path("benchmarks", "results")
# Written by `make bench-rust ARGS=--write`.
RUST = ROOT / CHARTS / "rust.md"


def provenance(results: dict) -> str:
    machine, versions = results["machine"], results["versions"]
    date = datetime.datetime.fromisoformat(results["date"])
    added = ", ".join(f"{name} {rounds}" for name, rounds in results.get("added", {}).items())
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Measured on {date:%d %B %Y} at commit `{results.get('commit') or 'unknown'}`: "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']} {machine['kernel']}; "
        f"{packages}. Loops in turn for {results['rounds']} rounds of {results['seconds']:g} s, "
        "the best round of each kept." + (f" Rounds more, against noise: {added}." if added else "")
    )


def marked(row: list[str], best: str | None, names: list[str]) -> list[str]:
    """The best loop of a row stands out, whoever it is."""
    column = names.index(best) + 1 if best else None
    return [f"**{cell}**" if index == column else cell for index, cell in enumerate(row)]


def table(results: dict, figure: report.Figure) -> str:
    names = report.loops(results)
    head, *body = report.table(results, figure)
    lines = report.lines(results, figure)
    bold = [marked(row, best_of_all(line), names) for row, line in zip(body, lines, strict=True)]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *bold])


def best_of_all(line: report.Line) -> str | None:
    """The floor is no loop, and takes no part."""
    loops = {loop: v for loop, v in line.values.items() if v is not None and loop != report.FLOOR}
    return (max if line.higher_is_better else min)(loops, key=loops.get) if loops else None


def missed(results: dict) -> str:
    lines = [line for line in report.lines(results, OWN) if report.misses(results, line)]
    listed = [
        f"* {line.row.title}: ratio {report.ratio(line.ratio)}, {report.verdict(results, line)}"
        for line in lines
    ]
    return "\n".join(listed) or "None of the rows that were measured."


def section(results: dict, figure: report.Figure) -> str:
    return f"### {figure.title}\n\n{table(results, figure)}"


def part(results: dict) -> list[str]:
    """All that was measured with one Python."""
    parts = [
        f"## Python {report.python_of(results)}",
        provenance(results),
        *(section(results, figure) for figure in FIGURES if report.lines(results, figure)),
        f"### Rows that miss their goal\n\n{missed(results)}",
    ]
    if failures := report.errors(results):
        parts.append("### Not measured\n\n" + "\n".join(f"* {failure}" for failure in failures))
    return parts


def document(every: list[dict]) -> str:
    parts = [
        "# Results",
        "Made by `make bench`; see [benchmarks](benchmarks) for how. **Bold** is the best loop of a row, "
        "`ratio` is Velodrome to the best of the others, `floor` is a C program over epoll.",
        *(text for results in every for text in part(results)),
    ]
    if RUST.exists():
        parts.append("## The Rust face\n\n" + RUST.read_text().strip())
    return "\n\n".join(parts) + "\n"


def main() -> None:
    every = report.load(sys.argv[1:])
    (ROOT / "RESULTS.md").write_text(document(every))
    for theme in chart.THEMES:
        chart.draw(every[0], theme, ROOT / CHARTS / f"chart-{theme}.svg")


if __name__ == "__main__":
    main()
