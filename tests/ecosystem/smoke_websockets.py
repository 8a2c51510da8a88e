"""websockets, server and client: plain and TLS, big messages, pings, broadcast, closing."""

import asyncio
import os
import ssl

import stage
import trustme
from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosedOK

BIG = os.urandom(1_000_000)
CLIENTS = 10


async def main():
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    for server_ssl, client_ssl in ((None, None), (server_side, client_side)):
        async with serve(echo, "localhost", 0, ssl=server_ssl, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"{'wss' if server_ssl else 'ws'}://localhost:{port}/"
            await asyncio.gather(*(talk(url, client_ssl) for _ in range(CLIENTS)))
            await hear(server, url, client_ssl)


async def echo(connection):
    async for message in connection:
        await connection.send(message)
        if message == "bye":
            await connection.close()


async def talk(url, client_ssl):
    async with connect(url, ssl=client_ssl, max_size=None) as connection:
        for message in ("text", b"bytes", BIG):
            await connection.send(message)
            assert await connection.recv() == message
        await (await connection.ping())
        await connection.send("bye")
        assert await connection.recv() == "bye"
        try:
            await connection.recv()
        except ConnectionClosedOK:
            return
        raise AssertionError("not closed")


async def hear(server, url, client_ssl):
    clients = [await connect(url, ssl=client_ssl) for _ in range(CLIENTS)]
    while len(server.connections) < CLIENTS:  # noqa: ASYNC110
        await asyncio.sleep(0)
    broadcast(server.connections, "news")
    assert await asyncio.gather(*(client.recv() for client in clients)) == ["news"] * CLIENTS
    await asyncio.gather(*(client.close() for client in clients))


stage.run(main())
