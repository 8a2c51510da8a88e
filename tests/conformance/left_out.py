"""Reads left_out.toml: the tests that asyncio passes and Velodrome need not pass yet, by name and reason."""

import dataclasses
import tomllib

KEYS = {"reason", "tests", "python", "driver", "run"}


@dataclasses.dataclass(frozen=True)
class Entry:
    reason: str
    tests: frozenset
    python: tuple  # ("3.11",): only there; empty: everywhere
    driver: str | None
    run: bool  # False: not even started, because it hangs

    def holds_for(self, target):
        minor = ".".join(target.version.split(".")[:2])
        return (not self.python or minor in self.python) and self.driver in (None, target.driver)


def read(path, suite):
    with open(path, "rb") as f:
        return [entry(table, path) for table in tomllib.load(f).get(suite, [])]


def entry(table, path):
    unknown = set(table) - KEYS
    if unknown:
        raise SystemExit(f"{path}: unknown keys {sorted(unknown)}")
    tests = table.get("tests", [])
    if not table.get("reason") or not tests:
        raise SystemExit(f"{path}: an entry needs a reason and tests: {table}")
    if any(c in test for test in tests for c in "*?["):
        raise SystemExit(f"{path}: tests are listed by name, not by pattern: {table['reason']}")
    python = table.get("python", [])
    return Entry(
        reason=table["reason"],
        tests=frozenset(tests),
        python=tuple([python] if isinstance(python, str) else python),
        driver=table.get("driver"),
        run=table.get("run", True),
    )


def names(entries, target, *, run=None):
    """The tests left out on a target; with `run`, only those that are (not) started."""
    return {t for e in entries if e.holds_for(target) and run in (None, e.run) for t in e.tests}
