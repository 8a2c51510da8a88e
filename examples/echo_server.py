"""An echo server over asyncio's streams: it says back what it was told, once, and hangs up.

    python -m velodrome examples/echo_server.py [PORT]

Nothing in here names Velodrome: a program need not know which loop runs it. Its twin in Rust is
crates/velodrome/examples/echo_server.rs.
"""

import asyncio
import sys


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read(100)
    print(f"Received {data.decode()} from {writer.get_extra_info('peername')}")

    writer.write(b"Echo: " + data)
    await writer.drain()
    writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    print(f"Serving on {server.sockets[0].getsockname()}")
    async with server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8888))
