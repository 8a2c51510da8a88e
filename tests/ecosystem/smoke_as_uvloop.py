"""Servers that are told to run on uvloop, with worker processes, in which our loop has to stand for it.

python smoke_as_uvloop.py SERVER
"""

import sys
import time

import asgi_client
import stage

PORT = str(stage.free_port())
BIND = f"{stage.LOCALHOST}:{PORT}"
APP = "asgi_app:app"
WORKERS = 2

SERVERS = {
    "gunicorn": [
        "-k",
        "asgi",
        "--asgi-loop",
        "uvloop",
        "-w",
        str(WORKERS),
        "-b",
        BIND,
        "--log-level",
        "warning",
        APP,
    ],
    "hypercorn": ["-k", "uvloop", "-w", str(WORKERS), "-b", BIND, "--log-level", "warning", APP],
    "granian": [
        "--loop",
        "uvloop",
        "--interface",
        "asgi",
        "--workers",
        str(WORKERS),
        "--port",
        PORT,
        "--no-log",
        APP,
    ],
    "sanic": ["sanic_app:app", "--workers", str(WORKERS), "--port", PORT],
    "uvicorn": ["--loop", "uvloop", "--workers", str(WORKERS), "--port", PORT, "--log-level", "warning", APP],
}

if __name__ == "__main__":
    name = sys.argv[1]
    command = stage.program_of_uvloop("-m", name, *SERVERS[name])
    with stage.running(command, int(PORT), statuses=(0, -15)):
        # Until both workers have: told to end while one is starting, sanic waits half a minute for that one.
        answered = asgi_client.exercise(int(PORT))
        give_up = time.monotonic() + stage.PATIENCE
        while len(answered) < WORKERS and time.monotonic() < give_up:
            answered |= asgi_client.exercise(int(PORT), websocket=False)
    assert len(answered) == WORKERS
