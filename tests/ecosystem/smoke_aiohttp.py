"""aiohttp, server and client: plain and TLS, streaming, files, WebSocket, many at once."""

import asyncio
import os
import ssl
import tempfile
from pathlib import Path

import aiohttp
import stage
import trustme
from aiohttp import web

BIG = os.urandom(3_000_000)


async def main():
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "big").write_bytes(BIG)
        for server_ssl, client_ssl in ((None, True), (server_side, client_side)):
            await serve_and_ask(folder, server_ssl, client_ssl)


async def serve_and_ask(folder, server_ssl, client_ssl):
    application = web.Application(client_max_size=2 * len(BIG))
    application.add_routes([web.post("/echo", echo), web.get("/ws", websocket), web.static("/files", folder)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=server_ssl).start()
    scheme, port = "https" if server_ssl else "http", runner.addresses[0][1]
    connector = aiohttp.TCPConnector(ssl=client_ssl)
    async with aiohttp.ClientSession(f"{scheme}://localhost:{port}", connector=connector) as session:
        await ask(session)
    await runner.cleanup()


async def echo(request):
    response = web.StreamResponse()
    await response.prepare(request)
    async for part in request.content.iter_any():
        await response.write(part)
    return response


async def websocket(request):
    socket = web.WebSocketResponse(heartbeat=5)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket


async def ask(session):
    bodies = [os.urandom(size) for size in range(0, 100_000, 1_000)]
    assert await asyncio.gather(*(post(session, body) for body in bodies)) == bodies
    assert await post(session, parts(BIG)) == BIG
    async with session.get("/files/big") as response:
        assert await response.read() == BIG
    async with session.get("/files/big", headers={"Range": "bytes=1000-1999"}) as response:
        assert await response.read() == BIG[1000:2000]
    async with session.ws_connect("/ws") as socket:
        for message in (b"small", BIG[:1_000_000]):
            await socket.send_bytes(message)
            assert await socket.receive_bytes() == message
    try:
        await session.get("/files/big", timeout=aiohttp.ClientTimeout(total=1e-6))
    except TimeoutError:
        return
    raise AssertionError("no timeout")


async def post(session, body):
    async with session.post("/echo", data=body) as response:
        return await response.read()


async def parts(body):
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


stage.run(main())
