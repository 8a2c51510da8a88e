"""Datagram endpoints: making them, what their protocols see, sending, flow control, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import gc
import os
import socket
import struct
import sys
import warnings
import weakref

import pytest
from conftest import turns, until

HOST = "127.0.0.1"


class Datagrams(asyncio.DatagramProtocol):
    """Writes down what happens to it, and lets a test wait for it."""

    def __init__(self):
        self.events = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.events.append(("made",))

    def datagram_received(self, data, addr):
        self.events.append(("data", data, addr))

    def error_received(self, exc):
        self.events.append(("error", type(exc), exc.errno))

    def pause_writing(self):
        self.events.append(("pause",))

    def resume_writing(self):
        self.events.append(("resume",))

    def connection_lost(self, exc):
        self.events.append(("lost", exc))

    @property
    def names(self):
        return [event[0] for event in self.events]

    @property
    def data(self):
        return [event[1] for event in self.events if event[0] == "data"]

    async def received(self, count):
        """Wait for so many datagrams."""
        await until(lambda: len(self.data) >= count)
        return self.data


class Echo(Datagrams):
    """Sends back what it receives."""

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def endpoint(factory=Datagrams, *, local_addr=(HOST, 0), **options):
    """An open endpoint's protocol; closed at the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, local_addr, **options)
    assert protocol.transport is transport
    try:
        yield protocol
    finally:
        # asyncio's abort() fails after a close() that had something left to send.
        if "lost" not in protocol.names:
            transport.abort()
        await until(lambda: "lost" in protocol.names)


@contextlib.asynccontextmanager
async def over(sock, factory=Datagrams):
    """An endpoint over a socket of the test's."""
    async with endpoint(factory, local_addr=None, sock=sock) as protocol:
        yield protocol


def address_of(protocol):
    """Where an endpoint is reached."""
    return protocol.transport.get_extra_info("sockname")


@pytest.fixture
def peer():
    """A plain socket to talk to an endpoint with."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        sock.settimeout(5)
        yield sock


def fill(sock, data, to=()):
    """Send until the kernel takes no more, and say how many it took."""
    for count in range(100_000):
        try:
            sock.sendto(data, *to) if to else sock.send(data)
        except BlockingIOError:
            return count
    raise AssertionError("the kernel takes everything")


async def arrivals(sock, count):
    """So many datagrams, as they come."""
    arrived = []
    while len(arrived) < count:
        with contextlib.suppress(BlockingIOError):
            arrived.append(sock.recv(100))
        await turns()
    return arrived


class TestReceiving:
    """What a protocol sees."""

    def test_a_conversation(self, run, peer):
        async def main():
            async with endpoint(Echo) as server:
                peer.sendto(b"hello", address_of(server))
                await server.received(1)
                assert server.events == [("made",), ("data", b"hello", peer.getsockname())]
                assert peer.recvfrom(100) == (b"hello", address_of(server))

        run(main())

    def test_datagrams_are_whole_in_order_and_may_be_empty(self, run, peer):
        async def main():
            async with endpoint() as server:
                sent = [b"", b"a", b"", b"x" * 65507, *(bytes([n]) * n for n in range(60))]
                for data in sent:
                    peer.sendto(data, address_of(server))
                assert await server.received(len(sent)) == sent
                assert {event[2] for event in server.events[1:]} == {peer.getsockname()}

        run(main())

    def test_each_sender_is_told(self, run):
        async def main():
            async with endpoint() as server:
                with contextlib.ExitStack() as stack:
                    peers = [
                        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                        for _ in range(9)
                    ]
                    for n, sock in enumerate(peers):
                        sock.bind((f"127.0.0.{n // 3 + 1}", 0))
                    for turn in range(3):
                        for sock in peers:
                            sock.sendto(b"%d" % turn, address_of(server))
                        await server.received(9 * (turn + 1))
                    expected = [sock.getsockname() for sock in peers] * 3
                    assert [event[2] for event in server.events[1:]] == expected

        run(main())

    def test_addresses_of_version_six(self, run):
        async def main():
            async with endpoint(Echo, local_addr=("::1", 0)) as server:
                assert len(address_of(server)) == 4
                with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
                    sock.bind(("::1", 0))
                    sock.settimeout(5)
                    sock.sendto(b"six", address_of(server))
                    await server.received(1)
                    assert server.events[1] == ("data", b"six", sock.getsockname())
                    assert sock.recvfrom(9) == (b"six", address_of(server))

        run(main())

    def test_a_mapped_address_looks_as_the_socket_module_shows_it(self, run, peer):
        async def main():
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", 0))
            async with over(sock, Echo) as server:
                peer.sendto(b"four", (HOST, sock.getsockname()[1]))
                await server.received(1)
                assert server.events[1][2] == ("::ffff:127.0.0.1", peer.getsockname()[1], 0, 0)
                assert peer.recv(9) == b"four"

        run(main())

    def test_nothing_after_close(self, run, peer):
        class Closing(Datagrams):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                if data == b"close":
                    self.transport.close()

        async def main():
            for before in (0, 1, 5):
                async with endpoint(Closing) as server:
                    for _ in range(before):
                        peer.sendto(b"first", address_of(server))
                    for data in (b"close", b"never", b"never"):
                        peer.sendto(data, address_of(server))
                    await until(lambda server=server: "lost" in server.names)
                    await turns(3)
                    assert server.names == ["made", *["data"] * (before + 1), "lost"]

        run(main())

    def test_nothing_while_paused_and_nothing_is_lost_by_it(self, run, peer):
        class Pausing(Datagrams):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                if data.endswith(b"5"):
                    self.transport.pause_reading()

        async def main():
            async with endpoint(Pausing) as server:
                for n in range(40):
                    peer.sendto(b"%d" % n, address_of(server))
                for stop in (6, 16, 26, 36):
                    await server.received(stop)
                    assert not server.transport.is_reading()
                    await turns(5)
                    assert len(server.data) == stop
                    server.transport.resume_reading()
                assert await server.received(40) == [b"%d" % n for n in range(40)]

        run(main())

    def test_a_pause_ends_with_the_transport(self, run, peer):
        class Pausing(Datagrams):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                self.transport.pause_reading()

        async def main():
            async with endpoint(Pausing) as server:
                for _ in range(9):
                    peer.sendto(b"x", address_of(server))
                await server.received(1)
                server.transport.resume_reading()
                await server.received(2)
                server.transport.close()
                server.transport.resume_reading()
                await until(lambda: "lost" in server.names)
                assert len(server.data) == 2

        run(main())

    def test_what_the_protocol_raises_is_reported_and_ends_nothing(self, run, peer, errors):
        class Raising(Datagrams):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                if data == b"bad":
                    raise ZeroDivisionError

        async def main():
            async with endpoint(Raising) as server:
                for data in (b"bad", b"good", b"bad", b"bad", b"good"):
                    peer.sendto(data, address_of(server))
                await server.received(5)
                assert not server.transport.is_closing()

        run(main())
        contexts = errors.take()
        assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError] * 3
        assert all(context["message"].startswith("Exception in callback ") for context in contexts)

    def test_a_keyboard_interrupt_leaves_the_loop_and_nothing_is_lost(self, loop, peer):
        class Interrupting(Datagrams):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                if data.endswith(b"7"):
                    raise KeyboardInterrupt

        async def opened():
            return await loop.create_datagram_endpoint(Interrupting, (HOST, 0))

        transport, server = loop.run_until_complete(opened())
        for n in range(30):
            peer.sendto(b"%d" % n, address_of(server))
        for stop in (8, 18, 28):
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
            assert len(server.data) == stop
        loop.run_until_complete(server.received(30))
        assert server.data == [b"%d" % n for n in range(30)]
        transport.close()
        loop.run_until_complete(turns(2))

    def test_callbacks_have_the_context_of_the_making(self, run, peer):
        variable = contextvars.ContextVar("variable", default="outside")

        class Seeing(Datagrams):
            def connection_made(self, transport):
                super().connection_made(transport)
                self.seen = [variable.get()]

            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                self.seen.append(variable.get())
                variable.set("changed")

            def connection_lost(self, exc):
                super().connection_lost(exc)
                self.seen.append(variable.get())

        async def main():
            variable.set("making")
            async with endpoint(Seeing) as server:
                variable.set("later")
                for _ in range(2):
                    peer.sendto(b"x", address_of(server))
                await server.received(2)
            assert server.seen == ["making", "making", "changed", "later"]

        run(main())

    @pytest.mark.velodrome_only
    def test_several_are_received_by_one_visit_and_others_get_their_turn(self, run, peer, loop):
        """asyncio takes one in each turn."""
        at_turn = []

        class Noting(Datagrams):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                at_turn.append(turn)

        turn = 0

        async def main():
            nonlocal turn
            async with endpoint(Noting) as server:
                for _ in range(100):
                    peer.sendto(b"x", address_of(server))
                while len(server.data) < 100:
                    turn += 1
                    await asyncio.sleep(0)
                most = max(at_turn.count(n) for n in set(at_turn))
                assert 1 < most <= 16
                assert len(set(at_turn)) >= 7

        run(main())

    @pytest.mark.velodrome_only
    @pytest.mark.skipif(sys.platform != "linux", reason="others cut silently")
    def test_what_does_not_fit_is_an_error_and_not_a_half(self, run):
        """asyncio delivers the first 256 KiB of it."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUFFORCE, 4 << 20)
        except (PermissionError, AttributeError):
            left.setsockopt(socket.SOL_SOCKET, 32, 4 << 20)

        async def main():
            async with over(right) as server:
                try:
                    left.send(b"x" * 300_000)
                except OSError:
                    pytest.skip("this kernel has no such datagrams")
                left.send(b"small")
                await server.received(1)
                assert server.events[1] == ("error", OSError, errno.EMSGSIZE)
                assert server.data == [b"small"]

        with left:
            run(main())


class TestSending:
    """sendto in every way."""

    @pytest.mark.parametrize("kind_of_data", [bytes, bytearray, memoryview])
    def test_anything_that_is_bytes(self, run, peer, kind_of_data):
        async def main():
            async with endpoint() as client:
                client.transport.sendto(kind_of_data(b"data"), peer.getsockname())
                assert peer.recvfrom(9) == (b"data", address_of(client))
                client.transport.sendto(addr=peer.getsockname(), data=kind_of_data(b"named"))
                assert peer.recv(9) == b"named"

        run(main())

    @pytest.mark.parametrize("data", ["text", 1, None, [1]])
    def test_anything_else_is_a_type_error(self, run, peer, data):
        async def main():
            async with endpoint() as client:
                kind = type(data).__name__
                with pytest.raises(TypeError, match=f"bytes-like object, not '{kind}'"):
                    client.transport.sendto(data, peer.getsockname())

        run(main())

    def test_an_empty_datagram_is_sent_if_this_python_sends_it(self, run, peer):
        async def main():
            async with endpoint() as client:
                client.transport.sendto(b"", peer.getsockname())
                client.transport.sendto(bytearray(), peer.getsockname())
                client.transport.sendto(b"end", peer.getsockname())
                first = peer.recv(9)
                assert first == (b"" if sys.version_info >= (3, 13) else b"end")

        run(main())

    def test_to_one_remote_address(self, run, peer):
        async def main():
            async with endpoint(remote_addr=peer.getsockname()) as client:
                transport = client.transport
                assert transport.get_extra_info("peername") == peer.getsockname()
                transport.sendto(b"none")
                transport.sendto(b"named", peer.getsockname())
                transport.sendto(b"equal", (str(HOST), int(peer.getsockname()[1])))
                for expected in (b"none", b"named", b"equal"):
                    assert peer.recvfrom(9) == (expected, address_of(client))
                for wrong in ((HOST, 1), ("example", 2), 5):
                    with pytest.raises(ValueError, match="Invalid address: must be None or"):
                        transport.sendto(b"never", wrong)
                peer.sendto(b"back", address_of(client))
                await client.received(1)
                assert client.events == [("made",), ("data", b"back", peer.getsockname())]

        run(main())

    def test_a_remote_address_with_broadcast_is_not_connected(self, run, peer):
        async def main():
            async with endpoint(remote_addr=peer.getsockname(), allow_broadcast=True) as client:
                assert client.transport.get_extra_info("peername") is None
                client.transport.sendto(b"none")
                client.transport.sendto(b"named", peer.getsockname())
                assert [peer.recv(9), peer.recv(9)] == [b"none", b"named"]
                with pytest.raises(ValueError, match="must be None or"):
                    client.transport.sendto(b"never", (HOST, 1))

        run(main())

    def test_a_connected_socket_needs_no_address_and_looks_at_none(self, run, peer):
        async def main():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(peer.getsockname())
            async with over(sock) as client:
                client.transport.sendto(b"none")
                client.transport.sendto(b"other", (HOST, 1))
                assert [peer.recv(9), peer.recv(9)] == [b"none", b"other"]

        run(main())

    def test_names_are_looked_up(self, run, peer):
        async def main():
            async with endpoint() as client:
                client.transport.sendto(b"x", ("localhost", peer.getsockname()[1]))
                assert peer.recv(9) == b"x"

        run(main())

    def test_an_address_as_a_list_is_fatal_as_for_a_socket(self, run, errors, peer):
        async def main():
            for wrong in ([HOST, 5], (HOST,), (HOST, "x"), (HOST, 1 << 20), None):
                async with endpoint() as client:
                    client.transport.sendto(b"never", wrong)
                    assert client.transport.is_closing()
                    await until(lambda client=client: "lost" in client.names)
                    assert isinstance(client.events[-1][1], (TypeError, OverflowError))
                    context = errors.take_one()
                    assert context["message"] == "Fatal write error on datagram transport"
                    assert context["transport"] is client.transport
                    assert context["exception"] is client.events[-1][1]

        run(main())

    def test_errors_are_told_and_never_fatal(self, run, peer):
        async def main():
            async with endpoint() as client:
                transport = client.transport
                transport.sendto(b"x" * 70_000, peer.getsockname())
                assert client.events[1:] == [("error", OSError, errno.EMSGSIZE)]
                transport.sendto(b"x", ("255.255.255.255", 9))
                assert client.events[2:] == [("error", PermissionError, errno.EACCES)]
                assert transport.get_write_buffer_size() == 0
                transport.sendto(b"fine", peer.getsockname())
                assert peer.recv(9) == b"fine"

        run(main())

    def test_what_error_received_raises_is_the_senders(self, run, peer):
        class Raising(Datagrams):
            def error_received(self, exc):
                raise ZeroDivisionError

        async def main():
            async with endpoint(Raising) as client:
                with pytest.raises(ZeroDivisionError):
                    client.transport.sendto(b"x" * 70_000, peer.getsockname())
                assert not client.transport.is_closing()

        run(main())

    def test_a_refusal_is_told(self, run):
        async def main():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                gone.bind((HOST, 0))
                address = gone.getsockname()
            async with endpoint(remote_addr=address) as client:
                client.transport.sendto(b"anybody?")
                await until(lambda: "error" in client.names)
                assert client.events[1] == ("error", ConnectionRefusedError, errno.ECONNREFUSED)
                assert not client.transport.is_closing()

        run(main())

    def test_what_error_received_raises_about_receiving_is_reported(self, run, errors):
        class Raising(Datagrams):
            def error_received(self, exc):
                super().error_received(exc)
                raise ZeroDivisionError

        async def main():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                gone.bind((HOST, 0))
                address = gone.getsockname()
            async with endpoint(Raising, remote_addr=address) as client:
                client.transport.sendto(b"anybody?")
                await until(lambda: "error" in client.names)
                await turns()
                assert not client.transport.is_closing()

        run(main())
        assert isinstance(errors.take_one()["exception"], ZeroDivisionError)

    def test_answers_within_a_burst(self, run, peer):
        async def main():
            async with endpoint(Echo) as server:
                for n in range(50):
                    peer.sendto(b"%d" % n, address_of(server))
                await server.received(50)
                assert [peer.recv(9) for _ in range(50)] == [b"%d" % n for n in range(50)]

        run(main())

    def test_broadcast(self, run):
        async def main():
            async with (
                endpoint(local_addr=("0.0.0.0", 0), allow_broadcast=True) as server,
                endpoint(local_addr=("0.0.0.0", 0), allow_broadcast=True) as client,
            ):
                client.transport.sendto(b"all", ("127.255.255.255", address_of(server)[1]))
                assert await server.received(1) == [b"all"]

        run(main())

    def test_multicast(self, run):
        group = "239.255.77.77"

        async def main():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("", 0))
            member = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton(HOST))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            async with over(sock) as server, endpoint() as client:
                sender = client.transport.get_extra_info("socket")
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))
                client.transport.sendto(b"group", (group, sock.getsockname()[1]))
                assert await server.received(1) == [b"group"]

        run(main())

    def test_reuse_port(self, run):
        async def main():
            async with endpoint(reuse_port=True) as one:
                async with endpoint(local_addr=address_of(one), reuse_port=True) as two:
                    assert address_of(one) == address_of(two)

        run(main())


class TestFlowControl:
    """A Unix socket refuses when its peer's queue is full, as UDP on loopback never does."""

    @pytest.fixture
    def pair(self):
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        right.setblocking(False)
        with left, right:
            yield left, right

    def bound(self, tmp_path):
        """A bound Unix socket that does not block, its address and a client connected to it."""
        right = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        right.bind(str(tmp_path / "right"))
        right.setblocking(False)
        left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        left.connect(str(tmp_path / "right"))
        left.setblocking(False)
        return left, right

    def test_what_the_kernel_does_not_take_waits_and_leaves_in_order(self, run, tmp_path):
        async def main():
            left, right = self.bound(tmp_path)
            with right:
                async with over(left) as client:
                    count = fill(left, b"full")
                    sent = [b"%d" % n for n in range(100)]
                    for data in sent:
                        client.transport.sendto(data)
                    header = 8 if sys.version_info >= (3, 13) else 0
                    expected = sum(map(len, sent)) + header * len(sent)
                    assert client.transport.get_write_buffer_size() == expected
                    arrived = await arrivals(right, count + len(sent))
                    assert arrived[count:] == sent
                    assert client.names == ["made"]

        run(main())

    def test_pausing_and_resuming(self, run, tmp_path):
        async def main():
            left, right = self.bound(tmp_path)
            with right:
                async with over(left) as client:
                    client.transport.set_write_buffer_limits(high=1000, low=100)
                    assert client.transport.get_write_buffer_limits() == (100, 1000)
                    fill(left, b"full")
                    client.transport.sendto(b"x" * 900)
                    assert client.names == ["made"]
                    client.transport.sendto(b"x" * 900)
                    assert client.names == ["made", "pause"]
                    client.transport.sendto(b"x" * 900)
                    while "resume" not in client.names:
                        with contextlib.suppress(BlockingIOError):
                            right.recv(1000)
                        await turns()
                    assert client.names == ["made", "pause", "resume"]

        run(main())

    @pytest.mark.velodrome_only
    def test_an_empty_queue_has_no_size(self, run, tmp_path):
        """asyncio 3.13 forgets to take the headers off again, and pauses for ever in the end."""

        async def main():
            left, right = self.bound(tmp_path)
            with right:
                async with over(left) as client:
                    count = fill(left, b"full")
                    client.transport.sendto(b"queued")
                    assert client.transport.get_write_buffer_size() >= 6
                    arrived = 0
                    while arrived <= count:
                        with contextlib.suppress(BlockingIOError):
                            right.recv(100)
                            arrived += 1
                        await turns()
                    assert client.transport.get_write_buffer_size() == 0

        run(main())

    def test_close_sends_what_waits_and_abort_drops_it(self, run, tmp_path):
        async def main():
            for end in ("close", "abort"):
                left, right = self.bound(tmp_path)
                with right:
                    async with over(left) as client:
                        count = fill(left, b"full")
                        for n in range(20):
                            client.transport.sendto(b"%d" % n)
                        getattr(client.transport, end)()
                        assert client.transport.is_closing()
                        arrived = []
                        while "lost" not in client.names:
                            with contextlib.suppress(BlockingIOError):
                                arrived.append(right.recv(100))
                            await turns()
                        with contextlib.suppress(BlockingIOError):
                            while True:
                                arrived.append(right.recv(100))
                        assert len(arrived) == (count + 20 if end == "close" else count)
                        assert client.names == ["made", "lost"]
                os.remove(tmp_path / "right")

        run(main())

    def test_an_error_of_a_queued_datagram_is_told_and_the_rest_leaves(self, run, tmp_path):
        async def main():
            left, right = self.bound(tmp_path)
            async with over(left) as client:
                fill(left, b"full")
                client.transport.sendto(b"refused")
                right.close()
                await until(lambda: "error" in client.names)
                assert client.events[1][1] is ConnectionRefusedError
                await turns(3)
                assert not client.transport.is_closing()

        run(main())

    def test_what_pause_writing_raises_is_reported(self, run, tmp_path, errors):
        class Raising(Datagrams):
            def pause_writing(self):
                raise ZeroDivisionError

        async def main():
            left, right = self.bound(tmp_path)
            with right:
                async with over(left, Raising) as client:
                    fill(left, b"full")
                    client.transport.set_write_buffer_limits(high=0)
                    client.transport.sendto(b"x")
                    assert not client.transport.is_closing()

        run(main())
        context = errors.take_one()
        assert context["message"] == "protocol.pause_writing() failed"
        assert isinstance(context["exception"], ZeroDivisionError)

    def test_limits_out_of_order_are_refused(self, run):
        async def main():
            async with endpoint() as client:
                assert client.transport.get_write_buffer_limits() == (16384, 65536)
                with pytest.raises(ValueError, match="must be >= low"):
                    client.transport.set_write_buffer_limits(high=1, low=2)

        run(main())

    def test_a_buffer_changed_after_sending_does_not_change_what_is_sent(self, run, tmp_path):
        async def main():
            left, right = self.bound(tmp_path)
            with right:
                async with over(left) as client:
                    count = fill(left, b"full")
                    data = bytearray(b"before")
                    client.transport.sendto(data)
                    data[:] = b"after"
                    arrived = await arrivals(right, count + 1)
                    assert arrived[-1] == b"before"

        run(main())

    def test_a_name_waits_as_its_address(self, run, tmp_path):
        async def main():
            left, right = self.bound(tmp_path)
            with right:
                sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                async with over(sender) as client:
                    count = fill(left, b"full")
                    name = os.fsencode(tmp_path / "right")
                    for data, to in ((b"one", name), (b"two", name.decode()), (b"three", bytearray(name))):
                        client.transport.sendto(data, to)
                    arrived = await arrivals(right, count + 3)
                    assert arrived[-3:] == [b"one", b"two", b"three"]
            left.close()

        run(main())

    @pytest.mark.parametrize(
        ("odd", "error"),
        [
            (200 * "x", OSError),
            ("", OSError),
            ("missing/\0", FileNotFoundError),
            ("\ud800", UnicodeEncodeError),
            (5, TypeError),
            (("127.0.0.1", 5), TypeError),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_an_odd_address_is_looked_at_when_its_turn_comes(self, run, tmp_path, errors, odd, error):
        """What was sent before leaves; an error of the system is told, any other ends the transport."""
        is_systems = issubclass(error, OSError)

        async def main():
            left, right = self.bound(tmp_path)
            with left, right:
                async with over(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as client:
                    count = fill(left, b"full")
                    client.transport.sendto(b"before", str(tmp_path / "right"))
                    size = client.transport.get_write_buffer_size()
                    client.transport.sendto(b"odd", odd)
                    assert client.transport.get_write_buffer_size() > size
                    arrived = []
                    while len(client.events) < 2 or len(arrived) <= count:
                        with contextlib.suppress(BlockingIOError):
                            arrived.append(right.recv(100))
                        await turns()
                    assert arrived[count:] == [b"before"]
                    name, what = client.events[1][:2]
                    if is_systems:
                        assert (name, what) == ("error", error)
                    else:
                        assert (name, type(what)) == ("lost", error)

        run(main())
        if not is_systems:
            # asyncio goes on to stumble over the loop that it has let go of.
            assert errors.take()[0]["message"] == "Fatal write error on datagram transport"

    def test_after_an_odd_address_the_rest_leaves(self, run, tmp_path):
        async def main():
            left, right = self.bound(tmp_path)
            with left, right:
                sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                async with over(sender) as client:
                    count = fill(left, b"full")
                    right_one = str(tmp_path / "right")
                    for data, to in ((b"before", right_one), (b"odd", "x" * 200), (b"after", right_one)):
                        client.transport.sendto(data, to)
                    arrived = await arrivals(right, count + 2)
                    assert arrived[count:] == [b"before", b"after"]
                    assert client.events[1][1] is OSError

        run(main())

    def test_odd_addresses_go_with_the_transport(self, run, tmp_path):
        class Odd(list):
            pass

        async def main():
            left, right = self.bound(tmp_path)
            with left, right:
                sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                async with over(sender) as client:
                    fill(left, b"full")
                    client.transport.sendto(b"first", str(tmp_path / "right"))
                    odd = Odd()
                    client.transport.sendto(b"odd", odd)
                    seen = weakref.ref(odd)
                    odd.append(client.transport)
                    del odd
                    client.transport.abort()
                    await until(lambda: "lost" in client.names)
                    gc.collect()
                    assert seen() is None

        run(main())


class TestUnix:
    """Datagrams without a network."""

    def test_paths(self, run, tmp_path):
        async def main():
            path = str(tmp_path / "server")
            async with endpoint(Echo, local_addr=path, family=socket.AF_UNIX) as server:
                assert address_of(server) == path
                own = str(tmp_path / "client")
                async with endpoint(local_addr=own, remote_addr=path, family=socket.AF_UNIX) as client:
                    client.transport.sendto(b"path")
                    await client.received(1)
                    assert server.events[1] == ("data", b"path", own)
                    assert client.events[1] == ("data", b"path", path)

        run(main())

    def test_a_sender_without_a_name(self, run, tmp_path):
        async def main():
            path = str(tmp_path / "server")
            async with endpoint(local_addr=path, family=socket.AF_UNIX) as server:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                    for _ in range(5):
                        sock.sendto(b"x", path)
                    await server.received(5)
                    assert server.events[1:] == [("data", b"x", None)] * 5

        run(main())

    @pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
    def test_abstract_names(self, run):
        async def main():
            one, two = (f"\0velodrome-{os.getpid()}-{n}" for n in range(2))
            async with (
                endpoint(Echo, local_addr=one, family=socket.AF_UNIX) as server,
                endpoint(local_addr=two, family=socket.AF_UNIX) as client,
            ):
                client.transport.sendto(b"hidden", one)
                await client.received(1)
                assert server.events[1] == ("data", b"hidden", two.encode())
                assert client.events[1] == ("data", b"hidden", one.encode())

        run(main())

    @pytest.mark.velodrome_only
    def test_a_pair_needs_no_address(self, run):
        """asyncio takes a peer without a name for none, and fails; uvloop sends."""

        async def main():
            left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            async with over(left) as one, over(right, Datagrams) as two:
                one.transport.sendto(b"one")
                two.transport.sendto(b"two", None)
                assert (await two.received(1), await one.received(1)) == ([b"one"], [b"two"])

        run(main())


class TestEndpoint:
    """Making one, looking at it, and its end."""

    def test_the_order_of_events(self, run, loop):
        async def main():
            order = []

            class Noting(Datagrams):
                def connection_made(self, transport):
                    order.append("made")
                    super().connection_made(transport)
                    loop.call_soon(order.append, "soon")

            async with endpoint(Noting):
                order.append("returned")
                await turns(2)
            assert order == ["made", "soon", "returned"]

        run(main())

    def test_what_it_is(self, run):
        async def main():
            async with endpoint() as protocol:
                transport = protocol.transport
                assert isinstance(transport, asyncio.BaseTransport)
                assert isinstance(transport, asyncio.Transport)
                if sys.version_info >= (3, 12):
                    assert isinstance(transport, asyncio.DatagramTransport)
                sock = transport.get_extra_info("socket")
                assert sock.type == socket.SOCK_DGRAM
                assert transport.get_extra_info("sockname") == sock.getsockname()
                assert transport.get_extra_info("peername") is None
                assert transport.get_extra_info("peername", 5) is None
                assert transport.get_extra_info("nothing", 5) == 5
                assert transport._sock.fileno() == transport._sock_fd == sock.fileno()
                assert transport.get_protocol() is protocol
                assert transport.is_reading()
                assert not transport.is_closing()
                assert repr(transport).endswith(f"fd={sock.fileno()} read=polling write=<idle, bufsize=0>>")
                with pytest.raises(NotImplementedError):
                    transport.write(b"x")
                transport.anything = weakref.ref(transport)
                assert transport._sock is not None
            assert transport._sock is None
            assert transport._loop is None
            assert transport.get_protocol() is None
            assert "closed" in repr(transport)

        run(main())

    def test_a_new_protocol(self, run, peer):
        async def main():
            async with endpoint() as old:
                new = Datagrams()
                old.transport.set_protocol(new)
                peer.sendto(b"x", address_of(old))
                assert await new.received(1) == [b"x"]
                old.transport.set_protocol(old)

        run(main())

    def test_connection_lost_comes_once_and_later(self, run):
        async def main():
            async with endpoint() as protocol:
                protocol.transport.close()
                protocol.transport.close()
                protocol.transport.abort()
                assert protocol.names == ["made"]
                assert protocol.transport.is_closing()
                await turns(3)
                assert protocol.events == [("made",), ("lost", None)]
                protocol.transport.close()
                protocol.transport.abort()

        run(main())

    def test_a_descriptor_in_use_is_refused(self, run, loop, kind):
        async def main():
            async with endpoint() as protocol:
                fd = protocol.transport.get_extra_info("socket").fileno()
                with pytest.raises(RuntimeError, match="is used by transport"):
                    loop.add_reader(fd, print)
                if kind == "velodrome" or sys.version_info >= (3, 12):  # asyncio takes it before
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        await loop.create_datagram_endpoint(Datagrams, sock=protocol.transport._sock)

        run(main())

    def test_sending_after_the_end_to_a_remote_address_warns(self, run, peer, caplog):
        async def main():
            async with endpoint(remote_addr=peer.getsockname()) as client:
                transport = client.transport
                transport.close()
                await turns(2)
                for _ in range(4):
                    transport.sendto(b"never")
                assert not caplog.records
                for _ in range(2):
                    transport.sendto(b"never")
                assert [record.getMessage() for record in caplog.records] == [
                    "socket.send() raised exception."
                ] * 2

        run(main())

    @pytest.mark.velodrome_only
    def test_sending_after_the_end_is_forgotten(self, run, peer):
        """asyncio fails with AttributeError: 'NoneType' object has no attribute 'call_exception_handler'."""

        async def main():
            async with endpoint() as client:
                client.transport.close()
                client.transport.sendto(b"still open", peer.getsockname())
                await turns(2)
                client.transport.sendto(b"never", peer.getsockname())
            assert peer.recv(99) == b"still open"

        run(main())

    def test_closing_on_a_closed_loop(self, new_loop):
        loop = new_loop()
        transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Datagrams, (HOST, 0)))
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            transport.close()
        assert transport.is_closing()
        transport.close()
        transport.abort()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del transport, _
            gc.collect()

    def test_an_endpoint_that_nobody_closed_says_so_when_its_loop_is_gone(self, new_loop):
        loop = new_loop()
        transport, protocol = loop.run_until_complete(loop.create_datagram_endpoint(Datagrams, (HOST, 0)))
        alive = weakref.ref(transport)
        protocol.transport = None
        del transport, protocol
        gc.collect()
        while_open = alive() is not None

        def close_and_collect():
            loop.close()
            gc.collect()

        with pytest.warns(ResourceWarning, match="unclosed transport"):
            close_and_collect()
        assert (while_open, alive()) == (True, None)

    def test_a_protocol_and_its_transport_are_collected_after_the_end(self, run):
        async def main():
            async with endpoint() as protocol:
                return weakref.ref(protocol), weakref.ref(protocol.transport)

        alive = run(main())
        gc.collect()
        assert [reference() for reference in alive] == [None, None]

    def test_a_socket_class_of_ones_own_keeps_its_methods(self, run, peer):
        class Shouting(socket.socket):
            def sendto(self, data, *args):
                return super().sendto(bytes(data).upper(), *args)

        async def main():
            sock = Shouting(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((HOST, 0))
            async with over(sock) as client:
                client.transport.sendto(b"loud", peer.getsockname())
                assert peer.recv(9) == b"LOUD"

        run(main())

    def test_connection_made_that_raises_is_reported(self, run, errors, peer):
        class Raising(Datagrams):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

        async def main():
            async with endpoint(Raising) as server:
                peer.sendto(b"x", address_of(server))
                await server.received(1)

        run(main())
        assert isinstance(errors.take_one()["exception"], ZeroDivisionError)

    def test_debug_mode_says_the_same(self, run, loop, peer):
        loop.set_debug(True)

        async def main():
            async with endpoint(Echo) as server:
                peer.sendto(b"x", address_of(server))
                await server.received(1)
                server.transport.pause_reading()
                server.transport.resume_reading()
                assert peer.recv(9) == b"x"

        run(main())
