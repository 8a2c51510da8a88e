#!/usr/bin/env python3
"""The tests that tornado, anyio and uvicorn publish, whole, on asyncio's loop and on ours: nothing may
fail on ours that passes on asyncio's.

    python run_suites.py [NAME]... [--driver NAME] [-v]

Exceptions are in left_out.toml, by name, under the suite's name. Those tests run under `python -m velodrome
--as-uvloop`, so that they get our loop by whatever way they ask for one.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile

import fetch
import left_out
import parent

CHILD = os.path.join(parent.HERE, "suite_child.py")
LEFT_OUT = os.path.join(parent.HERE, "left_out.toml")
OURS = "velodrome"
LOOPS = ("asyncio", OURS)
PATIENCE = 1200.0  # seconds for a suite: ten times what the longest takes


@dataclasses.dataclass(frozen=True)
class Suite:
    name: str
    runner: tuple  # the words that suite_child.py is told
    whole: tuple  # and these, for all the tests
    environ: dict = dataclasses.field(default_factory=dict)


# A hang costs a test, not the run. The cache is of no use.
PYTEST = ("pytest", "-q", "--timeout", "120", "-p", "no:cacheprovider")

SUITES = [
    # Its own time-out, of 5 s, is short on a busy machine; this is what its own CI sets.
    Suite("tornado", ("tornado.test",), (), {"ASYNC_TEST_TIMEOUT": "25"}),
    Suite("anyio", PYTEST, ("tests",)),
    # Its options ask for eight processes.
    Suite("uvicorn", (*PYTEST, "-o", "addopts=--strict-config --strict-markers"), ("tests",)),
]


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run told: id -> {"status", "err"}, and module -> how many loops."""

    tests: dict
    loops: dict
    output: str

    def names(self, *statuses):
        return {name for name, test in self.tests.items() if test["status"] in statuses}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("name", nargs="*", help="only these suites")
    ap.add_argument("--driver", help="VELODROME_DRIVER for the tests")
    ap.add_argument("--jobs", type=int, default=2, help="runs at a time")
    ap.add_argument("-v", "--verbose", action="store_true", help="show what was said of a failure")
    args = ap.parse_args()
    suites = [suite for suite in SUITES if not args.name or suite.name in args.name]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = {
            (suite.name, loop): pool.submit(run, suite, loop, args.driver, suite.whole)
            for suite in suites
            for loop in LOOPS
        }
    # The pool is empty: what failed gets its second try with nothing else of ours running.
    failed = sum(judge(suite, args, *(runs[suite.name, loop].result() for loop in LOOPS)) for suite in suites)
    passed = sum(len(runs[suite.name, OURS].result().names("pass")) for suite in suites)
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def run(suite, loop, driver, arguments):
    source = fetch.sdist(suite.name)
    launcher = ["-m", OURS, "--as-uvloop"] if loop == OURS else []
    with tempfile.TemporaryDirectory(prefix="conf-") as folder:
        out = os.path.join(folder, "out.json")
        process = subprocess.Popen(
            [sys.executable, *launcher, CHILD, out, *suite.runner, *arguments],
            cwd=folder if suite.runner == ("tornado.test",) else source,
            env={**os.environ, **suite.environ, **({"VELODROME_DRIVER": driver} if driver else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            parent.end(process)
            output, _ = process.communicate()
        finally:
            parent.kill_group(process.pid, parent.signal.SIGKILL)
        if not os.path.exists(out):
            return Run({}, {}, output)
        with open(out) as f:
            return Run(**json.load(f), output=output)


def judge(suite, args, theirs, ours):
    """Prints what was seen; returns how much of it is against us."""
    target = parent.Target(suite.name, OURS, sys.executable, platform.python_version(), args.driver)
    entries = left_out.read(LEFT_OUT, suite.name)
    left = left_out.names(entries, target)
    want = theirs.names("pass")
    # What asks for uvloop by itself is skipped on asyncio: it is held against the same test with asyncio.
    twins = {name for name in ours.names("fail") if name.replace("asyncio+uvloop", "asyncio") in want}
    missing = (want - ours.names("pass") | twins) - left
    if missing and ours.tests:  # once more: a busy machine is no verdict
        again = run(suite, OURS, args.driver, sorted(missing))
        missing -= again.names("pass")
    unexpected = left & want & ours.names("pass")
    unknown = left - set(theirs.tests)
    for title, result in zip(LOOPS, (theirs, ours), strict=True):
        counts = " ".join(f"{s}={len(result.names(s))}" for s in ("pass", "fail", "skip", "xfail"))
        print(f"{suite.name:10} {title:10} {len(result.tests):5} tests  {counts}  loops made: {result.loops}")
    for name in sorted(missing):
        print(f"   FAILED {ours.tests.get(name, {}).get('status', 'absent'):6} {name}")
        if args.verbose:
            print(ours.tests.get(name, {}).get("err", ""))
    for name in sorted(unexpected):
        print(f"   PASSED, though left out: {name}")
    for name in sorted(unknown):
        print(f"   left out, but no test: {name}")
    if not ours.loops.get(f"{OURS}._loop") or not want:
        print(f"   FAILED to run:\n{theirs.output[-3000:]}\n{ours.output[-3000:]}")
        return 1 + len(missing)
    return len(missing) + len(unexpected) + len(unknown)


if __name__ == "__main__":
    sys.exit(main())
