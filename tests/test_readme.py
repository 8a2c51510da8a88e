"""What README.md shows runs, and so does the Python in the Rust face's guide."""

import ast
import contextlib
import pathlib
import re
import socket
import subprocess
import sys

import pytest
from conftest import DEADLINE
from kinds import KINDS

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "crates/velodrome/src/guide/tutorial.rs").read_text()
CHAT_SERVER = ROOT / "crates/velodrome/examples/chat_server.py"


def python_in(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.skipif("velodrome" not in KINDS, reason="only the oracle runs")
def test_the_python_example(script):
    (code,) = python_in(README)
    done = script(code)
    assert done.stdout == "<class 'velodrome._loop.EventLoop'>\n"


def test_the_guides_python(script):
    steps = python_in(re.sub("^//! ?", "", TUTORIAL, flags=re.MULTILINE))
    assert len(steps) == 7
    # The last one is the file that is included.
    for code in steps[:-1]:
        compile(code, "tutorial", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert script(steps[0]).stdout == "Coroutine finished\n"
    assert steps[-1] == f'#![doc = include_str!("../../examples/{CHAT_SERVER.name}")]\n'


@pytest.fixture
def chat_server(kind):
    options = ["-m", "velodrome"] if kind == "velodrome" else []
    command = [sys.executable, *options, str(CHAT_SERVER), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            host, port = program.stdout.readline().removeprefix("Serving on ").split(":")
            yield host, int(port)
        finally:
            program.kill()


def hear(guest: socket.socket, what: str) -> None:
    """What comes next, and no more of it than is expected."""
    heard = b""
    while len(heard) < len(what) and (some := guest.recv(len(what) - len(heard))):
        heard += some
    assert heard.decode() == what


def test_the_guides_chat_server(chat_server):
    """The conversation of crates/velodrome/tests/examples.rs."""
    with contextlib.ExitStack() as guests:

        def enter(name: str) -> socket.socket:
            guest = guests.enter_context(socket.create_connection(chat_server, DEADLINE))
            hear(guest, "What is your name? ")
            guest.sendall(name.encode() + b"\n")
            return guest

        ada, bob = enter("ada"), enter("bob")
        hear(ada, "* bob has come\n")
        bob.sendall(b"good evening\n")
        hear(ada, "bob: good evening\n")
        ada.sendall(b"hello bob\n")
        hear(bob, "ada: hello bob\n")
        hear(enter("ada"), "* that name is taken\n")
        bob.close()
        hear(ada, "* bob has left\n")
