"""Talks to `asgi_app` behind whatever server, from threads: the client is none of asyncio's business."""

from __future__ import annotations

import http.client
import os
from concurrent.futures import ThreadPoolExecutor

import stage
from websockets.sync.client import connect

CLIENTS = 8
REQUESTS = 20
BIG = os.urandom(1_000_000)  # far beyond a socket's buffers, so that writing has to wait


def exercise(port: int, *, websocket: bool = True) -> set[str]:
    """Everything the application has to offer. Returns the processes that answered."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        seen = set().union(*pool.map(lambda _: keep_alive(port), range(CLIENTS)))
        if websocket:
            list(pool.map(lambda _: talk(port), range(CLIENTS)))
    loops = {loop for loop, _ in seen}
    assert loops == {stage.LOOP}, f"served by loops of {loops}"
    return {process for _, process in seen}


def keep_alive(port: int) -> set[tuple[str, str]]:
    """One client's requests on one connection: (loop, process) that answered."""
    connection = http.client.HTTPConnection(stage.LOCALHOST, port, timeout=stage.PATIENCE)
    seen = set()
    for _ in range(REQUESTS):
        loop, process = ask(connection, "GET", "/").decode().split()
        seen.add((loop, process))
    assert ask(connection, "POST", "/echo", BIG) == BIG
    assert ask(connection, "GET", "/slow").split() == [b"%d" % n for n in range(10)]
    connection.close()
    return seen


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> bytes:
    connection.request(method, path, body)
    response = connection.getresponse()
    assert response.status == 200, (path, response.status, response.read())
    return response.read()


def talk(port: int) -> None:
    """One WebSocket."""
    with connect(f"ws://{stage.LOCALHOST}:{port}/ws", max_size=None) as socket:
        for message in ("text", b"bytes", BIG, *map(str, range(REQUESTS))):
            socket.send(message)
            assert socket.recv(stage.PATIENCE) == message
