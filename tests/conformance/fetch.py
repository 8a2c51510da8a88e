#!/usr/bin/env python3
"""Brings uvloop's published tests into the cache folder (parent.CACHE), by pip. Runs once."""

import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

import parent

VERSION = "0.23.0"


def main():
    tests, base = (os.path.join(parent.CACHE, n) for n in ("uvloop_tests", "uvloop_testbase"))
    if os.path.isdir(tests) and os.path.isdir(base):
        return
    with tempfile.TemporaryDirectory() as tmp:
        download(tmp)
        source = os.path.join(tmp, f"uvloop-{VERSION}")
        for path in (tests, base):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(os.path.join(source, "tests"), tests)
        os.makedirs(base)
        shutil.copy(os.path.join(source, "uvloop", "_testbase.py"), base)
    print("uvloop", VERSION, "tests are in", parent.CACHE)


def download(folder):
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "uvloop"]
    subprocess.run([*pip, "-d", folder, f"uvloop=={VERSION}"], check=True)
    with tarfile.open(glob.glob(os.path.join(folder, "*.tar.gz"))[0]) as tar:
        tar.extractall(folder, filter="data")


if __name__ == "__main__":
    main()
