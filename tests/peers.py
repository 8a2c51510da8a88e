"""The two programs of test_many_connections: ``peers.py KIND serve`` and ``peers.py KIND HOW PORT COUNT``."""

from __future__ import annotations

import asyncio
import os
import resource
import sys

from kinds import KINDS

limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def state():
    with open("/proc/self/statm") as file:
        kilobytes = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return len(os.listdir("/proc/self/fd")), kilobytes


class Echo(asyncio.Protocol):
    open = 0

    def connection_made(self, transport):
        Echo.open += 1
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, exc):
        Echo.open -= 1


class Client(asyncio.Protocol):
    def __init__(self, loop):
        self.answered, self.lost = loop.create_future(), loop.create_future()
        self.data, self.expected = b"", 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        if len(self.data) == self.expected:
            self.answered.set_result(self.data)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def serve():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "0.0.0.0", 0, backlog=1000)
    before = state()
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    while Echo.open:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    server.close()
    await loop.shutdown_default_executor()
    print(*before, *state(), flush=True)


async def connect(port, number):
    # Many addresses of this machine, so that ports that are still in TIME_WAIT do not run out.
    loop = asyncio.get_running_loop()
    host = f"127.0.0.{number % 100 + 1}"
    return (await loop.create_connection(lambda: Client(loop), host, port))[1]


async def echo(client, number):
    message = b"%d" % number
    client.expected = len(message)
    client.transport.write(message)
    assert await client.answered == message


async def close(client):
    client.transport.close()
    await client.lost


async def at_once(port, count):
    clients = []
    for start in range(0, count, 500):
        clients += await asyncio.gather(*(connect(port, start + n) for n in range(500)))
    await asyncio.gather(*map(echo, clients, range(count)))
    print("open", len(os.listdir("/proc/self/fd")), flush=True)
    await asyncio.gather(*map(close, clients))


async def in_turn(port, count):
    async def some(first):
        for number in range(first, count, 8):
            client = await connect(port, number)
            await echo(client, number)
            await close(client)

    await asyncio.gather(*map(some, range(8)))


async def main(how, port, count):
    await in_turn(port, 200)
    before = state()
    await globals()[how](port, count)
    await asyncio.sleep(0)
    print(*before, *state(), flush=True)


_, kind, how, *numbers = sys.argv
with asyncio.Runner(loop_factory=KINDS[kind]) as runner:
    runner.run(serve() if how == "serve" else main(how, *map(int, numbers)))
