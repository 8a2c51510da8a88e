"""redis-py against a real server: pipelines, big values, blocking commands, publish and subscribe."""

import asyncio
import os

import services
import stage
from redis import asyncio as redis

BIG = os.urandom(3_000_000)


async def main(port, socket):
    async with redis.Redis(host=stage.LOCALHOST, port=port) as client:
        await ask(client)
        await subscribe(client)
    async with redis.Redis(unix_socket_path=socket) as client:
        assert await client.get("big") == BIG


async def ask(client):
    await client.set("big", BIG)
    assert await client.get("big") == BIG
    await asyncio.gather(*(client.incrby("sum", number) for number in range(80)))
    assert int(await client.get("sum")) == sum(range(80))
    async with client.pipeline(transaction=True) as pipeline:
        for number in range(1_000):
            pipeline.set(f"key {number}", number)
        assert await pipeline.execute() == [True] * 1_000
    assert len([key async for key in client.scan_iter("key *")]) == 1_000
    waiting = asyncio.create_task(client.blpop("list", timeout=stage.PATIENCE))
    await asyncio.sleep(0.05)
    await client.rpush("list", "entry")
    assert list(await waiting) == [b"list", b"entry"]
    waiting = asyncio.create_task(client.blpop("list"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await client.ping()


async def subscribe(client):
    async with client.pubsub() as channel:
        await channel.subscribe("news")
        await client.publish("news", "hello")
        async for message in channel.listen():
            if message["type"] == "message":
                assert message["data"] == b"hello"
                return


with services.redis() as address:
    stage.run(main(*address))
