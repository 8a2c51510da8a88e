"""Runs the tests that a project publishes, with the runner they are written for, and writes down what
became of each.

    python suite_child.py OUT.json pytest ARGUMENT...
    python suite_child.py OUT.json tornado.test ARGUMENT...

It imports nothing of its neighbours. OUT.json holds "tests" (id -> status, and what was said of a failure)
and "loops" (how many loops of each module were made).
"""

import asyncio.base_events
import collections
import json
import os
import runpy
import sys
import unittest

# The worst that happened to a test is its status.
RANK = ("pass", "skip", "xfail", "fail")


class Record:
    def __init__(self):
        self.tests = {}
        self.loops = collections.Counter()

    def set(self, test, status, why=""):
        before = self.tests.get(test, {"status": RANK[0]})
        if RANK.index(status) >= RANK.index(before["status"]):
            self.tests[test] = {"status": status, "err": why[-3000:]}

    def count_loops(self):
        real = asyncio.base_events.BaseEventLoop.__init__

        def __init__(loop, *args, **kwargs):
            self.loops[type(loop).__module__] += 1
            real(loop, *args, **kwargs)

        asyncio.base_events.BaseEventLoop.__init__ = __init__

    def write(self, path):
        with open(path, "w") as f:
            json.dump({"tests": self.tests, "loops": self.loops}, f)


class PytestPlugin:
    def __init__(self, record):
        self.record = record

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.record.set(report.nodeid, "fail", report.longreprtext)
        elif report.skipped:
            self.record.set(report.nodeid, "xfail" if hasattr(report, "wasxfail") else "skip")
        elif report.when == "call":
            self.record.set(report.nodeid, "pass")


def run_pytest(record, arguments):
    import pytest

    return pytest.main(arguments, plugins=[PytestPlugin(record)])


def run_tornado(record, arguments):
    class Result(unittest.TextTestResult):
        def addSuccess(self, test):
            super().addSuccess(test)
            record.set(test.id(), "pass")

        def addError(self, test, err):
            super().addError(test, err)
            record.set(test.id(), "fail", self.errors[-1][1])

        def addFailure(self, test, err):
            super().addFailure(test, err)
            record.set(test.id(), "fail", self.failures[-1][1])

        def addSubTest(self, test, subtest, err):
            super().addSubTest(test, subtest, err)
            if err is not None:
                record.set(test.id(), "fail", self._exc_info_to_string(err, test))

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            record.set(test.id(), "skip")

        def addExpectedFailure(self, test, err):
            super().addExpectedFailure(test, err)
            record.set(test.id(), "xfail")

    unittest.TextTestResult = Result  # tornado's runner takes its base from here
    sys.argv[1:] = arguments
    runpy.run_module("tornado.test", run_name="__main__", alter_sys=True)


def main(out, runner, *arguments):
    sys.path[0] = os.getcwd()  # as `python -m` has it, not this folder
    record = Record()
    record.count_loops()
    try:
        return {"pytest": run_pytest, "tornado.test": run_tornado}[runner](record, list(arguments))
    finally:
        record.write(out)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
