"""create_server and the Server it gives."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import socket
import sys

import pytest
from conftest import turns, until
from recorder import Echo, Recorder


@pytest.fixture
def client(loop):
    """Connect a protocol to a server."""

    async def client(server):
        return (await loop.create_connection(Recorder, *server.sockets[0].getsockname()))[1]

    return client


class Keeping:
    """A factory that keeps the protocols it makes."""

    def __init__(self, kind=Echo):
        self.kind = kind
        self.made = []

    def __call__(self):
        self.made.append(self.kind())
        return self.made[-1]

    async def accepted(self):
        """Wait for the first connection."""
        await until(lambda: self.made)
        await self.made[0].until("made")
        return self.made[0]


class TestCreating:
    """Keywords and errors of create_server."""

    def create(self, run, loop, *arguments, **options):
        async def main():
            server = await loop.create_server(Recorder, *arguments, **options)
            async with server:
                return [(sock.family, sock.getsockname()) for sock in server.sockets]

        return run(main())

    def test_host_and_port(self, run, loop):
        ((family, (host, port)),) = self.create(run, loop, "127.0.0.1", 0)
        assert (family, host) == (socket.AF_INET, "127.0.0.1")
        assert self.create(run, loop, "127.0.0.1", port)[0][1] == ("127.0.0.1", port)

    @pytest.mark.parametrize("host", [None, ""])
    def test_all_interfaces(self, run, loop, host):
        assert ("0.0.0.0" in {name[0] for _, name in self.create(run, loop, host, 0)}) is True

    def test_several_hosts(self, run, loop):
        names = self.create(run, loop, ["127.0.0.1", "127.0.0.2"], 0)
        assert sorted(name[0] for _, name in names) == ["127.0.0.1", "127.0.0.2"]

    def test_a_name(self, run, loop):
        assert "127.0.0.1" in {name[0] for _, name in self.create(run, loop, "localhost", 0)}

    def test_family(self, run, loop):
        assert {family for family, _ in self.create(run, loop, None, 0, family=socket.AF_INET)} == {
            socket.AF_INET
        }

    def test_sock(self, run, loop):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        own = sock.getsockname()
        assert self.create(run, loop, sock=sock) == [(socket.AF_INET, own)]
        assert sock.fileno() == -1

    def test_a_socket_class_of_ones_own_keeps_its_accept(self, run, loop):
        class Renaming(socket.socket):
            def accept(self):
                return super().accept()[0], ("somebody", 1)

        async def main():
            listener = Renaming()
            listener.bind(("127.0.0.1", 0))
            factory = Keeping()
            server = await loop.create_server(factory, sock=listener)
            with socket.create_connection(listener.getsockname()) as client:
                accepted = await factory.accepted()
                assert accepted.transport.get_extra_info("peername") == ("somebody", 1)
                client.send(b"x")
                await accepted.until_received(1)
            await accepted.until("lost")
            server.close()

        run(main())

    @pytest.mark.parametrize("backlog", [1, 100, 5000])
    def test_backlog(self, run, loop, backlog):
        self.create(run, loop, "127.0.0.1", 0, backlog=backlog)

    def test_reuse_port(self, run, loop):
        async def main():
            first = await loop.create_server(Recorder, "127.0.0.1", 0, reuse_port=True)
            port = first.sockets[0].getsockname()[1]
            second = await loop.create_server(Recorder, "127.0.0.1", port, reuse_port=True)
            first.close()
            second.close()

        run(main())

    @pytest.mark.parametrize("value", [True, False, None])
    def test_reuse_address(self, run, loop, value):
        async def main():
            async with await loop.create_server(Recorder, "127.0.0.1", 0, reuse_address=value) as server:
                option = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
                assert bool(option) is (value is not False)

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="keep_alive is new in 3.13")
    def test_keep_alive(self, run, loop):
        async def main():
            async with await loop.create_server(Recorder, "127.0.0.1", 0, keep_alive=True) as server:
                assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

        run(main())

    def test_an_address_in_use(self, run, loop):
        with socket.create_server(("127.0.0.1", 0)) as other:
            with pytest.raises(OSError, match="error while attempting to bind on address") as info:
                self.create(run, loop, *other.getsockname())
        assert info.value.errno == errno.EADDRINUSE

    @pytest.mark.parametrize(
        ("arguments", "options", "error"),
        [
            ((), {}, ValueError),
            (("127.0.0.1", 0), {"sock": 1}, ValueError),
            (("127.0.0.1", 0), {"ssl": True}, TypeError),
            (("127.0.0.1", 0), {"ssl_handshake_timeout": 1}, ValueError),
            (("127.0.0.1", 0), {"ssl_shutdown_timeout": 1}, ValueError),
            (("127.0.0.1", 65536), {}, OverflowError),
            (("127.0.0.1", 0), {"nonsense": 1}, TypeError),
            (("no.such.name.invalid", 0), {}, socket.gaierror),
            ((1, 0), {}, TypeError),
        ],
    )
    def test_bad_arguments(self, run, loop, arguments, options, error):
        with pytest.raises(error):
            self.create(run, loop, *arguments, **options)

    def test_a_socket_that_is_no_stream(self, run, loop):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                self.create(run, loop, sock=sock)


class TestLife:
    """Starting, serving, closing."""

    def test_start_serving(self, run, loop, client):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
            assert not server.is_serving()
            sock = server.sockets[0]
            with pytest.raises(ConnectionRefusedError):
                await client(server)
            await server.start_serving()
            await server.start_serving()
            assert server.is_serving()
            assert server.sockets[0].fileno() == sock.fileno()
            protocol = await client(server)
            protocol.transport.close()
            await protocol.until("lost")
            server.close()
            assert not server.is_serving()
            assert tuple(server.sockets) == ()
            server.close()
            await server.wait_closed()

        run(main())

    def test_a_closed_one_accepts_nobody(self, run, loop):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            server.close()
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(Recorder, *address)

        run(main())

    def test_its_loop_and_sockets(self, run, loop):
        async def main():
            async with await loop.create_server(Echo, "127.0.0.1", 0) as server:
                assert server.get_loop() is loop
                assert isinstance(server, asyncio.AbstractServer)
                assert isinstance(server.sockets, tuple)
                (sock,) = server.sockets
                assert isinstance(sock, asyncio.trsock.TransportSocket)
                assert sock.getsockname()[0] == "127.0.0.1"
                assert "Server" in repr(server) and "sockets=" in repr(server)
            assert not server.is_serving()

        run(main())

    def test_serve_forever(self, run, loop, client):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
            serving = asyncio.ensure_future(server.serve_forever())
            await turns(3)
            assert server.is_serving()
            with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
                await server.serve_forever()
            protocol = await client(server)
            protocol.transport.write(b"hello")
            await protocol.until_received(5)
            protocol.transport.close()
            await protocol.until("lost")
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert not server.is_serving()
            with pytest.raises(RuntimeError, match="is closed"):
                await server.serve_forever()

        run(main())

    def test_close_ends_serve_forever(self, run, loop):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            serving = asyncio.ensure_future(server.serve_forever())
            await turns(3)
            server.close()
            with pytest.raises(asyncio.CancelledError):
                await serving

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="it waits for the connections from 3.12 on")
    def test_wait_closed_waits_for_the_connections(self, run, loop, client):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            protocol = await client(server)
            protocol.transport.write(b"hello")
            await protocol.until_received(5)
            server.close()
            waiting = asyncio.ensure_future(server.wait_closed())
            await turns(5)
            assert not waiting.done()
            protocol.transport.write(b" still served")
            await protocol.until_received(18)
            protocol.transport.close()
            await waiting
            await protocol.until("lost")

        run(main())

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.velodrome_only(when=sys.version_info < (3, 13))  # before, asyncio's waited for ever
    def test_wait_closed_does_not_wait_for_what_was_collected(self, run, loop):
        class Paused(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        async def main():
            factory = Keeping(Paused)
            server = await loop.create_server(factory, "127.0.0.1", 0)
            with socket.create_connection(server.sockets[0].getsockname()):
                await factory.accepted()
                server.close()
                waiting = asyncio.ensure_future(server.wait_closed())
                await turns(5)
                factory.made.clear()
                gc.collect()
                await waiting

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 it did not wait")
    def test_wait_closed_of_an_open_server(self, run, loop):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            waiting = asyncio.ensure_future(server.wait_closed())
            await turns(5)
            assert not waiting.done()
            server.close()
            await waiting

        run(main())

    def test_the_connections_outlive_it(self, run, loop, client):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            protocol = await client(server)
            protocol.transport.write(b"hello")
            await protocol.until_received(5)
            server.close()
            protocol.transport.write(b" again")
            assert await protocol.until_received(11) == b"hello again"
            protocol.transport.close()
            await protocol.until("lost")
            await turns(5)

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="close_clients is new in 3.13")
    def test_close_clients(self, run, loop, client):
        async def main():
            keeping = Keeping()
            server = await loop.create_server(keeping, "127.0.0.1", 0)
            protocol = await client(server)
            accepted = await keeping.accepted()
            accepted.transport.write(b"x" * 1_000_000)
            server.close()
            server.close_clients()
            await server.wait_closed()
            await protocol.until("lost")
            assert len(protocol.data) == 1_000_000
            assert accepted.events[-1] == ("lost", None)

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="abort_clients is new in 3.13")
    def test_abort_clients(self, run, loop, client):
        async def main():
            keeping = Keeping()
            server = await loop.create_server(keeping, "127.0.0.1", 0)
            protocol = await client(server)
            protocol.transport.pause_reading()
            accepted = await keeping.accepted()
            accepted.transport.write(bytes(5_000_000))
            server.close()
            server.abort_clients()
            await server.wait_closed()
            assert accepted.events[-1] == ("lost", None)
            protocol.transport.resume_reading()
            await protocol.until("lost")
            assert len(protocol.data) < 5_000_000

        run(main())

    def test_a_pending_connection_when_it_closes(self, run, loop):
        """Connected for the kernel, not yet accepted: cut off or served, but not kept waiting."""

        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            peers = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(5)]
            server.close()
            await turns(3)
            for peer in peers:
                with peer:
                    peer.setblocking(False)
                    try:
                        assert await loop.sock_recv(peer, 1) == b""
                    except ConnectionError:
                        pass

        run(main())

    @pytest.mark.parametrize("early", [0, 2], ids=["", "some of before it served"])
    def test_small_writes_leave_at_once(self, run, loop, early):
        async def main():
            # asyncio looks for the protocol's number, which socket.create_server leaves out.
            sock = socket.socket(proto=socket.IPPROTO_TCP)
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            clients = [socket.create_connection(sock.getsockname()) for _ in range(early)]
            accepted = [sock.accept()[0] for _ in range(early // 2)]
            factory = Keeping()
            server = await loop.create_server(factory, sock=sock)
            clients += [socket.create_connection(sock.getsockname()) for _ in range(3)]
            await until(lambda: len(factory.made) == len(clients) - len(accepted))
            for protocol in factory.made:
                await protocol.until("made")
                ours = protocol.transport.get_extra_info("socket")
                assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                protocol.transport.abort()
                await protocol.until("lost")
            server.close()
            for each in clients + accepted:
                each.close()

        run(main())

    def test_many_connections_at_once(self, run, loop):
        async def main():
            async with await loop.create_server(Echo, "127.0.0.1", 0, backlog=500) as server:
                address = server.sockets[0].getsockname()

                async def one(number):
                    _, protocol = await loop.create_connection(Recorder, *address)
                    protocol.transport.write(b"%d" % number)
                    assert await protocol.until_received(len(str(number))) == b"%d" % number
                    protocol.transport.close()
                    await protocol.until("lost")

                await asyncio.gather(*(one(number) for number in range(300)))

        run(main())


EMFILE = """
    import asyncio, logging, os, resource, socket, sys, time
    from kinds import KINDS
    from recorder import Echo

    logging.basicConfig(level=logging.CRITICAL)

    async def main():
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda loop, context: told.append(context))
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        old = socket.create_connection(address)
        old.setblocking(False)
        await loop.sock_sendall(old, b"x")
        assert await loop.sock_recv(old, 1) == b"x"

        # Clients connect, and not one descriptor is left to accept them with.
        used = max(map(int, os.listdir("/proc/self/fd")))
        waiting = [socket.socket() for _ in range(20)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(address)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (waiting[-1].fileno() + 1, limit[1]))
        spent = time.process_time()
        begun = time.monotonic()
        while time.monotonic() - begun < 0.5:
            await loop.sock_sendall(old, b"y")
            assert await loop.sock_recv(old, 1) == b"y"
            await asyncio.sleep(0.05)
        assert time.process_time() - spent < 0.25, "spins"
        assert told and told[0]["exception"].errno == 24, told
        assert len(told) <= int(sys.argv[2]), len(told)

        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        async def served(client):
            await loop.sock_sendall(client, b"z")
            assert await loop.sock_recv(client, 1) == b"z"
        await asyncio.wait_for(asyncio.gather(*map(served, waiting)), 5)
        for client in [old, *waiting]:
            client.close()
        server.close()

    with asyncio.Runner(loop_factory=KINDS[sys.argv[1]]) as runner:
        runner.run(main())
    print("done")
"""


def test_no_descriptor_left_to_accept_with(script, kind):
    """The listener rests a while, others are served meanwhile, and the clients when there is room again."""
    # asyncio tries again once for each place in the backlog before it rests; we complain once.
    complaints = {"asyncio": 200, "velodrome": 5}[kind]
    assert script(EMFILE, kind, str(complaints)).stdout == "done\n"


VAR = contextvars.ContextVar("VAR", default="unset")


class Noting(asyncio.Protocol):
    """Writes down what it finds in VAR, and puts itself there."""

    def __init__(self):
        self.found = [VAR.get()]
        self.lost = asyncio.get_running_loop().create_future()

    def note(self, what):
        self.found.append(VAR.get())
        VAR.set(what)

    def connection_made(self, transport):
        self.note("made")
        self.transport = transport
        transport.write(b"hello")

    def data_received(self, data):
        self.note("data")
        # From another context, which is not to be the one of what follows.
        contextvars.copy_context().run(self.hurry)

    def hurry(self):
        VAR.set("hurried")
        self.transport.pause_reading()
        self.transport.resume_reading()

    def eof_received(self):
        self.note("eof")

    def connection_lost(self, exc):
        self.note("lost")
        self.lost.set_result(None)


@pytest.mark.skipif(sys.version_info < (3, 15), reason="contexts of connections are new in 3.15")
class TestContexts:
    """Each connection has one context for all its callbacks: a copy of the one its server was made in."""

    EVERY_CALLBACK = ["before", "made", "data", "eof"]

    def test_accepted_connections(self, run, loop):
        async def main():
            VAR.set("before")
            factory = Keeping(Noting)
            server = await loop.create_server(factory, "127.0.0.1", 0)
            VAR.set("after")
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                assert await reader.readexactly(5) == b"hello"
                writer.write(b"answer")
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
            server.close()
            for protocol in factory.made:
                await protocol.lost
                # The factory, and then one callback after the other.
                assert protocol.found == ["before", *self.EVERY_CALLBACK]
            assert VAR.get() == "after"

        run(main())

    def test_a_connection_of_ones_own(self, run, loop):
        async def main():
            async def answer(reader, writer):
                writer.write(await reader.readexactly(5))
                writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            VAR.set("before")
            address = server.sockets[0].getsockname()
            _, protocol = await loop.create_connection(Noting, *address)
            VAR.set("after")
            await protocol.lost
            assert protocol.found == ["before", *self.EVERY_CALLBACK]
            assert VAR.get() == "after"
            server.close()

        run(main())

    def test_a_close_from_elsewhere(self, run, loop):
        async def main():
            async def wait_for_end(reader, writer):
                await reader.read()
                writer.close()

            server = await asyncio.start_server(wait_for_end, "127.0.0.1", 0)
            VAR.set("before")
            transport, protocol = await loop.create_connection(Noting, *server.sockets[0].getsockname())
            VAR.set("after")
            transport.close()
            await protocol.lost
            assert protocol.found == ["before", "before", "made"]
            server.close()

        run(main())
