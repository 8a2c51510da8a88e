"""The child process: runs the tests of one file and writes down each one's fate as it goes.

    python child.py SPEC.json

It imports nothing of its neighbours, and takes their folder off `sys.path`: what is tested is what is
installed. Every line it writes is a JSON object with the key "ev": "list" (what there is to run), "start",
"stop", "end".
"""

import asyncio
import asyncio.unix_events as ue
import fnmatch
import importlib
import json
import os
import sys
import time
import traceback
import unittest
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))

# How many loops the tests asked for: a test that asked for none says nothing about ours.
loops_made = 0


def main(spec_path):
    with open(spec_path) as f:
        spec = json.load(f)
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != HERE]
    prefix, tests = (load_cpython if spec["suite"] == "cpython" else load_uvloop)(spec)

    def name(test):
        return test.id().removeprefix(prefix)

    def wanted(test):
        return not any(fnmatch.fnmatchcase(name(test), p) for p in spec["exclude"]) and (
            spec["only"] is None or name(test) in spec["only"]
        )

    tests = [t for t in tests if wanted(t)]
    with open(spec["out"], "a", buffering=1) as out:

        def emit(**event):
            out.write(json.dumps(event) + "\n")
            out.flush()

        emit(ev="list", ids=[name(t) for t in tests])
        seen = set(spec["skip"])
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            unittest.TestSuite(t for t in tests if name(t) not in seen).run(Diary(emit, name))
        emit(ev="end")


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def tests_of(module):
    return list(flat(unittest.TestLoader().loadTestsFromModule(module)))


# ------------------------------------------------------------------ CPython's tests


def load_cpython(spec):
    prefix = "test.test_asyncio."
    factory = install(spec["loop"])
    module = importlib.import_module(prefix + spec["file"])
    adapt(spec["file"], module, factory)
    return prefix, tests_of(module)


def install(loop_module):
    """Make every way in which the tests come by a loop give the target's.

    These are: asyncio.new_event_loop(), policy.new_event_loop(), asyncio.Runner and run,
    IsolatedAsyncioTestCase (all through the default policy's _loop_factory),
    asyncio.SelectorEventLoop(selector), asyncio.EventLoop().
    """
    if loop_module == "asyncio":
        make = loop_class = ue._UnixSelectorEventLoop
    else:
        make = importlib.import_module(loop_module).new_event_loop
        probe = make()
        loop_class = type(probe)
        probe.close()

    def factory(*args, **kwargs):
        global loops_made
        loops_made += 1
        return make()

    class Meta(type):
        def __instancecheck__(self, obj):
            return isinstance(obj, loop_class)

        def __subclasscheck__(self, sub):
            return issubclass(sub, loop_class)

    class SelectorEventLoop(metaclass=Meta):
        def __new__(cls, selector=None):
            return factory()

    asyncio.SelectorEventLoop = ue.SelectorEventLoop = SelectorEventLoop
    for module in (asyncio, ue):
        if hasattr(module, "EventLoop"):
            module.EventLoop = SelectorEventLoop
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy", "DefaultEventLoopPolicy"):
        policy = getattr(ue, name, None)
        if policy is not None:
            policy._loop_factory = staticmethod(factory)
    if loop_module != "asyncio" and hasattr(ue, "BaseChildWatcher"):
        excuse_child_watchers()
    return factory


def excuse_child_watchers():
    """asyncio's SIGCHLD watchers are not part of the loop's contract (3.14 has none): one that refuses them
    must not fail setUp."""
    real = ue.BaseChildWatcher.attach_loop

    def attach_loop(self, loop):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                real(self, loop)
        except Exception:
            self._loop = None

    ue.BaseChildWatcher.attach_loop = attach_loop


def adapt(file, module, factory):
    """Where a file makes a loop of asyncio's inside, though its tests use public methods only, give it
    ours."""
    from test.test_asyncio import utils

    adapt_close(utils)
    if file in ("test_tasks", "test_futures"):
        adapt_new_test_loop(utils, factory)
    if file == "test_tasks":

        def _run_loop(self, loop):
            for _ in range(10):
                utils.run_briefly(loop)

        module.GatherTestsBase._run_loop = _run_loop
    if file == "test_runners":
        adapt_runners(module, factory)


def adapt_close(utils):
    """asyncio's helper reads loop._default_executor: where there is none, public methods do the same."""
    real = utils.TestCase.close_loop

    def close_loop(loop):
        if hasattr(loop, "_default_executor"):
            return real(loop)
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return None

    utils.TestCase.close_loop = staticmethod(close_loop)


def adapt_new_test_loop(utils, factory):
    real = utils.TestCase.new_test_loop

    def new_test_loop(self, gen=None):
        if gen is not None:  # a clock set by hand: stays on asyncio's TestLoop
            return real(self, gen)
        loop = factory()
        self.set_event_loop(loop)
        return loop

    utils.TestCase.new_test_loop = new_test_loop


def adapt_runners(module, factory):
    def new_loop(self):
        loop = factory()
        loop.shutdown_ag_run = False

        async def shutdown_asyncgens():
            loop.shutdown_ag_run = True

        loop.shutdown_asyncgens = shutdown_asyncgens
        return loop

    module.BaseTest.new_loop = new_loop


# ------------------------------------------------------------------ uvloop's tests


def load_uvloop(spec):
    prefix = "uvloop_tests."
    testbase = importlib.import_module("uvloop._testbase")
    testbase.UVTestCase.implementation = os.environ.get("CONF_IMPL") or (
        "uvloop" if spec["loop"] == "uvloop" else "asyncio"
    )
    real = testbase.UVTestCase.new_loop

    def new_loop(self):
        global loops_made
        loops_made += 1
        return real(self)

    testbase.UVTestCase.new_loop = new_loop
    module = importlib.import_module(prefix + spec["file"])
    return prefix, [t for t in tests_of(module) if not isinstance(t, testbase.AIOTestCase)]


# ------------------------------------------------------------------ what became of each test


class Diary(unittest.TestResult):
    RANK = ("pass", "xfail", "skip", "fail", "error")

    def __init__(self, emit, name):
        super().__init__()
        self._emit, self._name = emit, name
        self._begin()

    def _begin(self):
        self._status, self._why, self._loops, self._since = "pass", None, loops_made, time.monotonic()

    def _set(self, status, why=None):
        """The worst that happened to a test is its status."""
        if self.RANK.index(status) >= self.RANK.index(self._status):
            self._status = status
            self._why = why or self._why

    def startTest(self, test):  # CPython 3.12.1 does not call it for a skipped test
        super().startTest(test)
        self._begin()
        self._emit(ev="start", id=self._name(test))

    def addError(self, test, err):
        if isinstance(test, unittest.TestCase):
            self._set("error", trace(err))
        else:  # setUpClass or setUpModule
            self._emit(ev="stop", id=self._name(test), status="error", secs=0, touched=False, err=trace(err))

    def addFailure(self, test, err):
        self._set("fail", trace(err))

    def addSubTest(self, test, subtest, err):
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self._set("fail" if failed else "error", f"{subtest}\n{trace(err)}")

    def addSkip(self, test, reason):
        if isinstance(test, unittest.TestCase):
            self._set("skip", reason)

    def addExpectedFailure(self, test, err):
        self._set("xfail")

    def addUnexpectedSuccess(self, test):
        self._set("fail", "unexpected success")

    def stopTest(self, test):
        self._emit(
            ev="stop",
            id=self._name(test),
            status=self._status,
            secs=round(time.monotonic() - self._since, 3),
            touched=loops_made > self._loops,
            err=self._why,
        )
        super().stopTest(test)
        self._begin()


def trace(err):
    return "".join(traceback.format_exception(*err))[-3000:]


if __name__ == "__main__":
    main(sys.argv[1])
