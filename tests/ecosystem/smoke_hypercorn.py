"""hypercorn inside a program of ours, as its documentation has it: HTTP/1, HTTP/2, WebSocket."""

import asyncio

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
    await over_http2(port)
    stop.set()
    await server


async def listening(port):
    try:
        _, writer = await asyncio.open_connection(stage.LOCALHOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def over_http2(port):
    """Many streams on one connection, then one that has to wait for the server's word to go on."""
    # httpcore waits for a flow-control window that it has itself just read the opening of, if several streams
    # wait for one: together they stay within the 64 KiB that HTTP/2 begins with.
    bodies = [b"%d" % number * 8_000 for number in range(8)]
    async with httpx.AsyncClient(
        http1=False, http2=True, base_url=f"http://{stage.LOCALHOST}:{port}"
    ) as client:
        answers = await asyncio.gather(*(client.post("/echo", content=body) for body in bodies))
        assert [answer.content for answer in answers] == bodies
        assert {answer.http_version for answer in answers} == {"HTTP/2"}
        large = b"large" * 100_000
        assert (await client.post("/echo", content=large)).content == large


stage.run(main())
