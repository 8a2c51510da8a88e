"""TLS for the tests: contexts over checked-in certificates, and a peer that is moved by hand."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from recorder import Recorder, serving

CERTIFICATES = Path(__file__).parent / "certificates"


def server_context(name: str = "localhost", **password: str) -> ssl.SSLContext:
    """The context of a server that is called so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem", **password)
    return context


def client_context(trusts: str = "localhost", kind: type[ssl.SSLContext] = ssl.SSLContext) -> Any:
    """The context of a client that trusts this server."""
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATES / f"{trusts}.pem")
    return context


class Peer:
    """One end of a TLS connection, in which nothing happens by itself."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool = False) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.tls: Any = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=name
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()

    async def flush(self) -> None:
        """Send what OpenSSL has to say."""
        await self.send_raw(self.outgoing.read())

    async def send_raw(self, data: bytes) -> None:
        """Send bytes that are no business of OpenSSL's."""
        if data:
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def hear(self) -> bool:
        """Take in what came; whether anything did."""
        data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        self.incoming.write(data)
        return bool(data)

    async def do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make OpenSSL do something, for which it may have to hear from the other end."""
        while True:
            try:
                done = call(*arguments)
            except ssl.SSLWantReadError:
                await self.flush()
                if not await self.hear():
                    raise EOFError from None
            else:
                await self.flush()
                return done

    async def shake_hands(self) -> Self:
        """Do, and take the session tickets of TLS 1.3."""
        await self.do(self.tls.do_handshake)
        return self

    async def send(self, data: bytes) -> None:
        """Send data, encrypted."""
        self.tls.write(data)
        await self.flush()

    async def receive(self, count: int) -> bytes:
        """So many bytes, decrypted."""
        data = b""
        while len(data) < count:
            data += await self.do(self.tls.read, count - len(data))
        return data

    async def until_gone(self) -> None:
        """Until the other end has closed the connection."""
        try:
            while await self.hear():
                pass
        except ConnectionError:
            pass


async def connected(address: tuple[str, int], context: ssl.SSLContext | None = None) -> Peer:
    """A peer that has connected and not yet said a word."""
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    return Peer(sock, context or client_context())


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Any, Callable[[], Any]]]:
    """An address, and what accepts the peer that connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)

        async def accept() -> Peer:
            accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
            return Peer(accepted, context or server_context(), server_side=True)

        yield sock.getsockname(), accept


@asynccontextmanager
async def secured(
    client: Any = None, server: Any = None, contexts: Any = None, **options: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """Two protocols at the two ends of a TLS connection, aborted at the end if they are still open."""
    theirs, ours = contexts or (server_context(), client_context())
    client, server = client or Recorder(), server or Recorder()
    loop = asyncio.get_running_loop()
    async with serving(lambda: server, ssl=theirs, **options) as address:
        await loop.create_connection(
            lambda: client, *address, ssl=ours, server_hostname="localhost", **options
        )
        await server.until("made")
    try:
        yield client, server
    finally:
        for end in (client, server):
            if "lost" not in end.names:
                end.transport.abort()
        for end in (client, server):
            await end.until("lost")


@asynccontextmanager
async def secured_peer(server: Any = None, **options: Any) -> AsyncIterator[tuple[Peer, Any]]:
    """A peer that has shaken hands with a protocol of ours, which is aborted at the end."""
    server = server or Recorder()
    async with serving(lambda: server, ssl=server_context(), **options) as address:
        with await connected(address) as peer:
            await peer.shake_hands()
            await server.until("made")
            yield peer, server
            if "lost" not in server.names:
                server.transport.abort()
        await server.until("lost")
