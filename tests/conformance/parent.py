"""The parent: runs each test file in a child process of its own, follows it test by test, and goes on after a
hang or a crash, so that either costs one test.

What may become of a test: pass, fail, error, skip, xfail, hang (no end within the time for a test), crash
(the child died during it), notrun (never reached).
"""

import collections
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Where other projects' published tests lie once fetch.py has brought them (never committed).
CACHE = os.environ.get("CONFORMANCE_CACHE") or os.path.join(
    os.path.expanduser("~"), ".cache", "loop-conformance"
)

BAD = ("fail", "error", "hang", "crash", "notrun")
DEADLY = ("hang", "crash")

# What a child may say on stderr and should not.
MARKS = {
    "panicked": re.compile(r"panicked at"),
    "exc_ignored": re.compile(r"^Exception ignored", re.M),
    "fatal": re.compile(r"^Fatal Python error", re.M),
    "resource_warning": re.compile(r"ResourceWarning"),
    "task_destroyed": re.compile(r"Task was destroyed but it is pending"),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """What is tested: a loop, in an interpreter, on a driver."""

    suite: str
    loop: str
    python: str  # the interpreter's path
    version: str  # 3.12.1
    driver: str | None = None  # None: the loop's own choice
    impl: str | None = None  # uvloop's tests only: whose answer counts where asyncio and uvloop differ

    def __str__(self):
        return " ".join(filter(None, (self.version, self.loop, self.driver)))

    @property
    def slug(self):
        return "-".join(filter(None, (self.suite, self.loop, self.driver, self.version)))


@dataclasses.dataclass(frozen=True)
class Limits:
    """In seconds: for a test, for a file, and for the interpreter's end; and how often to try again."""

    test: float = 60
    file: float = 900
    exit: float = 20
    retries: int = 1  # of failed tests, in a fresh process; a later pass counts, and is marked flaky
    retry_at_most: int = 60
    restarts: int = 40  # of a file whose tests hang or crash


@dataclasses.dataclass
class FileResult:
    file: str
    tests: dict  # id -> what the child wrote of it
    secs: float
    children: int
    marks: collections.Counter
    exit: str | None  # what went wrong apart from the tests
    stderr: list

    @property
    def counts(self):
        return collections.Counter(t["status"] for t in self.tests.values())

    def summary(self):
        return {
            "total": len(self.tests),
            "counts": dict(self.counts),
            "children": self.children,
            "secs": self.secs,
            "exit": self.exit,
            "flaky": sum(1 for t in self.tests.values() if t.get("flaky")),
            "untouched": sum(1 for t in self.tests.values() if not t.get("touched")),
            "stderr_marks": {k: v for k, v in self.marks.items() if v},
        }


@dataclasses.dataclass
class Child:
    """One child's end: what it told, and how it ended."""

    tests: dict
    listed: list
    ended: bool  # it came to the end of its tests
    current: str | None  # the test it was in when it did not
    status: int | None
    hung: bool
    stderr: str

    @property
    def tail(self):
        return f"rc={self.status}\n{self.stderr[-1500:]}"


class FileRun:
    """One test file on one target, through as many children as that takes."""

    def __init__(self, target, file, exclude, limits, pythonpath=()):
        self.target, self.file, self.exclude, self.limits = target, file, exclude, limits
        self.pythonpath = list(pythonpath)
        self.tests, self.listed, self.exit = {}, [], None
        self.children, self.stderr, self.marks = 0, [], collections.Counter()

    def run(self, not_again=()):
        """`not_again` names the tests whose failure needs no second try."""
        since = time.monotonic()
        self._run_all()
        for test in self.listed:
            self.tests.setdefault(test, {"status": "notrun", "secs": None, "touched": False, "err": None})
        self._try_again(set(not_again))
        return FileResult(
            file=self.file,
            tests={i: dict(t, file=self.file) for i, t in self.tests.items()},
            secs=round(time.monotonic() - since, 1),
            children=self.children,
            marks=self.marks,
            exit=self.exit,
            stderr=self.stderr,
        )

    def _run_all(self):
        """Child after child, each begins behind the test that ended the one before."""
        for restart in range(self.limits.restarts + 1):
            child = self._child(skip=self.tests)
            if restart == 0:
                self.listed = child.listed
            self.tests.update(child.tests)
            if child.ended:
                self.exit = bad_end(child)
                return
            if child.current is not None:
                status = "hang" if child.hung else "crash"
                self.tests[child.current] = {
                    "status": status,
                    "secs": None,
                    "touched": True,
                    "err": child.tail,
                }
            elif not child.listed:  # the import failed, or it died before the first test
                self.exit = f"could not load: {child.tail}"
                return
            else:
                self.exit = "hang between tests" if child.hung else "crash between tests"
                if not child.tests:  # nobody to blame, and no way past
                    return
            if set(self.listed) <= set(self.tests):
                return

    def _try_again(self, not_again):
        bad = [i for i, t in self.tests.items() if t["status"] in ("fail", "error") and i not in not_again]
        for _ in range(self.limits.retries):
            if not bad or len(bad) > self.limits.retry_at_most:
                return
            for test, record in self._child(only=bad).tests.items():
                if record["status"] == "pass":
                    self.tests[test] = dict(record, flaky=True, err=self.tests[test].get("err"))
            bad = [i for i in bad if self.tests[i]["status"] != "pass"]

    def _child(self, only=None, skip=()):
        self.children += 1
        tmp = tempfile.mkdtemp(prefix="conf-")
        try:
            child = self._child_in(tmp, only, skip)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
        self.stderr.append(child.stderr)
        for mark, pattern in MARKS.items():
            self.marks[mark] += len(pattern.findall(child.stderr))
        return child

    def _child_in(self, tmp, only, skip):
        """One child with a folder of its own, in a process group of its own."""
        spec = {
            "suite": self.target.suite,
            "file": self.file,
            "loop": self.target.loop,
            "out": os.path.join(tmp, "out.jsonl"),
            "exclude": self.exclude,
            "only": only,
            "skip": sorted(skip),
        }
        spec_path, work, err = (os.path.join(tmp, n) for n in ("spec.json", "work", "stderr"))
        with open(spec_path, "w") as f:
            json.dump(spec, f)
        os.mkdir(work)
        with open(err, "wb") as stderr:
            process = subprocess.Popen(
                [self.target.python, "-X", "faulthandler", os.path.join(HERE, "child.py"), spec_path],
                cwd=work,
                env=self._environ(work),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                hung = self._follow(process, spec["out"])
            finally:
                kill_group(process.pid, signal.SIGKILL)  # what it may have left behind
        with open(err, "rb") as f:
            text = f.read().decode("utf-8", "replace")
        return Child(
            *read_events(spec["out"]),
            status=process.returncode,
            hung=hung,
            stderr=text,
        )

    def _environ(self, work):
        environ = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("PYTHON", "UVLOOP", "CONF_", "GITHUB_", "TRAVIS"))
        }
        environ.update(
            PYTHONHASHSEED="0",
            TMPDIR=work,
            LC_ALL="C.UTF-8",
            CONF_LOOPMODULE=self.target.loop,
            **({"CONF_IMPL": self.target.impl} if self.target.impl else {}),
            **({"VELODROME_DRIVER": self.target.driver} if self.target.driver else {}),
        )
        path = list(self.pythonpath)
        if self.target.suite == "uvloop":
            path.insert(0, CACHE)
            if self.target.loop != "uvloop":
                path.insert(0, os.path.join(HERE, "shim"))
        if path:
            environ["PYTHONPATH"] = os.pathsep.join(path)
        return environ

    def _follow(self, process, out):
        """Wait for the child, and end it when it wrote nothing for too long. Returns whether it hung."""
        begun = last = time.monotonic()
        size, at_the_end = 0, False
        while True:
            try:
                process.wait(0.1)
                return False
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            grown = os.path.getsize(out) if os.path.exists(out) else 0
            if grown != size:
                size, last = grown, now
                at_the_end = last_line_is_end(out)
            patience = self.limits.exit if at_the_end else self.limits.test
            if now - last > patience or now - begun > self.limits.file:
                end(process)
                return True


def bad_end(child):
    """What went wrong after the last test, or None."""
    if child.hung:
        return "hang at interpreter exit"
    if child.status != 0:
        return f"exit status {child.status} at interpreter exit"
    return None


def last_line_is_end(out):
    with open(out, "rb") as f:
        f.seek(max(0, os.path.getsize(out) - 40))
        return b'"ev": "end"' in f.read()


def end(process):
    """First so that faulthandler prints where it is."""
    for sig in (signal.SIGABRT, signal.SIGKILL):
        kill_group(process.pid, sig)
        try:
            process.wait(5)
            return
        except subprocess.TimeoutExpired:
            pass


def kill_group(pid, sig):
    with contextlib.suppress(OSError):
        os.killpg(pid, sig)


def read_events(out):
    """(tests, listed, ended, current) from what a child wrote."""
    tests, listed, ended, current = {}, [], False, None
    if not os.path.exists(out):
        return tests, listed, ended, current
    with open(out) as f:
        for line in f:
            try:
                event = json.loads(line)
            except ValueError:  # the child died while it wrote
                continue
            kind = event.pop("ev")
            if kind == "list":
                listed = event["ids"]
            elif kind == "start":
                current = event["id"]
            elif kind == "stop":
                tests[event.pop("id")] = event
                current = None
            elif kind == "end":
                ended = True
    return tests, listed, ended, current
