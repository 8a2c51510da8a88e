"""httpx against uvicorn, on one loop: many at once, streams in both directions, a timeout."""

import asyncio
import os

import httpx
import stage
import uvicorn
from asgi_app import app

BIG = os.urandom(1_000_000)


async def main():
    server = uvicorn.Server(uvicorn.Config(app, port=stage.free_port(), log_level="warning", loop="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=f"http://{stage.LOCALHOST}:{server.config.port}") as client:
        await ask(client)
    server.should_exit = True
    await serving


async def ask(client):
    bodies = [os.urandom(size) for size in range(0, 50_000, 1_000)]
    answers = await asyncio.gather(*(client.post("/echo", content=body) for body in bodies))
    assert [answer.content for answer in answers] == bodies
    assert (await client.post("/echo", content=parts(BIG))).content == BIG
    async with client.stream("GET", "/slow") as response:
        assert [line async for line in response.aiter_lines()] == list("0123456789")
    try:
        await client.get("/slow", timeout=0.01)
    except httpx.ReadTimeout:
        return
    raise AssertionError("no timeout")


async def parts(body):
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


stage.run(main())
