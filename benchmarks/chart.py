"""The chart of the README, light and dark: each row's cost against the best peer, lost rows included."""

from __future__ import annotations

import dataclasses
import pathlib

import matplotlib

matplotlib.use("svg")

import report
from matplotlib import pyplot
from report import FLOOR, OURS, OWN

# Beyond this a bar says no more than "far", and would press the others together.
FAR = 3.0


@dataclasses.dataclass(frozen=True)
class Theme:
    text: str
    grid: str
    ours: str
    theirs: dict[str, str]


PEERS = ["asyncio", "uvloop", "rloop", "aiofastnet", "zuvloop", "rsloop"]


def _theirs(*colours: str) -> dict[str, str]:
    return dict(zip(PEERS, colours, strict=True))


THEMES = {
    "light": Theme(
        text="#1f2328",
        grid="#d1d9e0",
        ours="#0a7d55",
        theirs=_theirs("#8c959f", "#c98a1b", "#6f5bd0", "#2f81b7", "#b5476d", "#7a6a58"),
    ),
    "dark": Theme(
        text="#e6edf3",
        grid="#30363d",
        ours="#3fd69b",
        theirs=_theirs("#7d8590", "#e3b341", "#a797ff", "#6cb6ff", "#ff8fb3", "#c2b09a"),
    ),
}


def cost(line: report.Line, loop: str) -> float | None:
    """Relative to the best peer; where more is better, turned over, so that short is always good."""
    value, best = line.values.get(loop), line.values.get(line.best_peer) if line.best_peer else None
    if not value or not best:
        return None
    return best / value if line.higher_is_better else value / best


def dots(axes, lines: list[report.Line], loop: str, colour: str, size: float) -> None:
    found = [(cost(line, loop), index) for index, line in enumerate(lines)]
    points = [(min(value, FAR), index) for value, index in found if value is not None]
    if points:
        axes.scatter(
            *zip(*points, strict=True), s=size, color=colour, label=loop, zorder=4 if loop == OURS else 3
        )


def dress(axes, lines: list[report.Line], theme: Theme) -> None:
    axes.axvline(1.0, color=theme.text, linewidth=0.8)
    axes.set_yticks(range(len(lines)), [line.row.title for line in lines], color=theme.text)
    axes.set_xlim(0, FAR + 0.1)
    axes.set_xlabel(
        f"cost relative to the best peer: left is better ({FAR:g} = {FAR:g} or more)", color=theme.text
    )
    axes.tick_params(colors=theme.text, length=0)
    axes.grid(axis="both", color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.invert_yaxis()
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw(results: dict, name: str, path: pathlib.Path) -> None:
    theme, lines = THEMES[name], report.lines(results, OWN)
    # Text stays text: it is sharp at every size and can be searched; a fixed salt keeps the file the same.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "velodrome", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(8, 0.26 * len(lines) + 1.2))
    for loop in report.loops(results):
        if loop != FLOOR:
            colour = theme.ours if loop == OURS else theme.theirs.get(loop, theme.text)
            dots(axes, lines, loop, colour, 60 if loop == OURS else 26)
    dress(axes, lines, theme)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=7, frameon=False, labelcolor=theme.text)
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
