"""grpc.aio, server and client: single calls, streams in both directions, a deadline, a cancellation.

Without generated code: methods are named by hand and carry bytes.
"""

import asyncio
import os

import grpc
import stage

BIG = os.urandom(2_000_000)


class Methods(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/smoke/echo": grpc.unary_unary_rpc_method_handler(echo),
            "/smoke/chat": grpc.stream_stream_rpc_method_handler(chat),
            "/smoke/forever": grpc.unary_unary_rpc_method_handler(forever),
        }.get(details.method)


async def echo(request, context):
    return request


async def chat(requests, context):
    async for request in requests:
        yield request


async def forever(request, context):
    await asyncio.sleep(3600)


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port(f"{stage.LOCALHOST}:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"{stage.LOCALHOST}:{port}") as channel:
        await calls(channel)
        await streams(channel)
        await endings(channel)
    await server.stop(grace=None)


async def calls(channel):
    method = channel.unary_unary("/smoke/echo")
    bodies = [os.urandom(size) for size in range(0, 100_000, 500)] + [BIG]
    assert await asyncio.gather(*(method(body) for body in bodies)) == bodies


async def streams(channel):
    call = channel.stream_stream("/smoke/chat")()
    for number in range(500):
        await call.write(b"%d" % number)
        assert await call.read() == b"%d" % number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def endings(channel):
    method = channel.unary_unary("/smoke/forever")
    try:
        await method(b"", timeout=0.1)
        code = None
    except grpc.aio.AioRpcError as error:
        code = error.code()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    call = method(b"")
    asyncio.get_running_loop().call_later(0.05, call.cancel)
    try:
        await call
    except asyncio.CancelledError:
        return
    raise AssertionError("not cancelled")


stage.run(main())
