"""The command behind run_cpython.py and run_uvloop_suite.py: which targets, the files in parallel, the score,
and the verdict.

The verdict is against us when a reference test fails that is not left out, when one that is left out passes,
when the list of those names a test that no reference has, and at any crash, hang, panic or fatal error at
all.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import glob
import json
import os
import platform
import subprocess
import sys
import time

import left_out
import parent

LEFT_OUT = os.path.join(parent.HERE, "left_out.toml")
OURS = "velodrome"


@dataclasses.dataclass(frozen=True)
class Suite:
    name: str
    describe: str
    find_files: str  # a program that prints the names of the test files
    no_files: str  # what to do where it does not
    references: list  # file names under ref/, {} is the Python's version; the first one decides
    excluded_files: dict  # name -> reason
    excluded_tests: list  # (pattern, reason)
    loop_files: frozenset = frozenset()  # scored apart: they test the loop itself, the others what runs on it


@dataclasses.dataclass(frozen=True)
class Reference:
    """The tests that pass on asyncio itself with the same Python."""

    name: str
    ids: frozenset
    exact: bool  # made with this very version


@dataclasses.dataclass
class Outcome:
    """All that was seen on one target."""

    target: parent.Target
    files: dict = dataclasses.field(default_factory=dict)  # name -> FileResult
    passed: int = 0
    missing: list = dataclasses.field(default_factory=list)  # reference tests that should have passed
    unexpected: list = dataclasses.field(default_factory=list)  # left out, and passed
    left: int = 0  # left out, and did not pass
    score: dict = dataclasses.field(default_factory=dict)

    @property
    def tests(self):
        return {i: t for r in self.files.values() for i, t in r.tests.items()}

    def deaths(self):
        """What must never happen, in a reference test or any other."""
        for i, t in sorted(self.tests.items()):
            if t["status"] in parent.DEADLY:
                yield f"{t['status']}: {i}\n{t['err']}"
        for name, result in self.files.items():
            if result.exit:
                yield f"{name}: {result.exit}"
            # A hang ends with our own SIGABRT, which faulthandler calls fatal too.
            hangs = sum(1 for t in result.tests.values() if t["status"] == "hang")
            hangs += bool(result.exit and result.exit.startswith("hang"))
            if result.marks["panicked"]:
                yield f"{name}: {result.marks['panicked']} x 'panicked' on stderr"
            if result.marks["fatal"] > hangs:
                yield f"{name}: {result.marks['fatal'] - hangs} x 'Fatal Python error' on stderr"


def main(suite):
    args = arguments(suite.describe).parse_args()
    if args.list_excluded:
        return list_excluded(suite)
    entries = []
    path = args.left_out or (LEFT_OUT if args.loop == OURS else None)
    if path:
        entries = left_out.read(path, suite.name)
    outcomes = run_all(suite, args, entries)
    if args.write_ref:
        return write_reference(args.write_ref, outcomes)
    failed = unknown_names(suite, entries)
    for outcome in outcomes:
        judge(suite, args, outcome, entries)
        failed += report(args, outcome)
        write_json(suite, args, outcome)
    passed, left = sum(o.passed for o in outcomes), sum(o.left for o in outcomes)
    print(f"\n{passed} passed, {failed} failed, {left} skipped")
    return 1 if failed else 0


def arguments(describe):
    ap = argparse.ArgumentParser(description=describe, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("loop", metavar="LOOPMODULE", help="a module with new_event_loop(), or asyncio")
    ap.add_argument("--python", action="append", help="an interpreter (repeat; default: this one)")
    ap.add_argument("--driver", action="append", help="VELODROME_DRIVER for the tests (repeat)")
    ap.add_argument("--file", action="append", help="only this test file (repeat)")
    ap.add_argument("--jobs", type=int, default=1, help="files at a time")
    ap.add_argument("--left-out", metavar="TOML", help="default: left_out.toml, when the loop is ours")
    ap.add_argument("-v", "--verbose", action="store_true", help="list what did not pass, with its last line")
    ap.add_argument("--suggest", action="store_true", help="print what failed, ready for left_out.toml")
    ap.add_argument("--strict", action="store_true", help="a pass at the second try is no pass")
    ap.add_argument("--all", action="store_true", help="run what is excluded too")
    ap.add_argument("--list-excluded", action="store_true")
    ap.add_argument("--write-ref", metavar="FILE", help="make a reference of what passed here and is in it")
    ap.add_argument("-o", "--out", default="results", help="folder for the result JSON (default: results)")
    ap.add_argument("--logs", metavar="FOLDER", help="keep the stderr of each file")
    ap.add_argument("--pythonpath", default="", help="where LOOPMODULE is")
    ap.add_argument("--impl", choices=("asyncio", "uvloop"), help="uvloop's tests: whose answer counts")
    ap.add_argument("--test-timeout", type=float, default=parent.Limits.test)
    ap.add_argument("--file-timeout", type=float, default=parent.Limits.file)
    ap.add_argument("--exit-timeout", type=float, default=parent.Limits.exit)
    ap.add_argument("--retries", type=int, default=parent.Limits.retries)
    return ap


def list_excluded(suite):
    for name, why in sorted(suite.excluded_files.items()):
        print(f"{name:24} (file)  {why}")
    for pattern, why in suite.excluded_tests:
        print(f"{pattern}  {why}")
    return 0


# ------------------------------------------------------------------ running


def run_all(suite, args, entries):
    """Every file on every target, `--jobs` at a time."""
    limits = parent.Limits(
        test=args.test_timeout, file=args.file_timeout, exit=args.exit_timeout, retries=args.retries
    )
    outcomes = [Outcome(target) for target in targets(suite, args)]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        waiting = {
            pool.submit(run_file, suite, args, entries, limits, outcome.target, file): outcome
            for outcome in outcomes
            for file in files_of(suite, args, outcome.target)
        }
        for future in concurrent.futures.as_completed(waiting):
            outcome, result = waiting[future], future.result()
            outcome.files[result.file] = result
            print(line_about(outcome.target, result), flush=True)
    return outcomes


def targets(suite, args):
    for python in args.python or [sys.executable]:
        python = os.path.abspath(python)  # the children run elsewhere; not its real path, or a venv is lost
        version = ask(python, "import platform; print(platform.python_version())")
        for driver in args.driver or [None]:
            yield parent.Target(suite.name, args.loop, python, version, driver, args.impl)


def files_of(suite, args, target):
    try:
        names = sorted(ask(target.python, suite.find_files).split())
    except subprocess.CalledProcessError:
        raise SystemExit(f"{target.python}: {suite.no_files}") from None
    if args.file:
        return [n for n in names if n in args.file]
    return [n for n in names if args.all or n not in suite.excluded_files]


def ask(python, program):
    asked = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    return asked.stdout.strip()


def run_file(suite, args, entries, limits, target, file):
    exclude = [] if args.all else [pattern for pattern, _ in suite.excluded_tests]
    exclude += left_out.names(entries, target, run=False)
    run = parent.FileRun(target, file, exclude, limits, filter(None, args.pythonpath.split(os.pathsep)))
    result = run.run(not_again=left_out.names(entries, target))
    if args.logs:
        os.makedirs(args.logs, exist_ok=True)
        with open(os.path.join(args.logs, f"{target.slug}-{file}.stderr"), "w") as f:
            f.write("\n======== next child ========\n".join(result.stderr))
    return result


def line_about(target, result):
    counts = " ".join(f"{k}={v}" for k, v in sorted(result.counts.items()))
    exit = f"  [{result.exit.splitlines()[0][:100]}]" if result.exit else ""
    marks = {k: v for k, v in result.marks.items() if v}
    return (
        f"{target!s:24} {result.file:24} {len(result.tests):4} tests  {counts}  {result.secs:.1f}s{exit}"
        f"{'  ' + json.dumps(marks) if marks else ''}"
    )


# ------------------------------------------------------------------ judging


def references(suite, target):
    """Those made with this version; else the nearest ones of the same minor version."""
    minor = ".".join(target.version.split(".")[:2])
    for pattern in suite.references:
        pattern = os.path.join(parent.HERE, "ref", pattern)
        exact = os.path.exists(pattern.format(target.version))
        paths = glob.glob(pattern.format(target.version if exact else f"{minor}.*"))
        if paths:
            name = os.path.basename(paths[0])
            yield Reference(name, frozenset(read_reference(paths[0])), exact)


def read_reference(path):
    with open(path) as f:
        return set(json.load(f)["ids"])


def judge(suite, args, outcome, entries):
    tests = outcome.tests
    ok = {i for i, t in tests.items() if t["status"] == "pass" and not (args.strict and t.get("flaky"))}
    left = left_out.names(entries, outcome.target)
    for number, ref in enumerate(references(suite, outcome.target)):
        want = set(ref.ids)
        if args.file:
            want = {i for i in want if i.split(".")[0] in args.file}
        if not ref.exact:  # a test that this version does not have is no loss
            want &= set(tests)
        outcome.score[ref.name] = {
            "passed": len(want & ok),
            "reference": len(want),
            "missing": sorted(want - ok),
            "groups": groups(suite, want, ok),
            "exact": ref.exact,
        }
        if number == 0:
            outcome.passed = len(want & ok)
            outcome.missing = sorted(want - ok - left)
            outcome.unexpected = sorted(want & ok & left)
            outcome.left = len((want & left) - ok)


def groups(suite, want, ok):
    if not suite.loop_files:
        return {}
    loop = {i for i in want if i.split(".")[0] in suite.loop_files}
    return {"loop": [len(loop & ok), len(loop)], "tasks": [len(want - loop & ok - loop), len(want - loop)]}


def unknown_names(suite, entries):
    """Names in the list that no reference has: misspelt, or gone from CPython."""
    known = set()
    for path in glob.glob(os.path.join(parent.HERE, "ref", suite.references[0].format("*"))):
        known |= read_reference(path)
    unknown = sorted({t for e in entries for t in e.tests} - known)
    for test in unknown:
        print(f"left out, but in no reference: {test}")
    return len(unknown)


def report(args, outcome):
    """Prints what was seen on a target; returns how much of it is against us."""
    tests = outcome.tests
    totals = collections.Counter(t["status"] for t in tests.values())
    flaky = sum(1 for t in tests.values() if t.get("flaky"))
    print(
        f"\n== {outcome.target}: {len(tests)} tests", " ".join(f"{k}={v}" for k, v in sorted(totals.items()))
    )
    for name, s in outcome.score.items():
        share = 100 * s["passed"] / max(1, s["reference"])
        print(
            f"   {name}: {s['passed']} / {s['reference']} = {share:.2f}%{'' if s['exact'] else ' (nearest)'}"
        )
        for group, (passed, of) in s["groups"].items():
            print(f"      {group:6} {passed} / {of}")
    if not outcome.score:
        print("   no reference for this version")
    if flaky:
        print(f"   {flaky} passed at the second try only")
    deaths = list(outcome.deaths())
    for test in outcome.missing:
        print(f"   FAILED {tests.get(test, {}).get('status', 'absent'):6} {test}")
    for test in outcome.unexpected:
        print(f"   PASSED, though left out: {test}")
    for death in deaths:
        print(f"   DEADLY {death}")
    if args.verbose:
        for i, t in sorted(tests.items()):
            if t["status"] in parent.BAD or t.get("flaky"):
                print(f"   {t['status']:6}{'*' if t.get('flaky') else ' '} {i}  | {last_line(t)}")
    if args.suggest and outcome.missing:
        suggest(outcome)
    return len(outcome.missing) + len(outcome.unexpected) + len(deaths)


def last_line(test):
    lines = (test.get("err") or "").strip().splitlines()
    return lines[-1][:150] if lines else ""


def suggest(outcome):
    print(f'\n[[{outcome.target.suite}]]\nreason = ""\ntests = [')
    for test in outcome.missing:
        print(f'    "{test}",')
    print("]")


# ------------------------------------------------------------------ what is kept


def write_json(suite, args, outcome):
    path = os.path.join(args.out, f"{outcome.target.slug}.json")
    os.makedirs(args.out, exist_ok=True)
    with open(path, "w") as f:
        json.dump(
            {
                "suite": suite.name,
                "loop": outcome.target.loop,
                "driver": outcome.target.driver,
                "python": outcome.target.version,
                "when": time.strftime("%FT%TZ", time.gmtime()),
                "kernel": platform.release(),
                "files": {n: r.summary() for n, r in outcome.files.items()},
                "tests": outcome.tests,
                "score": outcome.score,
                "unexpected": outcome.unexpected,
            },
            f,
            indent=1,
            sort_keys=True,
        )
    print(f"   written: {path}")


def write_reference(path, outcomes):
    """What passed and made a loop; where the file exists, only what is in it too, so that repeating it
    removes the tests that pass by luck."""
    if len(outcomes) != 1:
        raise SystemExit("--write-ref takes one Python and one driver")
    (outcome,) = outcomes
    ids = {i for i, t in outcome.tests.items() if t["status"] == "pass" and t.get("touched")}
    if os.path.exists(path):
        ids &= read_reference(path)
    target = outcome.target
    record = {"suite": target.suite, "loop": target.loop, "python": target.version, "ids": sorted(ids)}
    with open(path, "w") as f:
        json.dump(record, f, indent=0)
    print(f"written: {path}, {len(ids)} names")
    return 0
