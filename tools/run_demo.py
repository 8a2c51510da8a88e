"""Starts the echo servers of both faces in turn, talks to each with several clients at once, checks the
answers.

    python tools/run_demo.py RUST_EXAMPLE

Ends by itself, with exit status 0 when every answer was right, and leaves no child behind.
"""

import os
import platform
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
CLIENTS = 8
PATIENCE = 20.0  # seconds, for a server to come up or an answer to arrive; far more than either takes


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    """The server that `command` starts, from its "Serving on" to the end of the block."""
    # Unbuffered, or Python keeps "Serving on" to itself while its output is a pipe.
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=pass_on, args=(server, lines))
    reader.start()
    try:
        wait_until_serving(server, lines)
        yield
        if server.poll() is not None:
            raise SystemExit(f"the server ended by itself, with status {server.returncode}")
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        reader.join()


def pass_on(server: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert server.stdout is not None
    for line in server.stdout:
        print(f"  server: {line}", end="", flush=True)
        lines.put(line)
    lines.put("")  # the end


def wait_until_serving(server: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    line = lines.get(timeout=PATIENCE)
    while not line.startswith("Serving on "):
        if not line:
            raise SystemExit(f"the server did not come up: status {server.wait()}")
        line = lines.get(timeout=PATIENCE)


def talk(port: int, number: int, everyone: threading.Barrier) -> tuple[bytes, bytes]:
    """One client: what it said, and what came back until the server hung up."""
    said = f"client {number}".encode()
    with socket.create_connection((HOST, port), timeout=PATIENCE) as connection:
        everyone.wait(PATIENCE)  # so that all are connected before the first one speaks
        connection.sendall(said)
        with connection.makefile("rb") as answer:
            return said, answer.read()


def demonstrate(title: str, command: list[str]) -> int:
    """Returns how many answers were wrong."""
    port = free_port()
    print(f"\n{title}: {' '.join(command)} {port}", flush=True)
    everyone = threading.Barrier(CLIENTS)
    # The server goes first, so that no client waits for it.
    with ThreadPoolExecutor(CLIENTS) as pool, running([*command, str(port)]):
        talks = list(pool.map(lambda number: talk(port, number, everyone), range(1, CLIENTS + 1)))
    wrong = 0
    for said, answer in talks:
        right = answer == b"Echo: " + said
        wrong += not right
        print(f"  {said.decode()} got {answer.decode(errors='replace')!r}{'' if right else '   WRONG'}")
    return wrong


def main(rust_example: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the `finally`s run
    velodrome = [sys.executable, "-m", "velodrome"]
    echo_server = str(ROOT / "examples" / "echo_server.py")
    wrong = demonstrate("Python", [*velodrome, echo_server])
    wrong += demonstrate("Rust", [rust_example])

    print(f"\nPython {platform.python_version()}, {platform.system()} {platform.release()}", flush=True)
    subprocess.run([*velodrome, "info"], check=True)
    print(f"\n{2 * CLIENTS - wrong} answers right, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
