"""Files sent by the kernel: exact counts, exact offsets, and the file left where reading would go on."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from conftest import turns
from recorder import Recorder, linked

DATA = bytes(range(256)) * 12_000
"""3 MB: more than a socket's buffer takes at once."""

# Newer releases of asyncio place a file even if nothing of it was sent; the earlier are told how much was.
_place = asyncio.SelectorEventLoop._sock_sendfile_update_filepos  # type: ignore[attr-defined]
ALWAYS_MOVES = _place.__code__.co_argcount == 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection that take little at once, so that a sender has to wait."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        with socket.socket() as here:
            here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            here.setblocking(False)
            await loop.sock_connect(here, listener.getsockname())
            there, _ = await loop.sock_accept(listener)
            with there:
                yield here, there


async def receive(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < count:
        data += await loop.sock_recv(sock, 1 << 18)
    return bytes(data)


PARTS = [
    (0, None, DATA),
    (0, 1, DATA[:1]),
    (1000, None, DATA[1000:]),
    (12345, 100_000, DATA[12345:112_345]),
    (len(DATA) - 10, None, DATA[-10:]),
    (len(DATA) - 10, 1000, DATA[-10:]),
    (len(DATA), None, b""),
    (len(DATA) + 5, 1000, b""),
    (0, len(DATA), DATA),
    (0, len(DATA) + 1, DATA),
]


@pytest.mark.parametrize(("offset", "count", "expected"), PARTS)
def test_a_part_of_a_file_to_a_socket(
    run, path: Path, offset: int, count: int | None, expected: bytes
) -> None:
    async def main() -> None:
        async with connected() as (here, there):
            with path.open("rb") as file:
                file.seek(77)
                loop = asyncio.get_running_loop()
                sending = asyncio.ensure_future(loop.sock_sendfile(here, file, offset, count, fallback=False))
                assert await receive(there, len(expected)) == expected
                assert await sending == len(expected)
                assert file.tell() == (offset + len(expected) if expected or ALWAYS_MOVES else 77)
            there.setblocking(False)
            with pytest.raises(BlockingIOError):
                there.recv(1)

    run(main())


@pytest.mark.parametrize(("offset", "count", "expected"), PARTS)
def test_a_part_of_a_file_to_a_transport(
    run, path: Path, offset: int, count: int | None, expected: bytes
) -> None:
    async def main() -> None:
        async with linked() as (client, server):
            with path.open("rb") as file:
                file.seek(77)
                loop = asyncio.get_running_loop()
                client.transport.write(b"before")
                sent = await loop.sendfile(client.transport, file, offset, count, fallback=False)
                assert sent == len(expected)
                assert file.tell() == (offset + len(expected) if expected or ALWAYS_MOVES else 77)
                client.transport.write(b"after")
            whole = b"before" + expected + b"after"
            assert await server.until_received(len(whole)) == whole
            assert client.transport.is_reading()

    run(main())


def test_an_empty_file(run, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "empty").touch()
        loop = asyncio.get_running_loop()
        async with linked() as (client, _), connected() as (here, _):
            with (tmp_path / "empty").open("rb") as file:
                assert await loop.sendfile(client.transport, file) == 0
                assert await loop.sock_sendfile(here, file) == 0
                assert await loop.sock_sendfile(here, file, 10, 10) == 0

    run(main())


def test_what_waits_to_be_written_leaves_first_and_nothing_may_follow_meanwhile(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with linked() as (client, server):
            server.transport.pause_reading()
            before = b"b" * 10_000_000
            client.transport.write(before)
            assert client.transport.get_write_buffer_size() > 0
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
                await turns(3)
                for write in (client.transport.write, lambda data: client.transport.writelines([data])):
                    with pytest.raises(RuntimeError, match="sendfile is in progress"):
                        write(b"x")
                server.transport.resume_reading()
                assert await sending == len(DATA)
            assert await server.until_received(len(before + DATA)) == before + DATA

    run(main())


def test_reading_rests_while_a_file_is_sent(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with linked() as (client, server):
            server.transport.pause_reading()
            server.transport.write(b"x")
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
                await turns(5)
                assert not client.transport.is_reading()
                assert client.data == b""
                server.transport.resume_reading()
                await sending
            await client.until_received(1)
            client.transport.pause_reading()
            with path.open("rb") as file:
                await loop.sendfile(client.transport, file)
            assert not client.transport.is_reading()

    run(main())


# -- scenario 11


def test_scenario_11_a_file_that_shrinks_meanwhile(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (here, there):
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sock_sendfile(here, file, fallback=False))
                await turns(5)
                os.truncate(path, 1000)
                received = 0
                while not sending.done():
                    data = await asyncio.wait_for(loop.sock_recv(there, 1 << 18), 5)
                    received += len(data)
                    await turns(3)
                sent = await sending
                assert 1000 <= sent < len(DATA)
                assert file.tell() == sent
                await receive(there, sent - received)

    run(main())


def test_scenario_11_a_file_that_shrinks_under_a_transport(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with linked() as (client, server):
            path.write_bytes(DATA * 8)
            server.transport.pause_reading()
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(client.transport, file, fallback=False))
                await turns(10)
                os.truncate(path, 1000)
                server.transport.resume_reading()
                sent = await sending
                assert sent < len(DATA) * 8
                assert file.tell() == sent
            await server.until_received(sent)
            assert len(server.data) == sent

    run(main())


@pytest.mark.parametrize("fallback", [True, False])
def test_scenario_11_a_peer_that_goes_away(run, path: Path, fallback: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with linked() as (client, server):
            path.write_bytes(DATA * 8)
            server.transport.pause_reading()
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(client.transport, file, fallback=fallback))
                await turns(10)
                server.transport.abort()
                with pytest.raises(ConnectionError):
                    await sending
                assert 0 < file.tell() < len(DATA) * 8

    run(main())


def test_scenario_11_a_peer_that_goes_away_from_a_socket(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (here, there):
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sock_sendfile(here, file))
                await turns(5)
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                there.close()
                with pytest.raises(ConnectionError):
                    await sending
                assert 0 < file.tell() < len(DATA)

    run(main())


@pytest.mark.velodrome_only
@pytest.mark.parametrize("end", ["close", "abort"])
def test_scenario_11_a_transport_that_is_closed_meanwhile(run, path: Path, end: str) -> None:
    async def main() -> None:
        # asyncio waits for ever: it listens to a descriptor that is closed.
        loop = asyncio.get_running_loop()
        async with linked() as (client, server):
            path.write_bytes(DATA * 8)
            server.transport.pause_reading()
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
                await turns(10)
                getattr(client.transport, end)()
                with pytest.raises(ConnectionError):
                    await sending
                assert 0 < file.tell() < len(DATA) * 8
            server.transport.resume_reading()

    run(main())


def test_cancelling_leaves_nothing_behind(run, kind: str, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (here, there):
            with path.open("rb") as file:
                for _ in range(3):
                    file.seek(0)
                    sending = asyncio.ensure_future(loop.sock_sendfile(here, file, fallback=False))
                    await turns(5)
                    sending.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await sending
                    assert not loop.remove_writer(here)
                    if kind == "velodrome" and _ == 0:
                        # asyncio forgets how far it came.
                        assert 0 < file.tell() < len(DATA)
            here.close()
            while await loop.sock_recv(there, 1 << 18):
                pass

    run(main())


def test_cancelling_leaves_the_transport_in_order(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with linked() as (client, server):
            path.write_bytes(DATA * 8)
            server.transport.pause_reading()
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
                await turns(10)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
            client.transport.write(b"the end")
            client.transport.close()
            server.transport.resume_reading()
            await server.until("lost")
            assert server.data.endswith(b"the end")
            assert (DATA * 8).startswith(server.data.removesuffix(b"the end"))

    run(main())


# -- the fallback


@pytest.mark.parametrize("count", [None, 100_000])
def test_what_the_kernel_cannot_send_is_read_and_written(run, count: int | None) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        expected = DATA[10:][:count]
        async with linked() as (client, server), connected() as (here, there):
            file = io.BytesIO(DATA)
            assert await loop.sendfile(client.transport, file, 10, count) == len(expected)
            assert file.tell() == 10 + len(expected)
            assert await server.until_received(len(expected)) == expected
            sending = asyncio.ensure_future(loop.sock_sendfile(here, file, 10, count))
            assert await receive(there, len(expected)) == expected
            assert await sending == len(expected)
            assert file.tell() == 10 + len(expected)

    run(main())


def test_without_the_fallback_it_is_an_error(run, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        async with linked() as (client, _), connected() as (here, _):
            with open(reader, "rb") as pipe, open(writer, "wb", buffering=0) as filler:
                filler.write(b"x")
                for file in (io.BytesIO(DATA), pipe):
                    # Where asyncio moves every file, it fails to move a pipe.
                    moved = kind == "asyncio" and ALWAYS_MOVES and file is pipe
                    refused = OSError if moved else asyncio.SendfileNotAvailableError
                    # A pipe has no size: nothing is to be sent unless a count is given.
                    with pytest.raises(refused):
                        await loop.sendfile(client.transport, file, 0, 1, fallback=False)
                    with pytest.raises(refused):
                        await loop.sock_sendfile(here, file, 0, 1, fallback=False)
            assert client.transport.is_reading()

    run(main())


def test_arguments_are_looked_at(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with linked() as (client, _), connected() as (here, _):
            with path.open("rb") as file, path.open("r") as text:
                for send, to in ((loop.sock_sendfile, here), (loop.sendfile, client.transport)):
                    with pytest.raises(ValueError, match="binary"):
                        await send(to, text)
                    with pytest.raises(TypeError, match="count"):
                        await send(to, file, 0, "1")
                    with pytest.raises(ValueError, match="count"):
                        await send(to, file, 0, 0)
                    with pytest.raises(TypeError, match="offset"):
                        await send(to, file, "0")
                    with pytest.raises(ValueError, match="offset"):
                        await send(to, file, -1)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                    datagrams.setblocking(False)
                    with pytest.raises(ValueError, match="SOCK_STREAM"):
                        await loop.sock_sendfile(datagrams, file)
            client.transport.close()
            with path.open("rb") as file, pytest.raises(RuntimeError, match="closing"):
                await loop.sendfile(client.transport, file)

    run(main())


def test_a_transports_socket_is_not_for_sock_sendfile(run, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with linked() as (client, server):
            path.write_bytes(DATA * 8)
            server.transport.pause_reading()
            sock = client.transport.get_extra_info("socket")
            with path.open("rb") as file, pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_sendfile(sock, file)

    run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {path}.key -out {path}",
        shell=True,
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.key").read_bytes())
    return path


def test_over_tls_the_fallback_sends(run, path: Path, certificate: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(certificate)
        client_context = ssl.create_default_context(cafile=str(certificate))
        client_context.check_hostname = False
        received = Recorder()
        server = await loop.create_server(lambda: received, "127.0.0.1", 0, ssl=server_context)
        client = Recorder()
        transport, _ = await loop.create_connection(
            lambda: client, *server.sockets[0].getsockname(), ssl=client_context
        )
        with path.open("rb") as file:
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(transport, file, fallback=False)
            assert await loop.sendfile(transport, file, 10, 1_000_000) == 1_000_000
            assert file.tell() == 1_000_010
        assert await received.until_received(1_000_000) == DATA[10:1_000_010]
        transport.close()
        await client.until("lost")
        await received.until("lost")
        server.close()
        await server.wait_closed()
        gc.collect()

    run(main())
