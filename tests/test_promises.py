"""Every row of the project's lists has a test with its number, or promises.toml says where or why not."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = {"pitfall": 41, "compatibility": 30, "scenario": 51}
NAMES = set(re.findall(r"def (test_\w+)", "\n".join(path.read_text() for path in TESTS.glob("test_*.py"))))
ELSEWHERE = tomllib.loads((TESTS / "promises.toml").read_text())


def numbered(kind: str) -> set[int]:
    """The rows that a test names: test_scenario_01_02_… names two."""
    found = (re.match(rf"test_{kind}((?:_\d\d)+)a?_", name) for name in NAMES)
    return {int(number) for match in found if match for number in match[1].split("_") if number}


def is_there(test: str) -> bool:
    """A test's name, or a file beside this one or in the checkout."""
    return test in NAMES or (TESTS / test).exists() or (TESTS.parent / test).exists()


@pytest.mark.parametrize("rows", ROWS)
def test_every_row_is_shown(rows):
    known = numbered(rows) | {int(number) for number in ELSEWHERE[rows]}
    assert set(range(1, ROWS[rows] + 1)) - known == set()


@pytest.mark.parametrize("rows", ROWS)
def test_what_is_said_to_show_it_is_there(rows):
    for number, said in ELSEWHERE[rows].items():
        assert set(said) == {"never"} or (said["shown"] and all(map(is_there, said["shown"]))), (rows, number)
