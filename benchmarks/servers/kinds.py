"""The servers that are measured, each written as a user of asyncio would write it, with public names only.

A kind is a coroutine function that starts to serve on a free port of 127.0.0.1 and returns that port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import web

HOST = "127.0.0.1"
CHUNK = 64 * 1024

# What must live as long as the process: servers, listening tasks, transports.
SERVING: list[object] = []


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = bytearray(CHUNK)
        self.view = memoryview(self.buffer)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, length):
        # A copy: a transport may keep what it is given, and the buffer is filled again before that has left.
        self.transport.write(bytes(self.view[:length]))


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def echo_stream(reader, writer):
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


async def echo_lines(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def echo_socket(loop, connection):
    with connection, contextlib.suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := await loop.sock_recv(connection, CHUNK):
            await loop.sock_sendall(connection, data)


async def accept_sockets(loop, listener):
    echoes = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        echo = loop.create_task(echo_socket(loop, connection))
        echoes.add(echo)
        echo.add_done_callback(echoes.discard)


def port_of(server: asyncio.Server) -> int:
    return server.sockets[0].getsockname()[1]


def serves_protocol(protocol):
    async def serve(context: ssl.SSLContext | None) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, HOST, 0, ssl=context, backlog=1024)
        SERVING.append(server)
        return port_of(server)

    return serve


def serves_streams(handler):
    async def serve(context: ssl.SSLContext | None) -> int:
        server = await asyncio.start_server(handler, HOST, 0, ssl=context, backlog=1024)
        SERVING.append(server)
        return port_of(server)

    return serve


async def serve_sockets(context: ssl.SSLContext | None) -> int:
    loop = asyncio.get_running_loop()
    listener = socket.create_server((HOST, 0), backlog=1024)
    listener.setblocking(False)
    SERVING.append(loop.create_task(accept_sockets(loop, listener)))
    return listener.getsockname()[1]


async def serve_datagrams(context: ssl.SSLContext | None) -> int:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=(HOST, 0))
    SERVING.append(transport)
    return transport.get_extra_info("sockname")[1]


KINDS = {
    "protocol": serves_protocol(Echo),
    "buffered": serves_protocol(BufferedEcho),
    "streams": serves_streams(echo_stream),
    "readline": serves_streams(echo_lines),
    "sockets": serve_sockets,
    "udp": serve_datagrams,
    **web.kinds(SERVING),
}
