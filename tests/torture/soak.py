"""Mixed load for as long as one likes, on our loop: ``python soak.py SECONDS``.

Connections, streams, datagrams, processes and threads come and go, are cancelled at random, and send random
bytes that must come back unchanged. In the second half of the time neither descriptors nor memory may exceed
those of the first.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import sys
import time

import velodrome

logging.disable()
chance = random.Random(int(os.environ.get("SEED", "1")))

WORKERS = 40
LEEWAY = 1.03
"""By which the most memory in use may differ between the halves of a short run: malloc's, not objects."""


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


class Mirror(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


class Receiver(asyncio.DatagramProtocol):
    def __init__(self):
        self.data = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, addr):
        if not self.data.done():
            self.data.set_result(data)


async def conversation(tcp, udp):
    reader, writer = await asyncio.open_connection(*tcp)
    try:
        for _ in range(chance.randrange(1, 8)):
            data = chance.randbytes(chance.choice([1, 100, 5000, 200_000]))
            writer.write(data)
            assert await reader.readexactly(len(data)) == data, "a byte was lost"
    finally:
        if chance.random() < 0.2:
            writer.transport.abort()
        writer.close()


async def datagram(tcp, udp):
    loop = asyncio.get_running_loop()
    transport, receiver = await loop.create_datagram_endpoint(Receiver, remote_addr=udp)
    try:
        data = chance.randbytes(100)
        transport.sendto(data)
        assert await asyncio.wait_for(receiver.data, 5) == data
    finally:
        transport.close()


async def process(tcp, udp):
    child = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        data = chance.randbytes(50_000)
        assert (await child.communicate(data))[0] == data
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        child._transport.close()


async def thread(tcp, udp):
    number = chance.random()
    assert await asyncio.to_thread(lambda: number) == number


JOBS = [conversation] * 20 + [datagram] * 6 + [thread] * 4 + [process]


async def worker(tcp, udp, end, done):
    while time.monotonic() < end:
        job = chance.choice(JOBS)
        task = asyncio.create_task(job(tcp, udp))
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random() * 0.01)
            task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
        done[job.__name__] = done.get(job.__name__, 0) + 1


def state():
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")


async def rounds(seconds):
    loop = asyncio.get_running_loop()
    problems = []
    loop.set_exception_handler(lambda loop, context: problems.append(context))
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    mirror, _ = await loop.create_datagram_endpoint(Mirror, ("127.0.0.1", 0))
    tcp, udp = server.sockets[0].getsockname(), mirror.get_extra_info("sockname")
    done, states = {}, []
    for _ in range(10):
        end = time.monotonic() + seconds / 10
        await asyncio.gather(*(worker(tcp, udp, end, done) for _ in range(WORKERS)))
        await asyncio.sleep(0.2)  # the server sees the last ends
        states.append(state())
        print(*states[-1], done, flush=True)
    server.close()
    mirror.close()
    assert not problems, problems[:3]
    descriptors, memory = zip(*states, strict=True)
    assert max(descriptors[5:]) <= max(descriptors[:5]), descriptors
    assert max(memory[5:]) <= max(memory[:5]) * LEEWAY, memory


if __name__ == "__main__":
    velodrome.run(rounds(float(sys.argv[1])))
    print("flat")
