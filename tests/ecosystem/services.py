"""Starts Redis and PostgreSQL, as Debian packages them, in a folder and on a port of their own.

python services.py      installs what is missing; needs root for that
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = {"redis-server": "redis-server", "initdb": "postgresql"}


def find(name: str) -> str | None:
    """The newest one: Debian keeps PostgreSQL's programs off the path, in a folder for each version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(folders)), os.environ["PATH"]]))


def install() -> None:
    missing = [package for name, package in PACKAGES.items() if find(name) is None]
    if not missing:
        return
    # In runlevel 1 nothing that was just installed is started.
    environ = {**os.environ, "RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--no-install-recommends", *missing]):
        print("apt-get", *command, flush=True)
        subprocess.run(["apt-get", "--quiet", "--yes", *command], env=environ, check=True)


@contextlib.contextmanager
def redis() -> Iterator[tuple[int, str]]:
    """A Redis server: its port and its socket's path."""
    import stage

    port = stage.free_port()
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/socket"
        options = {"port": port, "bind": stage.LOCALHOST, "unixsocket": socket, "dir": folder, "save": ""}
        words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
        with stage.running([str(find("redis-server")), *words], port, stdout=subprocess.DEVNULL):
            yield port, socket


@contextlib.contextmanager
def postgres() -> Iterator[tuple[int, str]]:
    """A PostgreSQL server, whose superuser is `postgres`: its port and the folder of its socket."""
    import stage

    port = stage.free_port()
    # PostgreSQL refuses to run as root; Debian's package brings this user.
    who: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if is_root() else {}
    with tempfile.TemporaryDirectory() as folder:
        if who:
            shutil.chown(folder, "postgres", "postgres")
        options = {**who, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        initdb = [str(find("initdb")), "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(initdb, check=True, **options)
        server = [str(find("postgres")), "-D", f"{folder}/data", "-k", folder, "-p", str(port), "-F"]
        with stage.running(server, port, **options):
            yield port, folder


def is_root() -> bool:
    return os.getuid() == 0


if __name__ == "__main__":
    sys.exit(install())
