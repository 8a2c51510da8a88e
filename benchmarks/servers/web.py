"""HTTP servers as their users run them; a small response, which most of them write as a head and a body.

Each is imported only when it is asked for: an environment without it can run every other row. They bind by
host and port, not to a socket that is handed in: a listener made by `socket.create_server` has no protocol
number, and asyncio does not switch Nagle's algorithm off on what comes from it.
"""

from __future__ import annotations

import asyncio
import ssl

BODY = b"Hello, world!\n"
HOST = "127.0.0.1"


async def application(scope, receive, send):
    """The least that ASGI allows."""
    head = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": BODY})


async def started(server, running: asyncio.Task) -> None:
    """uvicorn says that it has started by an attribute only."""
    while not server.started:
        if running.done():
            running.result()
        await asyncio.sleep(0.01)


def serves_uvicorn(parser: str, keep: list[object]):
    async def serve(context: ssl.SSLContext | None) -> int:
        import uvicorn

        options = {"ws": "none", "lifespan": "off", "log_level": "error", "access_log": False}
        server = uvicorn.Server(uvicorn.Config(application, HOST, 0, http=parser, **options))
        running = asyncio.create_task(server.serve())
        keep.append(running)
        await started(server, running)
        return server.servers[0].sockets[0].getsockname()[1]

    return serve


def serves_aiohttp(keep: list[object]):
    async def serve(context: ssl.SSLContext | None) -> int:
        from aiohttp import web

        async def hello(request):
            return web.Response(body=BODY, content_type="text/plain")

        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app, access_log=None)
        keep.append(runner)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        return runner.addresses[0][1]

    return serve


def kinds(keep: list[object]) -> dict:
    """Servers by kind; `keep` holds what must live as long as the process."""
    return {
        "uvicorn-httptools": serves_uvicorn("httptools", keep),
        "uvicorn-h11": serves_uvicorn("h11", keep),
        "aiohttp": serves_aiohttp(keep),
    }
