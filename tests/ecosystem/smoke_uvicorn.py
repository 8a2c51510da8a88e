"""uvicorn with the loop named on its command line, each of its HTTP protocols, and with workers."""

import sys

import asgi_client
import stage

FACTORY = "velodrome:new_event_loop" if stage.LOOP == "velodrome" else "asyncio"


def serve(*options, processes=1):
    port = stage.free_port()
    command = [sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", str(port), "--loop", FACTORY]
    # Stopped by a signal, uvicorn ends by that signal.
    with stage.running([*command, "--log-level", "warning", *options], port, statuses=(0, -15)):
        answered = asgi_client.exercise(port)
    assert len(answered) <= processes


serve("--http", "httptools", "--ws", "websockets-sansio")
serve("--http", "h11", "--ws", "wsproto")
serve("--workers", "2", processes=2)
