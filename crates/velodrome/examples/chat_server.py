"""A chat server: whoever connects says a name, and what each one says goes to all others.

    python crates/velodrome/examples/chat_server.py [PORT]
    nc localhost 8888

Its twin in Rust is chat_server.rs, beside which the guide shows it.
"""

import asyncio
import sys

# Who is there, by name. One thread, so there is no lock.
members: dict[str, asyncio.StreamWriter] = {}

# What is kept for somebody who does not read; with more, they are not worth waiting for.
PATIENCE = 1024 * 1024


def say(sender: str, what: str) -> None:
    for name, writer in members.items():
        if name != sender:
            writer.write(what.encode())
            if writer.transport.get_write_buffer_size() > PATIENCE:
                writer.transport.abort()


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"What is your name? ")
    name = text(await reader.readline())
    if not name or name in members:
        writer.write(b"* that name is taken\n")
        writer.close()
        return
    members[name] = writer
    try:
        say(name, f"* {name} has come\n")
        while line := await reader.readline():
            say(name, f"{name}: {text(line)}\n")
    finally:
        del members[name]
        say(name, f"* {name} has left\n")
        writer.close()


def text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip()


async def serve(port: int) -> None:
    server = await asyncio.start_server(talk, "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()
    print(f"Serving on {host}:{port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8888))
