"""An exception in any callback reaches the exception handler, in asyncio's words, and spoils nothing else."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket

import pytest
from conftest import DEADLINE, turns, until
from recorder import Buffered, Recorder, linked, serving


class Told(Exception):
    """What the callbacks of these tests raise."""


def fail(*_):
    raise Told


def one_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def check(context, message, *keys):
    assert context["message"] == message
    assert isinstance(context["exception"], Told)
    assert set(context) == {"message", "exception", *keys}


class TestScheduled:
    """Callbacks of the loop."""

    def check(self, loop, errors, handle):
        context = errors.take_one()
        check(context, context["message"], "handle")
        assert context["message"].startswith("Exception in callback fail(")
        if handle is not None:
            assert context["handle"] is handle
        assert isinstance(context["handle"], asyncio.Handle)

    def test_call_soon(self, loop, errors):
        seen = []
        handle = loop.call_soon(fail, 1)
        loop.call_soon(seen.append, "goes on")
        one_turn(loop)
        assert seen == ["goes on"]
        self.check(loop, errors, handle)

    def test_call_soon_threadsafe(self, loop, errors):
        handle = loop.call_soon_threadsafe(fail)
        one_turn(loop)
        self.check(loop, errors, handle)

    def test_timer(self, loop, errors):
        handle = loop.call_later(0, fail)
        one_turn(loop)
        one_turn(loop)
        self.check(loop, errors, handle)

    @pytest.mark.parametrize("method", ["reader", "writer"])
    def test_reader_and_writer(self, loop, errors, method):
        ours, theirs = socket.socketpair()

        def callback():
            getattr(loop, f"remove_{method}")(ours)
            loop.stop()
            fail()

        with ours, theirs:
            theirs.send(b"x")
            getattr(loop, f"add_{method}")(ours, callback)
            loop.run_forever()
        context = errors.take_one()
        check(context, context["message"], "handle")

    def test_the_message_shows_the_callback_as_the_handle_does(self, loop, errors):
        handle = loop.call_soon(fail, 1, "two")
        shown = repr(handle).removeprefix("<Handle ").removesuffix(">")
        one_turn(loop)
        assert errors.take_one()["message"] == f"Exception in callback {shown}"

    def test_not_callable(self, loop, errors):
        loop.call_soon(None)
        one_turn(loop)
        assert isinstance(errors.take_one()["exception"], TypeError)

    def test_wrong_arguments(self, loop, errors):
        loop.call_soon(len, 1, 2, 3)
        one_turn(loop)
        assert isinstance(errors.take_one()["exception"], TypeError)

    def test_a_cancelled_error_is_an_exception_like_others(self, loop, errors):
        def cancelled():
            raise asyncio.CancelledError

        loop.call_soon(cancelled)
        one_turn(loop)
        assert isinstance(errors.take_one()["exception"], asyncio.CancelledError)

    def test_the_traceback_ends_in_the_callback(self, loop, errors):
        loop.call_soon(fail)
        one_turn(loop)
        traceback = errors.take_one()["exception"].__traceback__
        while traceback.tb_next:
            traceback = traceback.tb_next
        assert traceback.tb_frame.f_code is fail.__code__

    def test_a_task_whose_exception_nobody_asks_for(self, run, errors):
        async def main():
            async def failing():
                fail()

            task = asyncio.create_task(failing())
            await turns(2)
            assert task.done()
            return id(task)

        run(main())
        gc.collect()
        check(errors.take_one(), "Task exception was never retrieved", "future")


class TestProtocols:
    """Callbacks of protocols."""

    def failing(self, method, base=Recorder):
        """A protocol that fails in one of its methods, after having noted the event."""

        class Failing(base):
            pass

        def failing(self, *arguments):
            getattr(base, method)(self, *arguments)
            fail()

        setattr(Failing, method, failing)
        return Failing()

    def check_fatal(self, errors, message, protocol):
        context = errors.take_one()
        check(context, message, "transport", "protocol")
        assert context["protocol"] is protocol
        assert context["transport"] is protocol.transport

    @pytest.mark.velodrome_only  # asyncio leaves the socket to the garbage collector
    def test_factory_in_create_connection(self, run, loop, errors):
        async def main():
            async with serving(Recorder) as address:
                with pytest.raises(Told):
                    await loop.create_connection(fail, *address)

        run(main())

    @pytest.mark.velodrome_only  # asyncio leaves the socket to the garbage collector
    def test_factory_in_create_server(self, run, loop, errors):
        """Said only in debug mode; the client is cut off."""
        loop.set_debug(True)

        async def main():
            async with serving(fail) as address:
                client = Recorder()
                await loop.create_connection(lambda: client, *address)
                await client.until("lost")
                async with linked() as (ours, theirs):
                    ours.transport.write(b"others are served")
                    await theirs.until("data")

        run(main())
        context = errors.take_one()
        assert context["message"] == "Error on transport creation for incoming connection"
        assert isinstance(context["exception"], Told)

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("made", [None, object()], ids=["nothing", "no protocol"])
    def test_a_factory_that_makes_no_protocol(self, run, loop, made):
        async def main():
            server = Recorder()
            async with serving(lambda: server) as address:
                await self.no_protocol(loop.create_connection(lambda: made, *address))
                await server.until("lost")
            await self.no_protocol(loop.create_datagram_endpoint(lambda: made, ("127.0.0.1", 0)))

        run(main())

    async def no_protocol(self, connecting):
        with pytest.raises(AttributeError, match="has no attribute 'connection_made'"):
            await connecting
        gc.collect()  # asyncio leaves the socket to it

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_server_whose_factory_makes_no_protocol(self, run, loop, errors):
        loop.set_debug(True)

        async def main():
            client = Recorder()
            async with serving(lambda: None) as address:
                await loop.create_connection(lambda: client, *address)
                await until(lambda: errors)
                context = errors.take_one()
                assert context["message"] == "Error on transport creation for incoming connection"
                assert isinstance(context.pop("exception"), AttributeError)
                gc.collect()
                await client.until("lost")

        run(main())

    def test_connection_made(self, run, loop, errors):
        async def main():
            async with linked(server=self.failing("connection_made")) as (client, server):
                client.transport.write(b"goes on")
                await server.until("data")
                context = errors.take_one()
                check(context, context["message"], "handle")
                assert context["message"].startswith("Exception in callback ")
                assert ".connection_made(" in context["message"] or "failing(" in context["message"]

        run(main())

    @pytest.mark.parametrize(
        ("method", "send"),
        [
            ("data_received", lambda transport: transport.write(b"x")),
            ("eof_received", lambda transport: transport.write_eof()),
        ],
    )
    def test_received(self, run, loop, errors, method, send):
        async def main():
            async with linked(server=self.failing(method)) as (client, server):
                send(client.transport)
                await server.until("lost")
                await client.until("lost")
                assert isinstance(server.events[-1][1], Told)
                self.check_fatal(errors, f"Fatal error: protocol.{method}() call failed.", server)

        run(main())

    @pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
    def test_buffered(self, run, loop, errors, method):
        async def main():
            async with linked(server=self.failing(method, Buffered)) as (client, server):
                client.transport.write(b"x")
                await server.until("lost")
                assert isinstance(server.events[-1][1], Told)
                self.check_fatal(errors, f"Fatal error: protocol.{method}() call failed.", server)

        run(main())

    def test_connection_lost(self, run, loop, errors):
        async def main():
            async with linked(client=self.failing("connection_lost")) as (client, server):
                client.transport.close()
                await client.until("lost")
                await server.until("lost")

        run(main())
        context = errors.take_one()
        check(context, context["message"], "handle")

    def test_pause_writing(self, run, loop, errors):
        async def main():
            async with linked(client=self.failing("pause_writing")) as (client, server):
                server.transport.pause_reading()
                client.transport.set_write_buffer_limits(high=1000)
                size = 0
                while "pause" not in client.names:
                    client.transport.write(bytes(100_000))
                    size += 100_000
                self.check_fatal(errors, "protocol.pause_writing() failed", client)
                server.transport.resume_reading()
                await client.until("resume")
                assert len(await server.until_received(size)) == size

        run(main())

    def test_resume_writing(self, run, loop, errors):
        async def main():
            async with linked(client=self.failing("resume_writing")) as (client, server):
                server.transport.pause_reading()
                while "pause" not in client.names:
                    client.transport.write(bytes(100_000))
                server.transport.resume_reading()
                await client.until("resume")
                self.check_fatal(errors, "protocol.resume_writing() failed", client)

        run(main())

    def test_interruptions_leave_the_run(self, loop):
        class Leaving(Recorder):
            def data_received(self, data):
                super().data_received(data)
                raise KeyboardInterrupt

        async def main():
            async with linked(server=Leaving()) as (client, server):
                client.transport.write(b"x")
                await asyncio.Event().wait()

        task = loop.create_task(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)

    def test_an_end_whose_telling_was_interrupted_is_told_again(self, loop):
        class Leaving(Recorder):
            def eof_received(self):
                super().eof_received()
                if self.names.count("eof") == 1:
                    raise KeyboardInterrupt

        async def main():
            async with linked(server=Leaving()) as (client, server):
                client.transport.write_eof()
                await server.until("lost")
                assert server.events[1:] == [("eof",), ("eof",), ("lost", None)]

        task = loop.create_task(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(asyncio.wait_for(task, DEADLINE))


class TestHandler:
    """The exception handler itself."""

    def test_set_and_get(self, loop):
        def handler(loop, context):
            pass

        loop.set_exception_handler(handler)
        assert loop.get_exception_handler() is handler
        loop.set_exception_handler(None)
        assert loop.get_exception_handler() is None

    @pytest.mark.parametrize("handler", [1, "text", [], object()])
    def test_it_must_be_callable(self, loop, handler):
        with pytest.raises(TypeError):
            loop.set_exception_handler(handler)

    def test_it_gets_the_loop_and_the_context(self, loop):
        seen = []
        loop.set_exception_handler(lambda *arguments: seen.append(arguments))
        context = {"message": "told", "anything": 1}
        loop.call_exception_handler(context)
        assert seen == [(loop, context)]

    def test_without_one_it_is_logged(self, loop, caplog):
        loop.set_exception_handler(None)
        loop.call_soon(fail, "argument")
        one_turn(loop)
        (record,) = caplog.records
        assert record.name == "asyncio"
        assert record.levelno == logging.ERROR
        assert record.exc_info[0] is Told
        message = record.getMessage()
        assert message.startswith("Exception in callback fail(")
        assert "\nhandle: <Handle fail(" in message

    def test_the_default_handler_can_be_called(self, loop, caplog):
        loop.default_exception_handler({"message": "told", "future": "a future", "nothing": None})
        assert caplog.messages == ["told\nfuture: 'a future'\nnothing: None"]
        caplog.clear()
        loop.default_exception_handler({})
        assert caplog.messages == ["Unhandled exception in event loop"]

    def test_one_that_fails_is_logged(self, loop, caplog):
        loop.set_exception_handler(lambda loop, context: 1 / 0)
        seen = []
        loop.call_soon(fail)
        loop.call_soon(seen.append, "goes on")
        one_turn(loop)
        assert seen == ["goes on"]
        (record,) = caplog.records
        assert "Unhandled error in exception handler" in record.getMessage()

    @pytest.mark.parametrize("kind_of_exception", [KeyboardInterrupt, SystemExit])
    def test_interruptions_leave_the_run(self, loop, kind_of_exception):
        def handler(loop, context):
            raise kind_of_exception

        loop.set_exception_handler(handler)
        loop.call_soon(fail)
        with pytest.raises(kind_of_exception):
            loop.run_forever()

    def test_an_overridden_default_handler_is_used(self, loop):
        seen = []
        loop.set_exception_handler(None)
        loop.default_exception_handler = seen.append
        loop.call_soon(fail)
        one_turn(loop)
        assert isinstance(seen[0]["exception"], Told)

    def test_an_overridden_call_exception_handler_is_used(self, loop):
        """Some libraries put theirs on the instance."""
        seen = []
        loop.call_exception_handler = seen.append
        loop.call_soon(fail)
        one_turn(loop)
        assert isinstance(seen[0]["exception"], Told)

    def test_it_runs_in_the_context_of_the_callback(self, loop):
        import contextvars

        var = contextvars.ContextVar("var", default="outside")
        seen = []
        loop.set_exception_handler(lambda loop, context: seen.append(var.get()))
        context = contextvars.copy_context()
        context.run(var.set, "inside")
        loop.call_soon(fail, context=context)
        one_turn(loop)
        # asyncio does so only from 3.12 on, for handles.
        assert seen in (["inside"], ["outside"])
