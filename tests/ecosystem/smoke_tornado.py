"""tornado: HTTP server and client, WebSocket, TCP streams, callbacks; tornado runs the loop."""

import os

import stage
from tornado import gen, httpclient, httpserver, ioloop, iostream, tcpclient, tcpserver, web, websocket

BIG = os.urandom(1_000_000)


class Echo(web.RequestHandler):
    async def post(self):
        for start in range(0, len(self.request.body), 100_000):
            self.write(self.request.body[start : start + 100_000])
            await self.flush()


class EchoSocket(websocket.WebSocketHandler):
    async def on_message(self, message):
        await self.write_message(message, binary=isinstance(message, bytes))


class EchoStream(tcpserver.TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                await stream.write(await stream.read_until(b"\n"))
        except iostream.StreamClosedError:
            pass


async def main():
    assert stage.kind() == stage.LOOP
    port = stage.free_port()
    server = httpserver.HTTPServer(web.Application([("/", Echo), ("/ws", EchoSocket)]))
    server.listen(port, stage.LOCALHOST)
    await http(f"http://{stage.LOCALHOST}:{port}/")
    await messages(f"ws://{stage.LOCALHOST}:{port}/ws")
    server.stop()
    await server.close_all_connections()
    await lines()
    await callbacks()


async def http(url):
    client = httpclient.AsyncHTTPClient(max_clients=20)
    bodies = [os.urandom(size) for size in range(0, 50_000, 1_000)] + [BIG]
    post = {"method": "POST", "headers": {"Content-Type": "application/octet-stream"}}
    answers = await gen.multi([client.fetch(url, body=body, **post) for body in bodies])
    assert [answer.body for answer in answers] == bodies
    client.close()


async def messages(url):
    connection = await websocket.websocket_connect(url)
    for message in ("text", b"bytes", BIG):
        await connection.write_message(message, binary=isinstance(message, bytes))
        assert await connection.read_message() == message
    connection.close()
    assert await connection.read_message() is None


async def lines():
    server = EchoStream()
    port = stage.free_port()
    server.listen(port, stage.LOCALHOST)
    stream = await tcpclient.TCPClient().connect(stage.LOCALHOST, port)
    for number in range(100):
        await stream.write(b"%d\n" % number)
        assert await stream.read_until(b"\n") == b"%d\n" % number
    stream.close()
    server.stop()


async def callbacks():
    calls = []
    periodic = ioloop.PeriodicCallback(lambda: calls.append(1), 5)
    periodic.start()
    while len(calls) < 5:
        await gen.sleep(0.005)
    periodic.stop()
    assert await ioloop.IOLoop.current().run_in_executor(None, sum, (1, 2)) == 3


ioloop.IOLoop.current().run_sync(main, timeout=3 * stage.PATIENCE)
