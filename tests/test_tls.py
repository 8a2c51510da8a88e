"""TLS over the caller's context: what asyncio does, and what it gets wrong.

Classes that end in ThroughPython run once more without OpenSSL being driven directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import os
import socket
import ssl
import time
import tracemalloc
import warnings
import weakref
from asyncio import sslproto
from typing import Any

import pytest
from conftest import turns, until
from recorder import Buffered, Echo, Recorder, override_methods, serving
from secured import (
    CERTIFICATES,
    client_context,
    connected,
    listening,
    secured,
    secured_peer,
    server_context,
)

DATA = os.urandom(1 << 20)


def is_ours(transport: Any) -> bool:
    return type(transport).__module__ == "velodrome._core"


@contextlib.asynccontextmanager
async def held_back(data: bytes, server: Any = None) -> Any:
    """A peer and a protocol that has paused, with data decrypted for it by nobody yet."""
    async with secured_peer(server) as (peer, server):
        ssl_protocol = server.transport._ssl_protocol
        server.transport.pause_reading()
        await peer.send(data)
        await until(lambda: ssl_protocol._incoming.pending >= len(data))
        yield peer, server


class ThroughPython:
    """Without the shortcut: everything by the methods of ``_ssl``'s objects."""

    @pytest.fixture(autouse=True)
    def not_directly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("velodrome._tls._learnt", False)


class TestTalking:
    def test_a_socket_class_of_ones_own_keeps_its_methods(self, run, loop):
        class Counting(socket.socket):
            received = 0

            def recv_into(self, *args):
                count = super().recv_into(*args)
                self.received += count
                return count

        async def main():
            async with serving(Echo, ssl=server_context()) as address:
                sock = Counting()
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                transport, protocol = await loop.create_connection(
                    Recorder, sock=sock, ssl=client_context(), server_hostname="localhost"
                )
                transport.write(b"echo")
                assert await protocol.until_received(4) == b"echo"
                assert sock.received > 4
                transport.close()
                await protocol.until("lost")

        run(main())

    def test_events_in_their_order(self, run):
        async def main():
            async with secured() as (client, server):
                client.transport.write(b"ping")
                await server.until("data")
                server.transport.write(b"pong")
                await client.until("data")
                client.transport.close()
                await client.until("lost")
                await server.until("lost")
                return client.events, server.events

        client, server = run(main())
        assert client == [("made",), ("data", b"pong"), ("eof",), ("lost", None)]
        assert server == [("made",), ("data", b"ping"), ("eof",), ("lost", None)]

    def test_much_data_both_ways(self, run):
        async def main():
            async with secured(server=Echo()) as (client, _):
                client.transport.write(DATA)
                client.transport.writelines(
                    [DATA[:100], bytearray(DATA[100:50000]), memoryview(DATA)[50000:]]
                )
                return await client.until_received(2 * len(DATA))

        assert hashlib.sha256(run(main())).digest() == hashlib.sha256(DATA + DATA).digest()

    def test_streams(self, run):
        async def main():
            async def echo(reader, writer):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
                served.set()

            served = asyncio.Event()
            server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context())
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(
                *address, ssl=client_context(), server_hostname="localhost"
            )
            writer.write(b"a line\n")
            assert await reader.readline() == b"a line\n"
            sending = asyncio.ensure_future(send(writer))
            assert await reader.readexactly(len(DATA)) == DATA
            await sending
            writer.close()
            await writer.wait_closed()
            await served.wait()
            server.close()

        async def send(writer):
            writer.write(DATA)
            await writer.drain()

        run(main())

    @pytest.mark.parametrize("size", [1, 7, 1000, 16384, 100000])
    def test_a_buffered_protocol(self, run, size):
        class Lending(Buffered):
            def get_buffer(self, sizehint):
                return memoryview(self.buffer)

        async def main():
            async with secured(client=Lending(size), server=Echo()) as (client, _):
                data = DATA[:50000]
                client.transport.write(data)
                assert await client.until_received(len(data)) == data
                client.transport.close()
                await client.until("lost")
                assert client.names == ["made", "data", "eof", "lost"]

        run(main())

    def test_records_byte_by_byte(self, run):
        async def main():
            async with secured_peer() as (peer, server):
                peer.tls.write(b"slowly")
                for byte in peer.outgoing.read():
                    await peer.send_raw(bytes([byte]))
                    await turns(2)
                assert await server.until_received(6) == b"slowly"

        run(main())

    def test_many_small_records_in_one_piece(self, run):
        async def main():
            async with secured_peer() as (peer, server):
                for byte in DATA[:3000]:
                    peer.tls.write(bytes([byte]))
                await peer.flush()
                assert await server.until_received(3000) == DATA[:3000]

        run(main())

    def test_reading_is_paused_and_nothing_is_lost(self, run):
        async def main():
            async with secured() as (client, server):
                server.transport.pause_reading()
                assert not server.transport.is_reading()
                client.transport.write(DATA)
                await turns(50)
                assert server.data == b""
                while len(server.data) < len(DATA):
                    seen = len(server.data)
                    server.transport.resume_reading()
                    await server.until_received(seen + 1)
                    server.transport.pause_reading()
                assert server.data == DATA

        run(main())

    def test_a_protocol_that_pauses_in_data_received(self, run):
        class Pausing(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.transport.resume_reading)

        async def main():
            async with secured(server=Pausing()) as (client, server):
                client.transport.write(DATA)
                assert await server.until_received(len(DATA)) == DATA

        run(main())

    def test_the_protocol_may_be_changed(self, run):
        async def main():
            async with secured() as (client, server):
                other = Buffered()
                server.transport.set_protocol(other)
                assert server.transport.get_protocol() is other
                client.transport.write(b"to the other")
                assert await other.until_received(12) == b"to the other"
                server.transport.set_protocol(server)
                client.transport.write(b"and back")
                assert await server.until_received(8) == b"and back"

        run(main())

    def test_writing_before_the_handshake_is_done(self, run):
        class Eager(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"first")

        async def main():
            async with secured(client=Eager(), server=Eager()) as (client, server):
                assert await client.until_received(5) == await server.until_received(5) == b"first"

        run(main())

    def test_what_an_error_in_data_received_does(self, run, errors):
        class Failing(Recorder):
            def data_received(self, data):
                raise ZeroDivisionError

        async def main():
            async with secured(server=Failing()) as (client, server):
                client.transport.write(b"x")
                await server.until("lost")
                assert isinstance(server.events[-1][1], ZeroDivisionError)

        run(main())
        context = errors.take_one()
        assert context["message"] == "Fatal error on SSL protocol"
        assert isinstance(context["exception"], ZeroDivisionError)
        assert isinstance(context["protocol"], sslproto.SSLProtocol)

    @pytest.mark.parametrize("data", ["text", 1, None])
    def test_data_that_is_none(self, run, data):
        async def main():
            async with secured() as (client, _):
                with pytest.raises(TypeError, match=f"expecting a bytes-like .*{type(data).__name__}"):
                    client.transport.write(data)

        run(main())

    def test_an_ssl_object_that_gives_more_than_it_is_asked_for(self, run):
        class Generous(ssl.SSLObject):
            def read(self, *args):
                data = super().read(*args)
                return data + b"." * 300_000 if data else data

        async def main():
            theirs, ours = server_context(), client_context()
            ours.sslobject_class = Generous
            async with secured(contexts=(theirs, ours)) as (client, server):
                server.transport.write(b"x" * 50_000)
                await client.until(lambda client: client.data.count(b"x") == 50_000)
                assert set(client.data) == set(b"x.")

        run(main())

    def test_methods_of_the_transport_under_a_writer(self, run):
        """A writer asks its transport for them each time."""

        async def main():
            async def serve(reader, writer):
                transport = writer.transport
                plain, done = await override_methods(writer)
                transport.__class__ = type(
                    "Other", (type(transport),), {"write": lambda _, data: plain(b"C")}
                )
                del transport.write, transport.is_closing
                writer.write(b"c")
                await writer.drain()
                writer.close()
                asked.set_result(done)

            asked = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
            )
            assert await reader.read() == b"aBC"
            assert await asked == [b"b", "is_closing?"]
            writer.close()
            await writer.wait_closed()
            server.close()

        run(main())

    def test_tls_1_2(self, run):
        async def main():
            theirs, ours = server_context(), client_context()
            ours.maximum_version = ssl.TLSVersion.TLSv1_2
            async with secured(server=Echo(), contexts=(theirs, ours)) as (client, _):
                client.transport.write(DATA)
                assert await client.until_received(len(DATA)) == DATA
                assert client.transport.get_extra_info("ssl_object").version() == "TLSv1.2"

        run(main())

    def test_compatibility_25_a_connection_within_a_connection(self, run, loop):
        async def main():
            outer_client, outer_server = Recorder(), Recorder()
            client, server = Recorder(), Echo()
            async with secured(outer_client, outer_server) as (_, _):
                theirs = loop.start_tls(outer_server.transport, server, server_context(), server_side=True)
                ours = loop.start_tls(
                    outer_client.transport, client, client_context(), server_hostname="localhost"
                )
                server.transport, client.transport = await asyncio.gather(theirs, ours)
                client.transport.write(DATA)
                assert await client.until_received(len(DATA)) == DATA
                client.transport.close()
                await client.until("lost")
                await server.until("lost")
                assert server.names[-2:] == ["eof", "lost"]
                for end in (outer_client, outer_server):
                    end.note("lost", None)  # the inner connection has ended them

        run(main())


@pytest.mark.velodrome_only
class TestTalkingThroughPython(ThroughPython, TestTalking):
    pass


class TestTheUsersContext:
    def test_what_is_known(self, run):
        async def main():
            async with secured() as (client, server):
                info = client.transport.get_extra_info
                assert isinstance(info("ssl_object"), ssl.SSLObject)
                assert isinstance(info("sslcontext"), ssl.SSLContext)
                assert info("peercert")["subject"] == ((("commonName", "localhost"),),)
                assert info("cipher") == info("ssl_object").cipher()
                assert info("compression") is None
                assert info("peername") == server.transport.get_extra_info("sockname")
                assert info("socket").family == socket.AF_INET
                assert info("nothing") is None
                assert info("nothing", 1) == 1
                assert isinstance(client.transport, asyncio.Transport)
                assert isinstance(client.transport, sslproto._SSLProtocolTransport)
                assert not client.transport.can_write_eof()
                with pytest.raises(NotImplementedError):
                    client.transport.write_eof()
                assert client.transport.get_write_buffer_size() == 0
                assert client.transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)

        run(main())

    def test_alpn(self, run):
        async def main():
            theirs, ours = server_context(), client_context()
            theirs.set_alpn_protocols(["h2", "http/1.1"])
            ours.set_alpn_protocols(["http/1.1"])
            async with secured(contexts=(theirs, ours)) as (client, server):
                for end in (client, server):
                    assert end.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"

        run(main())

    def test_a_client_certificate(self, run):
        async def main():
            theirs, ours = server_context(), client_context()
            theirs.verify_mode = ssl.CERT_REQUIRED
            theirs.load_verify_locations(CERTIFICATES / "client.pem")
            ours.load_cert_chain(CERTIFICATES / "client.pem")
            async with secured(server=Echo(), contexts=(theirs, ours)) as (client, server):
                subject = server.transport.get_extra_info("peercert")["subject"]
                assert subject == ((("commonName", "client"),),)
                der = server.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
                assert ssl.DER_cert_to_PEM_cert(der) in (CERTIFICATES / "client.pem").read_text()
                client.transport.write(b"x")
                await client.until("data")

        run(main())

    def test_an_encrypted_key(self, run):
        async def main():
            theirs = server_context("locked", password="open sesame")
            async with secured(contexts=(theirs, client_context())):
                pass

        run(main())

    def test_pitfall_23_an_sni_callback_and_a_key_log(self, run, tmp_path):
        async def main():
            names = []

            def choose(sslobj, name, context):
                names.append((type(sslobj), name))
                sslobj.context = named

            theirs, named, ours = server_context("other"), server_context(), client_context()
            theirs.sni_callback = choose
            ours.keylog_filename = str(tmp_path / "keys")
            async with secured(server=Echo(), contexts=(theirs, ours)) as (client, _):
                client.transport.write(DATA)
                assert await client.until_received(len(DATA)) == DATA
            assert names == [(ssl.SSLObject, "localhost")]
            assert "CLIENT_TRAFFIC_SECRET_0" in (tmp_path / "keys").read_text()

        run(main())

    def test_pitfall_23_a_message_callback(self, run):
        async def main():
            seen = set()
            ours = client_context()
            ours._msg_callback = lambda connection, direction, *what: seen.add((type(connection), direction))
            async with secured(server=Echo(), contexts=(server_context(), ours)) as (client, _):
                seen.clear()
                client.transport.write(b"x")
                await client.until("data")
                assert seen == {(ssl.SSLObject, "read"), (ssl.SSLObject, "write")}

        run(main())

    def test_a_session_is_reused_by_an_overridden_wrap_bio(self, run, loop):
        order = []

        class Resuming(ssl.SSLContext):
            saved = None

            def wrap_bio(self, *args, **kwargs):
                order.append("wrap_bio")
                return super().wrap_bio(*args, session=self.saved, **kwargs)

        async def main():
            theirs, ours = server_context(), client_context(kind=Resuming)
            loop.call_soon(order.append, "turn")
            async with secured(server=Echo(), contexts=(theirs, ours)) as (client, _):
                client.transport.write(b"x")
                await client.until("data")
                ours.saved = client.transport.get_extra_info("ssl_object").session
            async with secured(contexts=(theirs, ours)) as (client, _):
                assert client.transport.get_extra_info("ssl_object").session_reused

        run(main())
        assert order.count("wrap_bio") == 2

    def test_compatibility_24_wrap_bio_comes_before_the_first_suspension(self, run, loop):
        order = []

        class Telling(ssl.SSLContext):
            def wrap_bio(self, *args, **kwargs):
                order.append("wrap_bio")
                return super().wrap_bio(*args, **kwargs)

        async def main():
            async with listening() as (address, accept):
                sock = socket.create_connection(address)
                sock.setblocking(False)
                loop.call_soon(order.append, "turn")
                context = client_context(kind=Telling)
                ours = asyncio.ensure_future(
                    loop.create_connection(Recorder, sock=sock, ssl=context, server_hostname="localhost")
                )
                order.append("begun")
                with await accept() as peer:
                    await peer.shake_hands()
                    transport, protocol = await ours
                    transport.abort()
                    await protocol.until("lost")

        run(main())
        # The task begins in the turn after; within its first step the context is asked.
        assert order == ["begun", "turn", "wrap_bio"]

    def test_an_object_of_the_users_class(self, run):
        class Counting(ssl.SSLObject):
            reads = writes = 0

            def read(self, *args):
                Counting.reads += 1
                return super().read(*args)

            def write(self, data):
                Counting.writes += 1
                return super().write(data)

        async def main():
            ours = client_context()
            ours.sslobject_class = Counting
            async with secured(server=Echo(), contexts=(server_context(), ours)) as (client, _):
                client.transport.write(DATA)
                assert await client.until_received(len(DATA)) == DATA
                assert type(client.transport.get_extra_info("ssl_object")) is Counting

        run(main())
        assert Counting.reads >= len(DATA) / 16384
        assert Counting.writes > 0

    def test_pitfall_23a_the_contexts_settings_hold(self, run):
        async def main():
            theirs, ours = server_context(), client_context()
            theirs.minimum_version = ssl.TLSVersion.TLSv1_3
            ours.maximum_version = ssl.TLSVersion.TLSv1_2
            server = Recorder()
            async with serving(lambda: server, ssl=theirs) as address:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await asyncio.get_running_loop().create_connection(
                        Recorder, *address, ssl=ours, server_hostname="localhost"
                    )
            theirs, ours = server_context(), client_context()
            ours.maximum_version = ssl.TLSVersion.TLSv1_2
            ours.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
            async with secured(contexts=(theirs, ours)) as (client, _):
                assert client.transport.get_extra_info("cipher")[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"

        run(main())

    def test_ssl_true_verifies(self, run, loop):
        async def main():
            async with serving(Recorder, ssl=server_context()) as address:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await loop.create_connection(Recorder, *address, ssl=True, server_hostname="localhost")

        run(main())


class TestStartTls:
    def test_compatibility_25_of_a_writer_on_both_sides(self, run):
        async def main():
            async def serve(reader, writer):
                assert await reader.readline() == b"STARTTLS\n"
                writer.write(b"GO\n")
                await writer.start_tls(server_context())
                assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
                writer.write(await reader.readexactly(len(DATA)))
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"GO\n"
            await writer.start_tls(client_context(), server_hostname="localhost")
            writer.write(DATA)
            assert await reader.readexactly(len(DATA)) == DATA
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()

        run(main())

    def test_of_a_protocol(self, run, loop):
        async def main():
            from recorder import linked

            async with linked() as (client, server):
                inner_client, inner_server = Recorder(), Echo()
                theirs = loop.start_tls(server.transport, inner_server, server_context(), server_side=True)
                ours = loop.start_tls(
                    client.transport, inner_client, client_context(), server_hostname="localhost"
                )
                inner_server.transport, transport = await asyncio.gather(theirs, ours)
                transport.write(b"hidden")
                assert await inner_client.until_received(6) == b"hidden"
                assert "made" not in inner_client.names
                transport.close()
                await inner_client.until("lost")
                await inner_server.until("lost")
                client.note("lost", None)
                server.note("lost", None)

        run(main())

    @pytest.mark.velodrome_only  # asyncio leaves the bytes to the stream reader before 3.15
    def test_pitfall_20_what_is_buffered_belongs_to_the_handshake(self, run):
        async def main():
            async def serve(reader, writer):
                assert await reader.readline() == b"STARTTLS\n"
                await until(lambda: reader._buffer)
                await writer.start_tls(server_context())
                writer.write(await reader.readexactly(5))
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            with await connected(server.sockets[0].getsockname()) as peer:
                with contextlib.suppress(ssl.SSLWantReadError):
                    peer.tls.do_handshake()
                await peer.send_raw(b"STARTTLS\n" + peer.outgoing.read())
                await peer.shake_hands()
                await peer.send(b"hello")
                assert await peer.receive(5) == b"hello"
            server.close()

        run(main())

    @pytest.mark.velodrome_only
    def test_scenario_50_plain_text_is_not_taken_for_tls(self, run):
        async def main():
            async def serve(reader, writer):
                assert await reader.readline() == b"STARTTLS\n"
                await until(lambda: reader._buffer)
                try:
                    await writer.start_tls(server_context())
                except ssl.SSLError as error:
                    outcome.set_result(error)
                else:
                    outcome.set_result(await reader.read(100))

            outcome = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            with await connected(server.sockets[0].getsockname()) as peer:
                await peer.send_raw(b"STARTTLS\nMAIL FROM: mallory\n")
                assert isinstance(await outcome, ssl.SSLError)
                await peer.until_gone()
            server.close()

        run(main())

    def test_what_cannot_be_upgraded(self, run, loop):
        async def main():
            with pytest.raises(TypeError, match="instance of ssl.SSLContext, got None"):
                await loop.start_tls(asyncio.Transport(), Recorder(), None)
            with pytest.raises(TypeError, match="is not supported by start_tls"):
                await loop.start_tls(asyncio.Transport(), Recorder(), client_context())

        run(main())

    def test_a_cancelled_handshake_closes_the_transport(self, run, loop):
        async def main():
            from recorder import linked

            async with linked() as (client, server):
                upgrade = asyncio.ensure_future(
                    loop.start_tls(
                        client.transport, Recorder(), client_context(), server_hostname="localhost"
                    )
                )
                await server.until("data")
                upgrade.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await upgrade
                await server.until("lost")
                assert client.transport.is_closing()
                client.note("lost", None)

        run(main())

    def test_pitfall_35_a_handshake_that_is_cut_off_leaks_nothing(self, run, loop, errors):
        """At each point of it; the fixture that counts descriptors is the judge."""

        async def main():
            async with serving(Recorder, ssl=server_context()) as address:
                for point in range(40):
                    task = loop.create_task(
                        loop.create_connection(
                            Recorder, *address, ssl=client_context(), server_hostname="localhost"
                        )
                    )
                    await turns(point)
                    task.cancel()
                    (result,) = await asyncio.gather(task, return_exceptions=True)
                    if not isinstance(result, BaseException):
                        result[0].abort()
                        assert point > 2
                assert not isinstance(result, BaseException), "the last ones were not cut off"
                await turns(10)

        run(main())
        errors.take()


class TestEnds:
    def test_scenario_48_a_peer_that_is_gone_without_a_word(self, run):
        async def main():
            async with secured_peer() as (peer, server):
                await peer.send(b"last")
                peer.sock.shutdown(socket.SHUT_WR)
                await server.until("lost")
                assert server.events == [("made",), ("data", b"last"), ("eof",), ("lost", None)]

        run(main())

    def test_scenario_48_a_stream_ends_where_the_peer_is_gone(self, run):
        async def main():
            async def serve(reader, writer):
                try:
                    got.set_result(await reader.read())
                except (ssl.SSLError, ConnectionError) as error:
                    got.set_result(error)
                writer.close()

            got = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
            with await connected(server.sockets[0].getsockname()) as peer:
                await peer.shake_hands()
                await peer.send(b"half a ")
                peer.tls.write(b"record")
                await peer.send_raw(peer.outgoing.read()[:-1])
                peer.sock.shutdown(socket.SHUT_WR)
                assert await got == b"half a " or isinstance(got.result(), (ssl.SSLError, ConnectionError))
            server.close()

        run(main())

    def test_scenario_49_handshakes_that_never_end(self, run):
        async def main():
            protocols = []

            def factory():
                protocols.append(Recorder())
                return protocols[-1]

            async with serving(factory, ssl=server_context(), ssl_handshake_timeout=0.2) as address:
                peers = [await connected(address) for _ in range(20)]
                for peer in peers:
                    await peer.send_raw(b"\x16\x03\x01")
                for peer in peers:
                    await peer.until_gone()
                    peer.sock.close()
            assert all(protocol.names == [] for protocol in protocols)

        run(main())

    def test_a_handshake_that_takes_too_long(self, run, loop):
        async def main():
            async with listening() as (address, accept):
                ours = asyncio.ensure_future(
                    loop.create_connection(
                        Recorder,
                        *address,
                        ssl=client_context(),
                        server_hostname="localhost",
                        ssl_handshake_timeout=0.05,
                    )
                )
                with await accept():
                    with pytest.raises(ConnectionAbortedError, match="longer than 0.05 seconds"):
                        await ours

        run(main())

    @pytest.mark.parametrize("timeout", [0, -1])
    def test_timeouts_are_positive(self, run, loop, timeout):
        async def main():
            async with serving(Recorder, ssl=server_context()) as address:
                for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
                    with pytest.raises(
                        ValueError, match=f"{name} should be a positive number, got {timeout}"
                    ):
                        await loop.create_connection(
                            Recorder, *address, ssl=client_context(), **{name: timeout}
                        )

        with warnings.catch_warnings():
            # asyncio leaves the socket to the collector.
            warnings.simplefilter("ignore", ResourceWarning)
            run(main())
            gc.collect()

    def test_a_shutdown_that_takes_too_long(self, run):
        async def main():
            async with secured_peer(ssl_shutdown_timeout=0.05) as (_, server):
                server.transport.close()
                await server.until("lost")
                assert isinstance(server.events[-1][1], TimeoutError)
                assert str(server.events[-1][1]) == "SSL shutdown timed out"

        run(main())

    def test_pitfall_17_close_while_reading_is_paused(self, run):
        async def main():
            async with secured_peer() as (peer, server):
                server.transport.pause_reading()
                server.transport.close()
                # It does not listen to the peer for the 30 seconds of the shutdown's time-out.
                with contextlib.suppress(ConnectionError):
                    while "lost" not in server.names:
                        await peer.send(DATA[:50000])
                        await turns()
                await server.until("lost")
                assert server.names == ["made", "lost"]

        run(main())

    def test_close_sends_what_was_written(self, run):
        async def main():
            async with secured() as (client, server):
                server.transport.pause_reading()
                client.transport.write(DATA)
                client.transport.write(DATA)
                client.transport.close()
                await turns(10)
                server.transport.resume_reading()
                await server.until("lost")
                assert server.data == DATA + DATA

        run(main())

    def test_abort_drops_what_was_written(self, run):
        async def main():
            async with secured() as (client, server):
                client.transport.abort()
                assert client.transport.is_closing()
                await client.until("lost")
                assert client.events == [("made",), ("lost", None)]
                await server.until("lost")

        run(main())

    def test_close_delivers_what_was_held_back(self, run):
        async def main():
            async with held_back(b"in time") as (peer, server):
                server.transport.resume_reading()
                server.transport.close()
                assert server.data == b"in time"
                await peer.do(peer.tls.unwrap)
                await server.until("lost")
                assert server.events[1:] == [("data", b"in time"), ("eof",), ("lost", None)]

        run(main())

    def test_abort_drops_what_was_held_back(self, run):
        async def main():
            async with held_back(b"too late") as (_, server):
                server.transport.resume_reading()
                server.transport.abort()
                await server.until("lost")
                assert server.events == [("made",), ("lost", None)]

        run(main())

    @pytest.mark.velodrome_only  # asyncio's close() raises RuntimeError
    def test_an_abort_while_close_delivers(self, run):
        class Aborting(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.abort()

        async def main():
            async with held_back(b"enough", Aborting()) as (_, server):
                server.transport.resume_reading()
                server.transport.close()
                await server.until("lost")
                assert server.events == [("made",), ("data", b"enough"), ("lost", None)]

        run(main())

    @pytest.mark.velodrome_only  # asyncio delivers one buffer of it
    @pytest.mark.parametrize("ends", ["ours", "the peer"])
    def test_all_is_delivered_into_a_small_buffer(self, run, ends):
        async def main():
            async with held_back(DATA[:50000], Buffered(1000)) as (peer, server):
                if ends == "the peer":
                    peer.sock.shutdown(socket.SHUT_WR)
                    await until(lambda: server.transport._ssl_protocol._eof_received)
                server.transport.resume_reading()
                if ends == "ours":
                    server.transport.close()
                    await peer.do(peer.tls.unwrap)
                await server.until("lost")
                assert server.events[1:] == [("data", DATA[:50000]), ("eof",), ("lost", None)]

        run(main())

    @pytest.mark.velodrome_only  # asyncio drops it
    def test_paused_again_when_the_peer_has_ended(self, run):
        async def main():
            async with held_back(b"still wanted") as (peer, server):
                peer.sock.shutdown(socket.SHUT_WR)
                await until(lambda: server.transport._ssl_protocol._eof_received)
                server.transport.resume_reading()
                server.transport.pause_reading()
                await turns(5)
                assert server.names == ["made"]
                server.transport.resume_reading()
                await server.until("lost")
                assert server.events[1:] == [("data", b"still wanted"), ("eof",), ("lost", None)]

        run(main())

    @pytest.mark.velodrome_only  # asyncio drops all but one buffer of it
    def test_paused_while_the_end_is_delivered(self, run):
        class Pausing(Buffered):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.transport.pause_reading()
                asyncio.get_running_loop().call_later(0.001, self.transport.resume_reading)

        async def main():
            async with secured_peer(Pausing(1000)) as (peer, server):
                await peer.send(DATA[:5000])
                peer.sock.shutdown(socket.SHUT_WR)
                await server.until("lost")
                assert server.events[1:] == [("data", DATA[:5000]), ("eof",), ("lost", None)]

        run(main())

    @pytest.mark.velodrome_only  # asyncio waits for ever
    def test_close_while_paused_when_the_peer_has_ended(self, run):
        async def main():
            async with held_back(b"not wanted") as (peer, server):
                peer.sock.shutdown(socket.SHUT_WR)
                await until(lambda: server.transport._ssl_protocol._eof_received)
                server.transport.close()
                await server.until("lost")
                assert "data" not in server.names

        run(main())

    def test_data_after_the_peer_has_ended(self, run):
        async def main():
            async with secured_peer() as (peer, server):
                peer.tls.write(b"before")
                with contextlib.suppress(ssl.SSLWantReadError):
                    peer.tls.unwrap()
                await peer.send_raw(peer.outgoing.read() + b"\x17\x03\x03\x00\x02xx")
                with contextlib.suppress(ConnectionError):
                    await server.until("lost")
                assert server.data == b"before"
                assert server.names[:3] == ["made", "data", "eof"]

        run(main())

    def test_garbage(self, run, errors):
        async def main():
            async with secured_peer() as (peer, server):
                await peer.send_raw(b"\x17\x03\x03\x00\x20" + bytes(32))
                await server.until("lost")
                assert isinstance(server.events[-1][1], ssl.SSLError)

        run(main())
        errors.take()

    def test_plain_text_instead_of_a_handshake(self, run):
        async def main():
            protocol = Recorder()
            async with serving(lambda: protocol, ssl=server_context()) as address:
                with await connected(address) as peer:
                    await peer.send_raw(b"GET / HTTP/1.1\r\n\r\n")
                    await peer.until_gone()
            assert protocol.names == []

        run(main())

    @pytest.mark.parametrize(
        ("context", "name"),
        [(lambda: client_context("other"), "localhost"), (client_context, "elsewhere")],
        ids=["not trusted", "another name"],
    )
    def test_scenario_50_a_certificate_that_is_refused(self, run, loop, context, name):
        async def main():
            server = Recorder()
            async with serving(lambda: server, ssl=server_context()) as address:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await loop.create_connection(Recorder, *address, ssl=context(), server_hostname=name)
            assert server.names == []

        run(main())

    @pytest.mark.velodrome_only  # asyncio drops the alert with the connection
    def test_pitfall_22_the_peer_is_told_why(self, run, loop):
        async def main():
            async with listening() as (address, accept):
                ours = asyncio.ensure_future(
                    loop.create_connection(
                        Recorder, *address, ssl=client_context("other"), server_hostname="localhost"
                    )
                )
                with await accept() as peer:
                    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
                        await peer.shake_hands()
                        await peer.receive(1)
                with pytest.raises(ssl.SSLCertVerificationError):
                    await ours

        run(main())

    @pytest.mark.velodrome_only(when=not hasattr(sslproto.SSLProtocol, "_is_transport_closing"))
    def test_pitfall_22_the_end_below_is_visible_above(self, run):
        async def main():
            async with secured() as (client, server):
                client.transport._ssl_protocol._transport.abort()
                assert client.transport.is_closing()
                await client.until("lost")
                await server.until("lost")

        run(main())

    def test_pitfall_22_an_error_of_the_socket_reaches_the_protocol(self, run):
        async def main():
            async with secured_peer() as (peer, server):
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.sock.close()
                for _ in range(100):
                    server.transport.write(DATA)
                    await turns()
                await server.until("lost")
                assert isinstance(server.events[-1][1], ConnectionError)
                for _ in range(3):
                    server.transport.write(b"nobody hears")

        run(main())

    def test_writing_after_close(self, run):
        async def main():
            async with secured() as (client, server):
                client.transport.close()
                client.transport.write(b"unheard")
                client.transport.writelines([b"un", b"heard"])
                await server.until("lost")
                assert server.data == b""

        run(main())


@pytest.mark.velodrome_only
class TestEndsThroughPython(ThroughPython, TestEnds):
    pass


class TestPressure:
    def test_the_writer_is_paused_and_goes_on(self, run):
        async def main():
            async with secured_peer() as (peer, server):
                server.transport.set_write_buffer_limits(high=50000, low=10000)
                assert server.transport.get_write_buffer_limits() == (10000, 50000)
                sent = 0
                while "pause" not in server.names:
                    server.transport.write(DATA[:65536])
                    sent += 65536
                assert 50000 <= server.transport.get_write_buffer_size() < 200000
                while "resume" not in server.names:
                    await peer.receive(65536)
                    sent -= 65536
                assert server.transport.get_write_buffer_size() <= 10000
                await peer.receive(sent)
                assert server.names == ["made", "pause", "resume"]

        run(main())

    def test_the_peer_is_held_back_by_a_reader_that_pauses(self, run):
        async def main():
            async with secured() as (client, server):
                server.transport.set_read_buffer_limits(high=20000, low=5000)
                server.transport.pause_reading()
                while "pause" not in client.names:
                    client.transport.write(DATA)
                    await turns(20)
                # One receive more than the mark.
                assert server.transport.get_read_buffer_size() < 20000 + 2 * 256 * 1024
                sent = client.transport.get_write_buffer_size()
                assert sent > 0
                server.transport.resume_reading()
                await client.until("resume")

        run(main())

    @pytest.mark.parametrize(
        "call", [lambda t, *m: t.set_write_buffer_limits(*m), lambda t, *m: t.set_read_buffer_limits(*m)]
    )
    def test_marks_that_make_no_sense(self, run, call):
        async def main():
            async with secured() as (client, _):
                with pytest.raises(ValueError, match="must be >= low"):
                    call(client.transport, 1, 2)

        run(main())

    def test_a_paused_writer_that_raises(self, run, errors):
        class Failing(Recorder):
            def pause_writing(self):
                raise ZeroDivisionError

        async def main():
            async with secured(client=Failing()) as (client, server):
                server.transport.pause_reading()
                while not errors:
                    client.transport.write(DATA)

        run(main())
        context = errors.take_one()
        assert context["message"] == "protocol.pause_writing() failed"

    def test_pitfall_15_a_buffer_that_changes_after_write(self, run):
        async def main():
            async with secured() as (client, server):
                data = bytearray(DATA)
                client.transport.write(data)
                data[:] = bytes(len(data))
                assert await server.until_received(len(DATA)) == DATA

        run(main())

    @pytest.mark.velodrome_only  # asyncio pauses for an empty buffer, and never resumes
    def test_marks_of_zero(self, run):
        async def main():
            async with secured(server=Echo()) as (client, server):
                for end in (client, server):
                    end.transport.set_read_buffer_limits(0)
                    end.transport.set_write_buffer_limits(0)
                client.transport.write(DATA)
                assert await client.until_received(len(DATA)) == DATA
                for end in (client, server):
                    assert end.names.count("pause") == end.names.count("resume")

        run(main())

    @pytest.mark.velodrome_only  # asyncio hands all of it to the transport below, and pauses nobody
    def test_one_great_write_pauses_and_its_buffer_may_be_resized(self, run):
        data = bytearray(DATA * 16)

        class Clearing(Recorder):
            def pause_writing(self):
                super().pause_writing()
                data.clear()

        async def main():
            async with secured(client=Clearing()) as (client, server):
                server.transport.pause_reading()
                client.transport.write(data)
                assert client.names == ["made", "pause"]
                assert not data
                server.transport.resume_reading()
                assert await server.until_received(16 * len(DATA)) == DATA * 16

        run(main())

    @pytest.mark.velodrome_only  # asyncio ends the connection for it
    def test_memory_that_is_not_contiguous_is_refused(self, run):
        async def main():
            async with secured() as (client, server):
                with pytest.raises(BufferError):
                    client.transport.write(memoryview(DATA)[::2])
                with pytest.raises(BufferError):
                    client.transport.writelines([b"x", memoryview(DATA)[::2]])
                client.transport.write(b"still there")
                assert await server.until_received(11) == b"still there"

        run(main())

    def test_sendfile_falls_back(self, run, loop, tmp_path):
        path = tmp_path / "data"
        path.write_bytes(DATA)

        async def main():
            async with secured() as (client, server):
                with path.open("rb") as file:
                    assert await loop.sendfile(client.transport, file) == len(DATA)
                    with pytest.raises(RuntimeError, match="fallback is disabled"):
                        await loop.sendfile(client.transport, file, fallback=False)
                assert await server.until_received(len(DATA)) == DATA

        run(main())


class TestReentrancy:
    @pytest.mark.velodrome_only  # asyncio re-enters OpenSSL
    def test_pitfall_19_writing_while_data_is_encrypted(self, run):
        async def main():
            client, ours, left = Recorder(), client_context(), [0, 1, 2, 3]

            def report(connection, direction, *what):
                if len(left) < 4 and direction == "write" and left:
                    left.pop()
                    client.transport.write(b"inner")

            ours._msg_callback = report
            async with secured(client=client, contexts=(server_context(), ours)) as (_, server):
                left.pop()
                client.transport.write(b"outer")
                assert await server.until_received(20) == b"outer" + 3 * b"inner"
                # `_ssl`'s objects show their context to no collector.
                ours._msg_callback = None

        run(main())

    def test_pitfall_19_writing_in_every_callback(self, run):
        class Busy(Recorder):
            left = 200

            def write(self, data):
                if self.left:
                    self.left -= 1
                    self.transport.write(data)

            def data_received(self, data):
                super().data_received(data)
                self.write(b"some")
                self.write(b"more")

            def pause_writing(self):
                self.write(b"even")

            def resume_writing(self):
                self.write(b"much")

        async def main():
            async with secured(Busy(), Busy()) as (client, server):
                for end in (client, server):
                    end.transport.set_write_buffer_limits(high=1, low=0)
                client.write(b"go")
                for end in (client, server):
                    await end.until_received(4 * 198 + 2)

        run(main())

    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_ending_in_data_received(self, run, how):
        class Ending(Recorder):
            def data_received(self, data):
                super().data_received(data)
                getattr(self.transport, how)()
                self.transport.write(b"unheard")

        async def main():
            async with secured(server=Ending()) as (client, server):
                client.transport.write(DATA[:50000])
                client.transport.write(DATA[:50000])
                await server.until("lost")
                await client.until("lost")
                assert client.data == b""
                assert server.names.count("lost") == 1

        run(main())

    @pytest.mark.velodrome_only  # asyncio reads into a copy of a slice
    @pytest.mark.parametrize("buffer", ["bytearray", "memoryview"])
    def test_pitfall_21_the_bytes_are_in_the_users_buffer(self, run, buffer):
        class Lending(Buffered):
            def get_buffer(self, sizehint):
                return self.buffer if buffer == "bytearray" else memoryview(self.buffer)

        async def main():
            async with secured_peer(Lending(5000)) as (peer, server):
                for part in (DATA[:1000], DATA[1000:3000], DATA[3000:3001]):
                    peer.tls.write(part)
                await peer.flush()
                assert await server.until_received(3001) == DATA[:3001]

        run(main())

    @pytest.mark.velodrome_only  # asyncio takes an empty buffer for the end of the stream
    @pytest.mark.parametrize(
        ("buffer", "error"), [(bytearray(), RuntimeError), (b"fixed", BufferError), (1, TypeError)]
    )
    def test_a_buffer_that_is_none(self, run, errors, buffer, error):
        class Lending(Buffered):
            def get_buffer(self, sizehint):
                return buffer

        async def main():
            async with secured_peer(Lending()) as (peer, server):
                await peer.send(b"x")
                await server.until("lost")
                assert isinstance(server.events[-1][1], error)

        run(main())
        errors.take_one()


class TestBounds:
    def handle_of(self, peer):
        """libssl's own handle of a peer's connection: Python offers neither renegotiation nor key updates."""
        return ctypes.c_void_p(ctypes.c_void_p.from_address(id(peer.tls._sslobj) + 24).value)

    def libssl(self):
        import _ssl

        return ctypes.CDLL(_ssl.__file__)

    def test_scenario_50_renegotiation_is_refused(self, run, errors):
        async def main():
            server, ours = Echo(), client_context()
            ours.maximum_version = ssl.TLSVersion.TLSv1_2
            async with serving(lambda: server, ssl=server_context()) as address:
                with await connected(address, ours) as peer:
                    await peer.shake_hands()
                    await server.until("made")
                    assert self.libssl().SSL_renegotiate(self.handle_of(peer)) == 1
                    with contextlib.suppress(ssl.SSLError, EOFError, ConnectionError):
                        peer.tls.do_handshake()
                    await peer.flush()
                    with contextlib.suppress(ssl.SSLError, EOFError, ConnectionError):
                        await peer.receive(1)
                    if "lost" not in server.names:
                        server.transport.abort()
                    await server.until("lost")
            assert server.data == b""

        run(main())
        assert all(isinstance(context["exception"], ssl.SSLError) for context in errors.take())

    def test_scenario_50_a_flood_of_key_updates(self, run, errors):
        async def main():
            async with secured_peer(Echo()) as (peer, server):
                libssl, handle = self.libssl(), self.handle_of(peer)
                with contextlib.suppress(ssl.SSLError, EOFError, ConnectionError):
                    for _ in range(500):
                        assert libssl.SSL_key_update(handle, 1) == 1
                        await peer.send(b"x")
                    assert await peer.receive(500) == b"x" * 500

        begun = time.process_time()
        run(main())
        assert time.process_time() - begun < 5
        errors.take()


class TestMemory:
    @pytest.mark.velodrome_only
    def test_no_buffer_for_each_connection(self, run):
        async def main():
            async with secured(server=Echo()) as (client, _):
                client.transport.write(DATA)
                await client.until_received(len(DATA))
            tracemalloc.start()
            try:
                async with secured() as (_, _):
                    current, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert current < 100_000

        run(main())

    def test_pitfall_18_nothing_is_left_in_a_cycle(self, run):
        async def main():
            contexts = server_context(), client_context()
            kept = [weakref.ref(context) for context in contexts]
            async with secured(contexts=contexts) as (client, server):
                kept += [weakref.ref(end.transport._ssl_protocol) for end in (client, server)]
                client.transport.close()
                await client.until("lost")
                await server.until("lost")
                await turns(3)
                client.transport = server.transport = None
                client.note("lost", None)
            del contexts, client, server
            await turns(3)
            return kept

        gc.disable()
        try:
            kept = run(main())
        finally:
            gc.enable()
        gc.collect()
        assert [reference() for reference in kept] == [None] * 4

    @pytest.mark.velodrome_only
    def test_pitfall_18_a_collector_can_take_it_apart(self, new_loop):
        async def main():
            holder = []
            async with secured() as (client, server):
                protocol = client.transport._ssl_protocol
                holder.append(protocol)
            # What user code may tie: the protocol holds itself through an attribute.
            protocol.myself = [protocol, protocol._sslobj]
            return weakref.ref(protocol)

        loop = new_loop()
        reference = loop.run_until_complete(main())
        loop.run_until_complete(turns(3))
        gc.collect()
        assert reference() is None


@pytest.mark.velodrome_only
class TestTheShortcut:
    def connection(self, run, ours=None):
        async def main():
            async with secured(contexts=(server_context(), ours or client_context())) as (client, _):
                assert is_ours(client.transport)
                return client.transport._ssl_protocol._direct

        return run(main())

    def test_it_is_taken(self, run):
        assert self.connection(run)

    def test_it_is_not_taken_where_openssl_reports_to_python(self, run, tmp_path):
        watched = client_context()
        watched._msg_callback = lambda *what: None
        assert not self.connection(run, watched)
        logged = client_context()
        logged.keylog_filename = str(tmp_path / "keys")
        assert not self.connection(run, logged)

    def test_it_is_not_taken_past_an_override(self, run):
        class Own(ssl.SSLObject):
            def read(self, *args):
                return super().read(*args)

        context = client_context()
        context.sslobject_class = Own
        assert not self.connection(run, context)

    def test_a_sample_that_is_not_as_expected_teaches_nothing(self, script):
        done = script("""
            import _ssl, os, ssl
            from velodrome import _core

            context, other = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2))
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            inner = context.wrap_bio(incoming, outgoing, server_hostname="localhost")._sslobj
            path, version = os.fsencode(_ssl.__file__), _ssl.OPENSSL_VERSION_NUMBER
            right = [inner, context, incoming, outgoing]

            def learn(path=path, version=version, sample=right, name=b"localhost"):
                return _core.learn_openssl(path, version, sample, name)

            print(
                learn(path=b"/not/there"),
                learn(path=os.fsencode(_core.__file__)),
                learn(version=version + 1),
                learn(sample=[inner, other, incoming, outgoing]),
                learn(sample=[inner, context, outgoing, incoming]),
                learn(sample=[context, context, incoming, outgoing]),
                learn(name=b"elsewhere"),
                learn(),
            )
        """)
        assert done.stdout.split() == ["False"] * 7 + ["True"]

    def test_an_object_that_is_put_in_its_place_is_driven_by_its_methods(self, run):
        class Standing:
            def read(self, *args):
                return b"from nowhere"

        async def main():
            async with secured_peer() as (peer, server):
                ssl_protocol = server.transport._ssl_protocol
                assert ssl_protocol._direct
                genuine, ssl_protocol._sslobj = ssl_protocol._sslobj, Standing()
                assert not ssl_protocol._direct
                await peer.send(b"x")
                Standing.read = lambda self, *args: genuine.read(*args)
                await server.until("data")

        run(main())
