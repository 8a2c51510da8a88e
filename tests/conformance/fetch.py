#!/usr/bin/env python3
"""Brings sources with tests, as projects publish them, into the cache folder (parent.CACHE), by pip, once."""

import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

import parent

VERSIONS = {"anyio": "4.16.0", "tornado": "6.6.1", "uvicorn": "0.54.0", "uvloop": "0.23.0"}


def sdist(name):
    """The folder with the sources."""
    source = os.path.join(parent.CACHE, f"{name}-{VERSIONS[name]}")
    if not os.path.isdir(source):
        os.makedirs(parent.CACHE, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent.CACHE) as tmp:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name]
            subprocess.run([*pip, "-d", tmp, f"{name}=={VERSIONS[name]}"], check=True)
            with tarfile.open(glob.glob(os.path.join(tmp, "*.tar.gz"))[0]) as tar:
                tar.extractall(tmp, filter="data")
            # Another process may have been first.
            if not os.path.isdir(source):
                os.rename(os.path.join(tmp, os.path.basename(source)), source)
    return source


def uvloop():
    """Its tests as a package of a name of their own, and what they import from uvloop itself, apart."""
    source = sdist("uvloop")
    tests, base = (os.path.join(parent.CACHE, n) for n in ("uvloop_tests", "uvloop_testbase"))
    if os.path.isdir(tests) and os.path.isdir(base):
        return
    for path in (tests, base):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(os.path.join(source, "tests"), tests)
    os.makedirs(base)
    shutil.copy(os.path.join(source, "uvloop", "_testbase.py"), base)
    print("uvloop", VERSIONS["uvloop"], "tests are in", parent.CACHE)


if __name__ == "__main__":
    uvloop()
