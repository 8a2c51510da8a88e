"""anyio: sockets of every kind, processes, threads both ways, signals, cancelling; anyio makes the loop."""

import os
import signal
import sys
import tempfile

import anyio
import anyio.from_thread
import anyio.to_process
import stage

BIG = os.urandom(1_000_000)


async def echo(stream):
    async with stream:
        async for part in stream:
            await stream.send(part)


async def streams():
    with tempfile.TemporaryDirectory() as folder:
        for listener, connect in (
            (await anyio.create_tcp_listener(local_host=stage.LOCALHOST), connect_tcp),
            (await anyio.create_unix_listener(f"{folder}/socket"), connect_unix),
        ):
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, echo)
                async with anyio.create_task_group() as clients:
                    for _ in range(10):
                        clients.start_soon(talk, connect, listener)
                group.cancel_scope.cancel()
            await listener.aclose()


async def connect_tcp(listener):
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    return await anyio.connect_tcp(stage.LOCALHOST, port)


async def connect_unix(listener):
    return await anyio.connect_unix(listener.extra(anyio.abc.SocketAttribute.local_address))


async def talk(connect, listener):
    async with await connect(listener) as stream, anyio.create_task_group() as group:
        group.start_soon(stream.send, BIG)
        received = b""
        while len(received) < len(BIG):
            received += await stream.receive()
        assert received == BIG


async def datagrams():
    async with (
        await anyio.create_udp_socket(local_host=stage.LOCALHOST) as server,
        await anyio.create_connected_udp_socket(
            stage.LOCALHOST, server.extra(anyio.abc.SocketAttribute.local_port)
        ) as client,
    ):
        await client.send(b"ping")
        packet, (host, port) = await server.receive()
        await server.sendto(packet[::-1], host, port)
        assert await client.receive() == b"gnip"


async def processes():
    upper = [sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())"]
    assert (await anyio.run_process(upper, input=b"text")).stdout == b"TEXT"
    assert await anyio.to_process.run_sync(os.getpid) != os.getpid()


async def threads():
    async def answer():
        return stage.kind()

    assert await anyio.to_thread.run_sync(anyio.from_thread.run, answer) == stage.LOOP


async def signals():
    with anyio.open_signal_receiver(signal.SIGUSR1) as received:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await anext(received) == signal.SIGUSR1


async def main():
    assert stage.kind() == stage.LOOP
    with anyio.fail_after(stage.PATIENCE):
        for part in (streams, datagrams, processes, threads, signals):
            await part()
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


if __name__ == "__main__":  # anyio's worker processes import this file
    anyio.run(main)
