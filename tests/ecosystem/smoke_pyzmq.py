"""pyzmq's asyncio sockets: requests and answers, publish and subscribe, a pipeline under load."""

import asyncio
import os

import stage
import zmq
import zmq.asyncio

BIG = os.urandom(1_000_000)
MESSAGES = 5_000


async def main():
    with zmq.asyncio.Context() as context:
        for pattern in (requests, publish, pipeline):
            await pattern(context)
        context.destroy(linger=0)


async def requests(context):
    server = context.socket(zmq.REP)
    port = server.bind_to_random_port(f"tcp://{stage.LOCALHOST}")

    async def serve():
        while True:
            await server.send_multipart(await server.recv_multipart())

    serving = asyncio.create_task(serve())
    client = context.socket(zmq.REQ)
    client.connect(f"tcp://{stage.LOCALHOST}:{port}")
    for message in ([b"one"], [b"two", b"parts"], [BIG, b""]):
        await client.send_multipart(message)
        assert await client.recv_multipart() == message
    assert await client.poll(timeout=10) == 0
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def publish(context):
    publisher = context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port(f"tcp://{stage.LOCALHOST}")
    subscribers = [context.socket(zmq.SUB) for _ in range(5)]
    for subscriber in subscribers:
        subscriber.connect(f"tcp://{stage.LOCALHOST}:{port}")
        subscriber.subscribe(b"")
    await publisher.recv()  # somebody is there
    hearing = [subscriber.recv() for subscriber in subscribers]
    while not all(future.done() for future in hearing):  # some may come later than what is said
        await publisher.send(b"news")
        await asyncio.sleep(0.001)
    assert [future.result() for future in hearing] == [b"news"] * 5


async def pipeline(context):
    """Many messages at once: pyzmq's descriptor says "something happened", and only once."""
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    push.connect(f"tcp://{stage.LOCALHOST}:{pull.bind_to_random_port(f'tcp://{stage.LOCALHOST}')}")

    async def feed():
        for number in range(MESSAGES):
            await push.send(b"%d" % number)

    feeding = asyncio.create_task(feed())
    assert [int(await pull.recv()) for _ in range(MESSAGES)] == list(range(MESSAGES))
    await feeding


stage.run(main())
