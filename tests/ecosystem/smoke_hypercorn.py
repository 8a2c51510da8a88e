"""hypercorn inside a program of ours, as its documentation has it: HTTP/1, HTTP/2, WebSocket."""

import asyncio
import threading

import asgi_client
import httpx
import stage
from asgi_app import app
from hypercorn.asyncio import serve
from hypercorn.config import Config


async def main():
    port = stage.free_port()
    config = Config()
    config.bind = [f"{stage.LOCALHOST}:{port}"]
    config.errorlog = None
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    while not await listening(port):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.to_thread(asgi_client.exercise, port)
    await asyncio.to_thread(over_http2, port)
    stop.set()
    await server


async def listening(port):
    try:
        _, writer = await asyncio.open_connection(stage.LOCALHOST, port)
    except OSError:
        return False
    writer.close()
    return True


def over_http2(port):
    """Many streams on one connection."""
    client = httpx.Client(http1=False, http2=True, base_url=f"http://{stage.LOCALHOST}:{port}")
    with client:
        bodies = {}

        def ask(number):
            bodies[number] = client.post("/echo", content=b"%d" % number * 10_000).content

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bodies == {number: b"%d" % number * 10_000 for number in range(8)}


stage.run(main())
