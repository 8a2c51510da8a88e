"""Where the instructions of a row go: `callgrind_row.py LOOP ROW` prints user-space instructions by function.

The dump stays in .cache/bench, for kcachegrind. Figures are per message (or operation), not per run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

import measure
import peers
from experiment import Experiment
from rows import BY_NAME

# `1,234 (56.7%)  file:function [object]`, as callgrind_annotate prints it.
ENTRY = re.compile(r"^\s*([\d,]+) \(\s*([\d.]+)%\)\s+(.*)$")


def annotated(dump: str, inclusive: bool) -> list[tuple[int, str, str]]:
    command = [
        "callgrind_annotate",
        "--auto=no",
        "--threshold=99.9",
        f"--inclusive={'yes' if inclusive else 'no'}",
        dump,
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    entries = [match.groups() for match in map(ENTRY.match, said.splitlines()) if match]
    return [(int(count.replace(",", "")), share, shortened(name)) for count, share, name in entries]


def shortened(name: str) -> str:
    """Without folders, the placeholder of an unknown source, and the hash that Rust appends."""
    name = re.sub(r"^\?\?\?:", "", re.sub(r"(?<![^\[])[^\s\[\]]*/", "", name))
    return re.sub(r"::h[0-9a-f]{16}", "", name)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("loop")
    parser.add_argument("row", choices=[name for name, row in BY_NAME.items() if row.counted], metavar="ROW")
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--inclusive", action="store_true", help="a function together with all that it calls")
    parser.add_argument("--velodrome-path", default=str(peers.ROOT / "python"), metavar="FOLDER")
    parser.add_argument("--python", metavar="PROGRAM")
    parser.add_argument("--load", metavar="PROGRAM")
    return parser.parse_args()


def main() -> None:
    options = parse()
    bench = peers.prepare(options.python, options.velodrome_path, options.load)
    out = peers.BUILT / f"callgrind.{options.loop}.{options.row}"
    out.with_name(out.name + ".1").unlink(missing_ok=True)
    row = BY_NAME[options.row]
    dump, counted = Experiment(bench, row, options.loop, 0).profile(out)
    messages = counted * row.at_once
    print(
        f"{measure.instructions(dump) / messages:,.0f} instructions per message; dump: {dump}",
        file=sys.stderr,
    )
    for count, share, name in annotated(str(dump), options.inclusive)[: options.top + 1]:
        print(f"{count / messages:12,.1f} {share:>6} %  {name}")


if __name__ == "__main__":
    main()
