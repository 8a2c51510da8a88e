"""The sock_* methods: data, cancellation that leaves nothing behind, and bad sockets."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl

import pytest
from conftest import turns
from recorder import linked


@pytest.fixture
def datagrams():
    """Two UDP sockets with addresses."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for each in sockets:
        each.setblocking(False)
        each.bind(("127.0.0.1", 0))
    yield sockets
    for each in sockets:
        each.close()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def new_socket():
    made = socket.socket()
    made.setblocking(False)
    return made


class TestData:
    """What is sent arrives."""

    def test_recv(self, run, loop, pair):
        ours, theirs = pair

        async def main():
            theirs.send(b"waits already")
            assert await loop.sock_recv(ours, 5) == b"waits"
            assert await loop.sock_recv(ours, 100) == b" already"
            receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
            await turns(3)
            assert not receiving.done()
            theirs.send(b"comes later")
            assert await receiving == b"comes later"
            theirs.close()
            assert await loop.sock_recv(ours, 100) == b""

        run(main())

    def test_recv_into(self, run, loop, pair):
        ours, theirs = pair

        async def main():
            buffer = bytearray(10)
            receiving = asyncio.ensure_future(loop.sock_recv_into(ours, buffer))
            await turns(3)
            theirs.send(b"abc")
            assert await receiving == 3
            assert buffer[:4] == b"abc\0"
            theirs.send(b"defg")
            assert await loop.sock_recv_into(ours, memoryview(buffer)[:2]) == 2
            assert buffer[:3] == b"dec"
            assert await loop.sock_recv_into(ours, buffer) == 2
            theirs.close()
            assert await loop.sock_recv_into(ours, buffer) == 0

        run(main())

    def test_recvfrom(self, run, loop, datagrams):
        ours, theirs = datagrams

        async def main():
            receiving = asyncio.ensure_future(loop.sock_recvfrom(ours, 100))
            await turns(3)
            theirs.sendto(b"datagram", ours.getsockname())
            assert await receiving == (b"datagram", theirs.getsockname())
            theirs.sendto(b"", ours.getsockname())
            assert await loop.sock_recvfrom(ours, 100) == (b"", theirs.getsockname())

        run(main())

    def test_recvfrom_into(self, run, loop, datagrams):
        ours, theirs = datagrams

        async def main():
            buffer = bytearray(10)
            receiving = asyncio.ensure_future(loop.sock_recvfrom_into(ours, buffer))
            await turns(3)
            theirs.sendto(b"abcdef", ours.getsockname())
            assert await receiving == (6, theirs.getsockname())
            assert buffer[:6] == b"abcdef"
            theirs.sendto(b"xyz", ours.getsockname())
            assert await loop.sock_recvfrom_into(ours, buffer, 2) == (2, theirs.getsockname())
            assert buffer[:3] == b"xyc"

        run(main())

    def test_sendto(self, run, loop, datagrams):
        ours, theirs = datagrams

        async def main():
            assert await loop.sock_sendto(ours, b"datagram", theirs.getsockname()) == 8
            assert await loop.sock_recv(theirs, 100) == b"datagram"

        run(main())

    def test_sendall(self, run, loop, pair):
        ours, theirs = pair
        data = os.urandom(4_000_000)

        async def main():
            sending = asyncio.ensure_future(loop.sock_sendall(ours, data))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(theirs, 300_000)
            assert await sending is None
            assert received == data

        run(main())

    @pytest.mark.parametrize("kind_of_buffer", [bytes, bytearray, memoryview])
    def test_sendall_takes_any_buffer(self, run, loop, pair, kind_of_buffer):
        ours, theirs = pair

        async def main():
            await loop.sock_sendall(ours, kind_of_buffer(b"abc"))
            await loop.sock_sendall(ours, kind_of_buffer(b""))
            assert await loop.sock_recv(theirs, 100) == b"abc"

        run(main())

    def test_both_directions_at_once(self, run, loop, pair):
        ours, theirs = pair

        async def main():
            receiving = [asyncio.ensure_future(loop.sock_recv(end, 10)) for end in pair]
            await turns(2)
            await asyncio.gather(loop.sock_sendall(ours, b"to them"), loop.sock_sendall(theirs, b"to us"))
            assert await asyncio.gather(*receiving) == [b"to us", b"to them"]

        run(main())

    def test_connect_and_accept(self, run, loop, listener):
        async def main():
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await turns(2)
            with new_socket() as client:
                assert await loop.sock_connect(client, listener.getsockname()) is None
                server, address = await accepting
                with server:
                    assert address == client.getsockname()
                    assert server.gettimeout() == 0
                    assert not server.get_inheritable()
                    await loop.sock_sendall(client, b"hello")
                    assert await loop.sock_recv(server, 10) == b"hello"

        run(main())

    def test_connect_by_name(self, run, loop, listener):
        async def main():
            with new_socket() as client:
                await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
                server, _ = await loop.sock_accept(listener)
                server.close()

        run(main())

    def test_connect_refused(self, run, loop, listener):
        address = listener.getsockname()
        listener.close()

        async def main():
            with new_socket() as client, pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, address)

        run(main())

    def test_reset_by_the_peer(self, run, loop):
        async def main():
            async with linked() as (client, server):
                ours = socket.socket(fileno=os.dup(client.transport.get_extra_info("socket").fileno()))
                client.transport.pause_reading()
                with ours:
                    receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
                    await turns(2)
                    server.transport.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                    )
                    server.transport.abort()
                    with pytest.raises(ConnectionResetError):
                        await receiving

        run(main())


class TestSendfile:
    """sock_sendfile."""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(os.urandom(1_000_000))
        with open(path, "rb") as file:
            yield file

    async def transfer(self, loop, pair, *arguments, **options):
        ours, theirs = pair

        async def receive():
            received = bytearray()
            while data := await loop.sock_recv(theirs, 100_000):
                received += data
            return bytes(received)

        receiving = asyncio.ensure_future(receive())
        sent = await loop.sock_sendfile(ours, *arguments, **options)
        ours.close()
        received = await receiving
        assert len(received) == sent
        return received

    @pytest.mark.parametrize(
        ("offset", "count"), [(0, None), (1000, None), (0, 5000), (999_000, 5000), (1_000_000, None)]
    )
    def test_whole_and_parts(self, run, loop, pair, file, offset, count):
        content = file.read()
        expected = content[offset:] if count is None else content[offset : offset + count]
        assert run(self.transfer(loop, pair, file, offset, count)) == expected
        assert file.tell() == offset + len(expected)

    def test_without_a_file_there_is_a_fallback(self, run, loop, pair):
        file = io.BytesIO(b"x" * 300_000)
        assert run(self.transfer(loop, pair, file)) == file.getvalue()

    def test_which_can_be_refused(self, run, loop, pair):
        async def main():
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sock_sendfile(pair[0], io.BytesIO(b"x"), fallback=False)

        run(main())

    @pytest.mark.parametrize(
        ("offset", "count", "error"),
        [
            (-1, None, ValueError),
            (0, 0, ValueError),
            (0, -1, ValueError),
            (1.5, None, TypeError),
            (0, "1", TypeError),
        ],
    )
    def test_bad_numbers(self, run, loop, pair, file, offset, count, error):
        async def main():
            with pytest.raises(error):
                await loop.sock_sendfile(pair[0], file, offset, count)

        run(main())

    def test_a_text_file(self, run, loop, pair, file):
        async def main():
            with open(file.name, encoding="latin-1") as text, pytest.raises(ValueError):
                await loop.sock_sendfile(pair[0], text)

        run(main())

    def test_a_datagram_socket(self, run, loop, datagrams, file):
        async def main():
            with pytest.raises(ValueError):
                await loop.sock_sendfile(datagrams[0], file)

        run(main())

    def test_the_peer_goes_away(self, run, loop, pair, file):
        ours, theirs = pair
        theirs.close()

        async def main():
            with pytest.raises(OSError):
                await loop.sock_sendfile(ours, file)

        run(main())

    def test_cancelled(self, run, loop, pair, file):
        ours, _ = pair

        async def main():
            sending = asyncio.ensure_future(loop.sock_sendfile(ours, file))
            await turns(5)
            assert not sending.done()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await turns(2)
            assert loop.remove_writer(ours) is False

        run(main())


class TestCancellation:
    """A cancelled wait is as if it had never been."""

    async def cancel(self, waiting):
        task = asyncio.ensure_future(waiting)
        await turns(3)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns(2)

    def test_receiving(self, run, loop, pair):
        ours, theirs = pair

        async def main():
            for waiting in (
                lambda: loop.sock_recv(ours, 10),
                lambda: loop.sock_recv_into(ours, bytearray(10)),
                lambda: loop.sock_recvfrom(ours, 10),
                lambda: loop.sock_recvfrom_into(ours, bytearray(10)),
            ):
                await self.cancel(waiting())
                assert loop.remove_reader(ours) is False
            theirs.send(b"not lost")
            assert await loop.sock_recv(ours, 10) == b"not lost"

        run(main())

    def test_cancelled_when_data_is_there(self, run, loop, pair):
        """The data comes in the turn of the cancellation, before or after it: somebody gets it."""
        ours, theirs = pair

        async def main():
            for order in range(2):
                receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
                await turns(2)
                steps = [receiving.cancel, lambda: theirs.send(b"x")]
                for step in steps[:: 1 if order else -1]:
                    step()
                with pytest.raises(asyncio.CancelledError):
                    await receiving
                assert await loop.sock_recv(ours, 10) == b"x"

        run(main())

    def test_sending(self, run, loop, pair):
        ours, theirs = pair

        async def main():
            await self.cancel(loop.sock_sendall(ours, bytes(10_000_000)))
            assert loop.remove_writer(ours) is False

        run(main())

    def test_accepting(self, run, loop, listener):
        async def main():
            await self.cancel(loop.sock_accept(listener))
            assert loop.remove_reader(listener) is False
            with new_socket() as client:
                await loop.sock_connect(client, listener.getsockname())
                server, _ = await loop.sock_accept(listener)
                server.close()

        run(main())

    def test_connecting(self, run, loop):
        """To a listener whose queue is full, so that it stays pending."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            fillers = [new_socket() for _ in range(3)]
            for filler in fillers:
                filler.connect_ex(listener.getsockname())

            async def main():
                with new_socket() as client:
                    await self.cancel(loop.sock_connect(client, listener.getsockname()))
                    assert loop.remove_writer(client) is False

            run(main())
            for filler in fillers:
                filler.close()


class TestBadSockets:
    """What is refused."""

    CALLS = [
        ("sock_recv", lambda loop, sock: loop.sock_recv(sock, 1)),
        ("sock_recv_into", lambda loop, sock: loop.sock_recv_into(sock, bytearray(1))),
        ("sock_recvfrom", lambda loop, sock: loop.sock_recvfrom(sock, 1)),
        ("sock_recvfrom_into", lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(1))),
        ("sock_sendall", lambda loop, sock: loop.sock_sendall(sock, b"x")),
        ("sock_sendto", lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1))),
        ("sock_connect", lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1))),
        ("sock_accept", lambda loop, sock: loop.sock_accept(sock)),
        ("sock_sendfile", lambda loop, sock: loop.sock_sendfile(sock, io.BytesIO(b"x"))),
    ]
    each_call = pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])

    @each_call
    def test_a_blocking_one_in_debug_mode(self, run, loop, call):
        loop.set_debug(True)

        async def main():
            with (
                socket.socket() as blocking,
                pytest.raises(ValueError, match="the socket must be non-blocking"),
            ):
                await call(loop, blocking)

        run(main())

    @each_call
    def test_a_closed_one(self, run, loop, call):
        closed = new_socket()
        closed.close()

        async def main():
            with pytest.raises((OSError, ValueError)):
                await call(loop, closed)

        run(main())

    @each_call
    def test_one_of_ssl(self, run, loop, call):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False

        async def main():
            with new_socket() as plain, context.wrap_socket(plain, do_handshake_on_connect=False) as wrapped:
                with pytest.raises((TypeError, ssl.SSLError, OSError)):
                    await call(loop, wrapped)

        run(main())

    @pytest.mark.parametrize("call", [call for name, call in CALLS[:5]], ids=[name for name, _ in CALLS[:5]])
    def test_one_that_a_transport_owns(self, run, loop, call):
        """Those that would wait are refused; what can be done at once is done."""

        async def main():
            async with linked() as (client, server):
                server.transport.pause_reading()
                ours = client.transport.get_extra_info("socket")._sock
                with pytest.raises(RuntimeError, match="is used by transport"):
                    for _ in range(1000):
                        await call(loop, ours)
                        await loop.sock_sendall(ours, bytes(100_000))

        run(main())

    def test_bad_sizes(self, run, loop, pair):
        async def main():
            with pytest.raises(ValueError):
                await loop.sock_recv(pair[0], -1)
            with pytest.raises(TypeError):
                await loop.sock_recv(pair[0], "1")
            with pytest.raises(TypeError):
                await loop.sock_recv_into(pair[0], b"read-only")
            with pytest.raises(TypeError):
                await loop.sock_sendall(pair[0], "text")

        run(main())

    def test_closed_while_receiving(self, run, loop, pair):
        """Undefined what comes of it, but nothing breaks, and it can be cancelled."""
        ours, _ = pair

        async def main():
            receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
            await turns(2)
            ours.close()
            await turns(2)
            receiving.cancel()
            with pytest.raises((asyncio.CancelledError, OSError)):
                await receiving

        run(main())
