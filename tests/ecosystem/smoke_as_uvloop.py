"""Servers that are told to run on uvloop, with worker processes, in which our loop has to stand for it.

python smoke_as_uvloop.py SERVER
"""

import sys

import asgi_client
import stage

PORT = str(stage.free_port())
BIND = f"{stage.LOCALHOST}:{PORT}"
APP = "asgi_app:app"

SERVERS = {
    "gunicorn": ["-k", "asgi", "--asgi-loop", "uvloop", "-w", "2", "-b", BIND, "--log-level", "warning", APP],
    "hypercorn": ["-k", "uvloop", "-w", "2", "-b", BIND, "--log-level", "warning", APP],
    "granian": ["--loop", "uvloop", "--interface", "asgi", "--workers", "2", "--port", PORT, "--no-log", APP],
    "sanic": ["sanic_app:app", "--workers", "2", "--port", PORT],
    "uvicorn": ["--loop", "uvloop", "--workers", "2", "--port", PORT, "--log-level", "warning", APP],
}

if __name__ == "__main__":
    name = sys.argv[1]
    command = stage.program_of_uvloop("-m", name, *SERVERS[name])
    with stage.running(command, int(PORT), statuses=(0, -15)):
        answered = asgi_client.exercise(int(PORT))
    assert 1 <= len(answered) <= 2
