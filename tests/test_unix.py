"""Unix streams: the same bytes over a socket with a path, or a name that is no path."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from conftest import until
from recorder import Echo, Recorder

CLEANS_UP = sys.version_info >= (3, 13)
LONGEST = 107
"""Bytes of a path, as Linux has it: 108 with the zero at the end."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's path has a hundred bytes."""
    with TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@asynccontextmanager
async def echoing(path: Any, **options: Any) -> Any:
    server = await asyncio.get_running_loop().create_unix_server(Echo, path, **options)
    try:
        yield server
    finally:
        server.close()


async def echo(path: Any) -> Recorder:
    client = Recorder()
    await asyncio.get_running_loop().create_unix_connection(lambda: client, path)
    client.transport.write(b"hello")
    assert await client.until_received(5) == b"hello"
    client.transport.close()
    await client.until("lost")
    assert client.events == [("made",), ("data", b"hello"), ("lost", None)]
    return client


@pytest.mark.parametrize("form", [str, os.fsencode, Path])
def test_a_path_may_be_str_bytes_or_path(run, folder: Path, form: Callable[[Path], Any]) -> None:
    async def main() -> None:
        path = form(folder / "socket")
        async with echoing(path) as server:
            (sock,) = server.sockets
            assert sock.family == socket.AF_UNIX
            assert sock.getsockname() == str(folder / "socket")
            await echo(path)

    run(main())


@pytest.mark.parametrize("name", ["\0velodrome-test-name", b"\0velodrome-test-\xff\0name"])
def test_an_abstract_name(run, name: Any) -> None:
    async def main() -> None:
        async with echoing(name) as server:
            expected = name if isinstance(name, bytes) else name.encode()
            assert server.sockets[0].getsockname() == expected
            await echo(name)

    run(main())


def test_what_is_known_of_the_ends(run, folder: Path) -> None:
    async def main() -> None:
        path = str(folder / "socket")
        server_end: list[Any] = []

        class Server(Recorder):
            def connection_made(self, transport: Any) -> None:
                server_end.append(transport)
                super().connection_made(transport)

        server = await asyncio.get_running_loop().create_unix_server(Server, path)
        client = Recorder()
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: client, path)
        await until(lambda: server_end)
        assert transport.get_extra_info("peername") == path
        assert transport.get_extra_info("sockname") == ""
        assert transport.get_extra_info("socket").family == socket.AF_UNIX
        assert server_end[0].get_extra_info("sockname") == path
        assert server_end[0].get_extra_info("peername") == ""
        transport.close()
        await client.until("lost")
        server.close()
        await asyncio.sleep(0)

    run(main())


def test_the_streams(run, folder: Path) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()

        path = folder / "socket"
        server = await asyncio.start_unix_server(serve, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_socket_of_the_callers(run) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        client = Recorder()
        await asyncio.get_running_loop().create_unix_connection(lambda: client, sock=here)
        there.send(b"x")
        await client.until_received(1)
        there.close()
        await client.until("lost")
        assert here.fileno() == -1

    run(main())


# -- scenario 21


def test_scenario_21_a_stale_socket_is_removed(run, folder: Path) -> None:
    async def main() -> None:
        path = folder / "socket"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
        assert path.is_socket()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().create_unix_connection(Recorder, path)
        async with echoing(path):
            await echo(path)

    run(main())


def test_scenario_21_a_file_that_is_no_socket_stays(run, folder: Path) -> None:
    async def main() -> None:
        path = folder / "file"
        path.write_text("mine")
        with pytest.raises(OSError, match="already in use"):
            await asyncio.get_running_loop().create_unix_server(Recorder, path)
        assert path.read_text() == "mine"

    run(main())


def test_scenario_21_a_path_that_is_too_long(run, folder: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = folder / ("x" * 200)
        with pytest.raises(OSError, match="too long"):
            await loop.create_unix_server(Recorder, path)
        with pytest.raises(OSError, match="too long"):
            await loop.create_unix_connection(Recorder, path)
        longest = folder / ("x" * (LONGEST - len(str(folder)) - 1))
        async with echoing(longest):
            await echo(longest)

    run(main())


def test_scenario_21_a_path_that_is_not_unicode(run, folder: Path) -> None:
    async def main() -> None:
        path = os.fsencode(folder) + b"/\xff\xfe"
        async with echoing(path) as server:
            assert os.fsencode(server.sockets[0].getsockname()) == path
            client = await echo(os.fsdecode(path))
        assert os.fsencode(client.transport.get_extra_info("peername")) == path

    run(main())


def test_scenario_21_nobody_there(run, folder: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = sorted(os.listdir("/proc/self/fd"))
        for path in (folder / "socket", "\0velodrome-nobody"):
            with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
                await loop.create_unix_connection(Recorder, path)
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Recorder, folder / "no folder" / "socket")
        gc.collect()
        assert sorted(os.listdir("/proc/self/fd")) == before

    run(main())


def test_scenario_21_unlinked_under_us(run, folder: Path) -> None:
    async def main() -> None:
        path = folder / "socket"
        async with echoing(path):
            path.unlink()
        assert not path.exists()
        # And replaced by another server's, which must stay.
        async with echoing(path):
            path.unlink()
            async with echoing(path):
                await echo(path)

    run(main())


# -- cleanup_socket


@pytest.mark.skipif(not CLEANS_UP, reason="since 3.13")
def test_a_closed_server_removes_its_socket(run, folder: Path) -> None:
    async def main() -> None:
        path = folder / "socket"
        async with echoing(path):
            assert path.is_socket()
        assert not path.exists()
        async with echoing(path, cleanup_socket=False):
            pass
        assert path.is_socket()
        async with echoing(path):
            path.unlink()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(path))
        assert path.is_socket(), "a stranger's"
        async with echoing("\0velodrome-test-name"):
            pass

    run(main())


@pytest.mark.skipif(not CLEANS_UP, reason="since 3.13")
def test_a_socket_of_the_callers_is_removed_too(run, folder: Path) -> None:
    async def main() -> None:
        path = folder / "socket"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        server = await asyncio.get_running_loop().create_unix_server(Recorder, sock=sock)
        server.close()
        assert not path.exists()

    run(main())


@pytest.mark.skipif(CLEANS_UP, reason="until 3.12")
def test_an_older_python_leaves_the_socket_and_knows_no_cleanup(run, folder: Path) -> None:
    async def main() -> None:
        path = folder / "socket"
        async with echoing(path):
            pass
        assert path.is_socket()
        with pytest.raises(TypeError, match="cleanup_socket"):
            await asyncio.get_running_loop().create_unix_server(Recorder, path, cleanup_socket=True)

    run(main())


# -- misuse


def test_arguments_that_contradict_each_other(run, folder: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = str(folder / "socket")
        with socket.socket(socket.AF_UNIX) as unix, socket.socket() as internet:
            for create in (loop.create_unix_connection, loop.create_unix_server):
                with pytest.raises(ValueError, match="path and sock"):
                    await create(Recorder, path, sock=unix)
                with pytest.raises(ValueError, match="no path|path was not"):
                    await create(Recorder)
                with pytest.raises(ValueError, match="UNIX Domain Stream"):
                    await create(Recorder, sock=internet)
                with pytest.raises(TypeError):
                    await create(Recorder, 5)
                with pytest.raises(ValueError, match="ssl"):
                    await create(Recorder, path, ssl_handshake_timeout=1)
            with pytest.raises(TypeError, match="SSLContext"):
                await loop.create_unix_server(Recorder, path, ssl=True)
        gc.collect()

    run(main())


@pytest.mark.velodrome_only
def test_a_factory_that_fails_closes_the_socket_that_the_loop_made(run, folder: Path) -> None:
    async def main() -> None:
        def factory() -> Any:
            raise ValueError("factory")

        path = folder / "socket"
        async with echoing(path):
            gc.disable()
            try:
                before = sorted(os.listdir("/proc/self/fd"))
                with pytest.raises(ValueError, match="factory") as caught:
                    await asyncio.get_running_loop().create_unix_connection(factory, path)
                assert caught.value.__traceback__ is not None
                # Only the server's end is left, until it has seen the end of it.
                left = set(os.listdir("/proc/self/fd")) - set(before)
                assert len(left) <= 1
            finally:
                gc.enable()
            for _ in range(5):
                await asyncio.sleep(0)

    run(main())


def test_a_cancelled_connection_leaves_nothing(run, folder: Path) -> None:
    async def main() -> None:
        path = folder / "socket"
        async with echoing(path):
            for turns in range(4):
                client = Recorder()
                task = asyncio.ensure_future(
                    asyncio.get_running_loop().create_unix_connection(lambda client=client: client, path)
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                if task.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await task
                if "made" in client.names and "lost" not in client.names:
                    client.transport.abort()
            gc.collect()
            for _ in range(10):
                await asyncio.sleep(0)

    run(main())
