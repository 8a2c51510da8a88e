"""A little of everything, to have one of its system calls fail: it survives with or without exceptions.

Two markers tell strace's log which calls are the loop's. It prints what happened; a signal, a hang, a
descriptor that stays or a panic is for nth_call.py to see.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import tempfile
import warnings

import velodrome

logging.disable()  # what goes wrong is wanted; the words are not
warnings.simplefilter("ignore")

LIMIT = 3
"""Seconds after which a conversation that lost its bytes to a failed call is given up."""


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Mirror(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


class Listener(asyncio.DatagramProtocol):
    def __init__(self):
        self.heard = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, addr):
        if not self.heard.done():
            self.heard.set_result(data)


async def streams(loop):
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            writer.write(b"hello\n")
            await writer.drain()
            assert await reader.readline() in (b"hello\n", b"")
        finally:
            writer.close()
    finally:
        server.close()


async def handle(reader, writer):
    try:
        writer.writelines([await reader.readline(), b""])
        await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def protocols(loop):
    with tempfile.TemporaryDirectory() as folder:
        server = await loop.create_unix_server(Echo, folder + "/socket")
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, folder + "/socket")
                await loop.sock_sendall(sock, bytes(300_000))
                left = 300_000
                while left:
                    received = len(await loop.sock_recv(sock, 65536))
                    assert received, "the end came early"
                    left -= received
        finally:
            server.close()


async def datagrams(loop):
    mirror, _ = await loop.create_datagram_endpoint(Mirror, ("127.0.0.1", 0))
    try:
        address = mirror.get_extra_info("sockname")
        transport, listener = await loop.create_datagram_endpoint(Listener, remote_addr=address)
        try:
            transport.sendto(b"x")
            await listener.heard
        finally:
            transport.close()
    finally:
        mirror.close()


async def others(loop):
    read, write = os.pipe()
    try:
        transport, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(read, "rb"))
        try:
            os.write(write, b"x")
            await asyncio.sleep(0)
        finally:
            transport.close()
    finally:
        os.close(write)
    assert await loop.run_in_executor(None, int, "7") == 7


def attempt(part):
    """Run one part on a loop of its own."""
    loop = velodrome.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(part(loop), LIMIT))
    finally:
        try:
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def attempt_all():
    """Every part, whatever becomes of the others; what went wrong."""
    problems = []
    for part in PARTS:
        try:
            attempt(part)
        except Exception as error:
            problems.append(f"{part.__name__}: {type(error).__name__}")
    gc.collect()
    return problems


PARTS = [streams, protocols, datagrams, others]

attempt_all()  # imports and caches of the first time are not what is tested
before = descriptors()
os.access("/velodrome/begin", os.F_OK)
problems = attempt_all()
os.access("/velodrome/end", os.F_OK)
after = descriptors()
print("left:", [name for name in after if name not in before], "problems:", problems)
sys.exit(after != before)
