"""The application that every ASGI server serves; `asgi_client` knows what to ask it."""

import asyncio
import os

import stage


async def app(scope, receive, send):
    await {"lifespan": lifespan, "http": http, "websocket": websocket}[scope["type"]](scope, receive, send)


async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def http(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    async for part in PAGES[scope["path"]](receive):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def which(receive):
    """The loop's package, and the process: a server may have several."""
    yield f"{stage.kind()} {os.getpid()}".encode()


async def echo(receive):
    """What is uploaded comes back, part by part."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def slow(receive):
    """Ten parts with time in between."""
    for number in range(10):
        await asyncio.sleep(0.01)
        yield b"%d\n" % number


PAGES = {"/": which, "/echo": echo, "/slow": slow}


async def websocket(scope, receive, send):
    """Messages come back until the client hangs up."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        answer = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}
        await send({"type": "websocket.send", **answer})
