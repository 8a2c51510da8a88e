"""nest_asyncio, as notebooks and LlamaIndex use it: runs inside a run, with time, sockets and errors."""

import asyncio

import nest_asyncio
import stage


async def echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


async def ask(server):
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer


async def fails():
    await asyncio.sleep(0.01)
    raise LookupError


async def main():
    nest_asyncio.apply()
    loop = asyncio.get_running_loop()
    ticks = []

    async def tick():
        while True:
            ticks.append(loop.time())
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    assert asyncio.run(asyncio.sleep(0.1, "slept")) == "slept"
    assert len(ticks) > 5, "others ran meanwhile"
    server = await asyncio.start_server(echo, stage.LOCALHOST, 0)
    for _ in range(10):
        assert loop.run_until_complete(ask(server)) == b"hello\n"
    try:
        loop.run_until_complete(fails())
    except LookupError:
        ticks.clear()
    await asyncio.sleep(0.1)
    assert len(ticks) > 5, "it goes on"
    ticking.cancel()
    server.close()


stage.run(main())
