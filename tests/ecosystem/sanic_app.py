"""What `asgi_app` offers, for a framework that has no use for ASGI."""

import asyncio
import os

import stage
from sanic import Sanic
from sanic.response import text

app = Sanic("smoke", configure_logging=False)
app.config.update(USE_UVLOOP=True, MOTD=False, WEBSOCKET_MAX_SIZE=2**24)


@app.get("/")
async def which(request):
    return text(f"{stage.kind()} {os.getpid()}")


@app.post("/echo", stream=True)
async def echo(request):
    response = await request.respond()
    while (part := await request.stream.read()) is not None:
        await response.send(part)


@app.get("/slow")
async def slow(request):
    response = await request.respond()
    for number in range(10):
        await asyncio.sleep(0.01)
        await response.send(f"{number}\n")


@app.websocket("/ws")
async def websocket(request, socket):
    async for message in socket:
        await socket.send(message)
