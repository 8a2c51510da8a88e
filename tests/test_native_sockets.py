"""The sock_* methods as coroutines: life cycle, fairness, and watches that leave nothing behind."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import os
import socket
import weakref

import pytest
from conftest import beside, idles, turns


def until_blocked(sock):
    """Fill a socket up."""
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(bytes(65536))


def drain(sock):
    """Read all there is."""
    size = 0
    with pytest.raises(BlockingIOError):
        while data := sock.recv(1 << 20):
            size += len(data)
    return size


OPERATIONS = {
    "recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
}


@pytest.fixture(params=OPERATIONS)
def receive(request):
    return OPERATIONS[request.param]


class TestCoroutine:
    """What they return is a coroutine, as far as anybody can tell."""

    def test_is_one(self, loop, pair):
        operation = loop.sock_recv(pair[0], 1)
        assert asyncio.iscoroutine(operation)
        assert inspect.iscoroutine(operation)
        assert isinstance(operation, collections.abc.Coroutine)
        assert operation.__qualname__ == "BaseSelectorEventLoop.sock_recv"
        assert operation.__name__ == "sock_recv"
        operation.close()

    def test_of_a_task(self, loop, run, pair):
        async def main():
            task = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(3)
            assert "sock_recv()" in repr(task)
            assert "wait_for=<Future pending" in repr(task)
            pair[1].send(b"abc")
            assert await task == b"abc"
            assert await asyncio.wait_for(loop.sock_sendall(pair[0], b"x"), 5) is None
            assert await asyncio.gather(loop.sock_recv(pair[1], 5), loop.sock_sendall(pair[1], b"y")) == [
                b"x",
                None,
            ]

        run(main())

    def test_without_a_task(self, loop, pair):
        pair[1].send(b"abc")
        assert loop.run_until_complete(loop.sock_recv(pair[0], 10)) == b"abc"

    def test_by_hand(self, loop, run, pair):
        async def main():
            operation = loop.sock_recv(pair[0], 10)
            with pytest.raises(TypeError, match="just-started"):
                operation.send(1)
            future = operation.send(None)
            assert asyncio.isfuture(future)
            pair[1].send(b"abc")
            await turns(3)
            assert future.done()
            with pytest.raises(StopIteration) as info:
                operation.send(None)
            assert info.value.value == b"abc"
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                operation.send(None)

        run(main())

    def test_twice(self, loop, run, pair):
        async def main():
            operation = loop.sock_recv(pair[0], 10)
            pair[1].send(b"abc")
            assert await operation == b"abc"
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await operation
            waits = loop.sock_recv(pair[0], 10)
            task = loop.create_task(waits)
            await turns(2)
            with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
                await waits
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main())

    def test_throw(self, loop, run, pair):
        async def main():
            operation = loop.sock_recv(pair[0], 10)
            with pytest.raises(KeyError):
                operation.throw(KeyError("unstarted"))
            operation = loop.sock_recv(pair[0], 10)
            operation.send(None)
            error = KeyError("waiting")
            with pytest.raises(KeyError) as info:
                operation.throw(error)
            assert info.value is error
            with pytest.raises(RuntimeError):
                operation.send(None)
            operation = loop.sock_recv(pair[0], 10)
            with pytest.raises(TypeError):
                operation.throw(1)
            operation.close()

        run(main())

    @pytest.mark.velodrome_only
    def test_never_awaited_does_nothing_but_says_so(self, loop, run, pair):
        async def main():
            pair[1].send(b"abc")
            with pytest.warns(RuntimeWarning, match=r"coroutine '\w+\.sock_recv' was never awaited"):
                loop.sock_recv(pair[0], 10)
            with pytest.warns(RuntimeWarning, match=r"coroutine '\w+\.sock_sendall' was never awaited"):
                loop.sock_sendall(pair[0], b"not sent")
            gc.collect()
            assert pair[0].recv(10) == b"abc"
            with pytest.raises(BlockingIOError):
                pair[1].recv(10)

        run(main())

    @pytest.mark.velodrome_only
    def test_close(self, loop, run, pair):
        async def main():
            operation = loop.sock_recv(pair[0], 10)
            operation.send(None)
            operation.close()
            operation.close()
            with pytest.raises(RuntimeError):
                await operation
            assert not loop.remove_reader(pair[0])

        run(main())

    def test_arguments(self, loop, run, pair):
        async def main():
            for call in (loop.sock_recv, loop.sock_recv_into, loop.sock_sendall):
                with pytest.raises(TypeError):
                    call(pair[0])
                with pytest.raises(TypeError):
                    call(pair[0], 1, 2, 3)
                with pytest.raises(TypeError):
                    call(sock=pair[0], nothing=1)
            pair[1].send(b"abcdef")
            assert await loop.sock_recv(sock=pair[0], n=2) == b"ab"
            assert await loop.sock_recv(pair[0], n=True) == b"c"
            assert await loop.sock_recv(pair[0], 0) == b""
            with pytest.raises(TypeError):
                await loop.sock_recv(pair[0], None)
            with pytest.raises(TypeError):
                await loop.sock_recv(pair[0], "1")
            with pytest.raises(ValueError, match="negative buffersize"):
                await loop.sock_recv(pair[0], -1)
            with pytest.raises(TypeError):
                await loop.sock_recv_into(pair[0], b"read-only")
            assert await loop.sock_recv_into(pair[0], bytearray()) == 0
            with pytest.raises(TypeError):
                await loop.sock_sendall(pair[0], "text")
            assert await loop.sock_recv(pair[0], 1 << 21) == b"def"
            await loop.sock_sendall(pair[0], memoryview(b"0123456789")[2:8:1])
            assert pair[1].recv(100) == b"234567"

        run(main())


class TestData:
    """No byte is lost, doubled or put out of order."""

    @pytest.mark.parametrize("kind_of_data", [bytes, bytearray, memoryview])
    def test_more_than_the_socket_takes(self, loop, run, pair, kind_of_data):
        data = os.urandom(3_000_000)

        async def main():
            sending = loop.create_task(loop.sock_sendall(pair[0], kind_of_data(data)))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(pair[1], 100_000)
            await sending
            assert received == data

        run(main())

    def test_a_buffer_that_is_being_sent_keeps_its_size(self, loop, run, pair):
        async def main():
            data = bytearray(3_000_000)
            sending = loop.create_task(loop.sock_sendall(pair[0], data))
            await turns(2)
            with pytest.raises(BufferError):
                data.append(1)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            del sending
            gc.collect()
            data.append(1)

        run(main())

    def test_requests_in_pieces(self, loop, run, pair):
        """Short reads, full reads, data before and after the wait."""

        async def main():
            for size in (1, 2, 3, 4, 5):
                pair[1].send(b"abc")
                got = b""
                while len(got) < 3:
                    got += await loop.sock_recv(pair[0], size)
                assert got == b"abc"
                receiving = loop.create_task(loop.sock_recv(pair[0], size))
                await turns(2)
                pair[1].send(b"x")
                assert await receiving == b"x"

        run(main())

    def test_end(self, loop, run, pair, receive):
        async def main():
            pair[1].send(b"abc")
            await loop.sock_recv(pair[0], 10)
            receiving = loop.create_task(receive(loop, pair[0]))
            await turns(2)
            pair[1].shutdown(socket.SHUT_WR)
            assert not await receiving or (await receiving)[0] in (b"", 0)
            for _ in range(3):
                assert await loop.sock_recv(pair[0], 10) == b""

        run(main())

    def test_data_and_end_together(self, loop, run, pair):
        async def main():
            receiving = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(2)
            pair[1].send(b"last")
            pair[1].close()
            assert await receiving == b"last"
            assert await loop.sock_recv(pair[0], 10) == b""

        run(main())


class TestErrors:
    """The same exceptions, from the same places."""

    def test_closed_socket(self, loop, run, receive):
        async def main():
            ours, theirs = socket.socketpair()
            theirs.close()
            ours.setblocking(False)
            ours.close()
            with pytest.raises(OSError) as info:
                await receive(loop, ours)
            assert info.value.errno == 9
            with pytest.raises(OSError):
                await loop.sock_sendall(ours, b"x")

        run(main())

    def test_broken_pipe(self, loop, run, pair):
        async def main():
            pair[1].close()
            with pytest.raises(BrokenPipeError) as info:
                await loop.sock_sendall(pair[0], b"x")
            assert info.value.strerror == "Broken pipe"

        run(main())

    def test_reset(self, loop, run):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setblocking(False)
                theirs = socket.create_connection(listener.getsockname())
                ours, _ = await loop.sock_accept(listener)
            with ours:
                assert ours.gettimeout() == 0
                receiving = loop.create_task(loop.sock_recv(ours, 10))
                await turns(2)
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                theirs.close()
                with pytest.raises(ConnectionResetError):
                    await receiving

        run(main())

    def test_blocking_socket_in_debug_mode(self, loop, run, pair, receive):
        async def main():
            loop.set_debug(True)
            pair[0].setblocking(True)
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await receive(loop, pair[0])
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_sendall(pair[0], b"x")

        run(main())

    @pytest.mark.velodrome_only
    def test_blocking_socket_does_not_block(self, loop, run, pair):
        async def main():
            pair[0].setblocking(True)
            loop.call_later(0.01, pair[1].send, b"x")
            assert await loop.sock_recv(pair[0], 10) == b"x"

        run(main())

    def test_descriptor_of_a_transport(self, loop, run, pair):
        async def main():
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=pair[0])
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(pair[0], 10)
            transport.close()
            await turns(3)

        run(main())


class TestFairness:
    """A task that always finds data lets the others run."""

    @pytest.mark.velodrome_only
    def test_flooded_reader(self, loop, run, pair):
        async def main():
            for _ in range(100):
                pair[1].send(b"x")
            ticks = 0

            async def others():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            task = loop.create_task(others())
            for _ in range(100):
                assert await loop.sock_recv(pair[0], 1) == b"x"
            assert 1 <= ticks <= 4
            task.cancel()

        run(main())

    def test_data_that_is_there_suspends_nobody(self, loop, run, pair):
        async def main():
            pair[1].send(b"abc")
            loop.call_soon(pair[0].close)
            assert await loop.sock_recv(pair[0], 1) == b"a"
            await loop.sock_sendall(pair[0], b"x")
            assert await loop.sock_recv(pair[0], 1) == b"b"

        run(main())


class TestCancellation:
    """Whenever it comes, nothing stays registered and nothing is lost."""

    def test_while_waiting(self, loop, run, pair, receive):
        async def main():
            task = loop.create_task(receive(loop, pair[0]))
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not loop.remove_reader(pair[0])
            pair[1].send(b"abc")
            assert await loop.sock_recv(pair[0], 10) == b"abc"

        run(main())

    @pytest.mark.velodrome_only
    @pytest.mark.parametrize("when", range(4))
    def test_while_data_arrives(self, loop, run, pair, when):
        async def main():
            task = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(3)
            pair[1].send(b"abc")
            await turns(when)
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, asyncio.CancelledError):
                assert await loop.sock_recv(pair[0], 10) == b"abc"
            else:
                assert result == b"abc"

        run(main())

    def test_while_sending(self, loop, run, pair):
        async def main():
            until_blocked(pair[0])
            task = loop.create_task(loop.sock_sendall(pair[0], b"x" * 1000))
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not loop.remove_writer(pair[0])
            drain(pair[1])

        run(main())

    def test_of_a_socket_that_is_gone(self, loop, run, pair):
        """The number belongs to somebody else by the time the cancellation arrives."""

        async def main():
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            task = loop.create_task(loop.sock_recv(ours, 10))
            await turns(2)
            loop.remove_reader(ours)
            number = ours.fileno()
            task.cancel()
            ours.close()
            theirs.close()
            again, other = socket.socketpair()
            with again, other:
                assert number in (again.fileno(), other.fileno())
                found = []
                loop.add_reader(number, lambda: found.append(1))
                with pytest.raises(asyncio.CancelledError):
                    await task
                (other if again.fileno() == number else again).send(b"x")
                await asyncio.sleep(0.01)
                assert found
                assert loop.remove_reader(number)

        run(main())

    def test_task_that_is_forgotten(self, loop, run, pair):
        async def main():
            operation = loop.sock_recv(pair[0], 10)
            operation.send(None)
            del operation
            gc.collect()
            pair[1].send(b"abc")
            assert await loop.sock_recv(pair[0], 10) == b"abc"

        run(main())


class TestWatches:
    """Who watches a descriptor last, watches it."""

    def test_a_reader_replaces_an_operation(self, loop, run, pair):
        async def main():
            task = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(2)
            found = []
            loop.add_reader(pair[0], lambda: found.append(pair[0].recv(10)))
            pair[1].send(b"abc")
            await asyncio.sleep(0.01)
            assert (found, task.done()) == ([b"abc"], False)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            pair[1].send(b"def")
            await asyncio.sleep(0.01)
            assert found == [b"abc", b"def"]
            assert loop.remove_reader(pair[0])

        run(main())

    def test_an_operation_replaces_a_reader(self, loop, run, pair):
        async def main():
            found = []
            loop.add_reader(pair[0], lambda: found.append(1))
            task = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(2)
            pair[1].send(b"abc")
            assert await task == b"abc"
            assert found == []
            assert not loop.remove_reader(pair[0])

        run(main())

    def test_reading_and_writing_at_once(self, loop, run, pair):
        async def main():
            until_blocked(pair[0])
            sending = loop.create_task(loop.sock_sendall(pair[0], b"end"))
            receiving = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(3)
            pair[1].send(b"abc")
            assert await receiving == b"abc"
            assert not sending.done()
            receiving = loop.create_task(loop.sock_recv(pair[0], 10))
            drain(pair[1])
            await sending
            assert pair[1].recv(10) == b"end"
            pair[1].send(b"def")
            assert await receiving == b"def"

        run(main())

    def test_a_writer_beside_an_operation(self, loop, run, pair):
        async def main():
            receiving = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(2)
            wrote = loop.create_future()
            loop.add_writer(pair[0], lambda: wrote.done() or wrote.set_result(None))
            await wrote
            assert loop.remove_writer(pair[0])
            pair[1].send(b"abc")
            assert await receiving == b"abc"

        run(main())

    def test_a_transport_takes_over(self, loop, run, pair):
        async def main():
            task = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(2)
            pair[1].send(b"abc")
            assert await task == b"abc"
            reader, writer = await asyncio.open_connection(sock=pair[0])
            pair[1].send(b"def")
            assert await reader.read(10) == b"def"
            writer.close()
            await writer.wait_closed()

        run(main())

    def test_the_same_number_for_another_socket(self, loop, run):
        async def main():
            for _ in range(5):
                ours, theirs = socket.socketpair()
                ours.setblocking(False)
                with ours, theirs:
                    task = loop.create_task(loop.sock_recv(ours, 10))
                    await turns(2)
                    theirs.send(b"abc")
                    assert await task == b"abc"

        run(main())

    def test_a_dropped_socket_closes(self, loop, run):
        async def main():
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            task = loop.create_task(loop.sock_recv(ours, 10))
            await turns(2)
            theirs.send(b"abc")
            assert await task == b"abc"
            sockets, gone = [ours], weakref.ref(ours)
            del task, ours
            with pytest.warns(ResourceWarning):
                sockets.clear()
            assert gone() is None
            assert theirs.recv(1) == b""
            theirs.close()

        run(main())

    def test_data_while_nobody_waits_is_no_spin(self, loop, run, pair):
        async def main():
            task = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(2)
            pair[1].send(b"abc")
            assert await task == b"abc"
            pair[1].send(b"def")
            await idles()
            assert await loop.sock_recv(pair[0], 10) == b"def"

        run(main())

    def test_a_closed_socket_with_a_duplicate_is_no_spin(self, loop, run, pair):
        """The kernel goes on reporting the open file, of which we have no number any more."""
        if os.environ.get("VELODROME_DRIVER") == "portable":
            pytest.skip("a flaw of epoll that only its own driver heals")

        async def main():
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            task = loop.create_task(loop.sock_recv(ours, 10))
            await turns(2)
            theirs.send(b"abc")
            assert await task == b"abc"
            with ours.dup() as duplicate, theirs:
                ours.close()
                theirs.send(b"for the duplicate")
                await idles()
                # Others are still served.
                task = loop.create_task(loop.sock_recv(pair[0], 10))
                await turns(2)
                pair[1].send(b"x")
                assert await task == b"x"
                # And the bell is heard.
                rung = loop.create_future()
                with beside(loop.call_soon_threadsafe, rung.set_result, None, after=0.01):
                    await rung
                assert duplicate.recv(100) == b"for the duplicate"

        run(main())

    def test_closing_the_loop(self, new_loop):
        loop = new_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            operation = loop.sock_recv(ours, 10)

            async def main():
                operation.send(None)

            loop.run_until_complete(main())
            loop.close()
            operation.close()
            theirs.send(b"abc")
            assert ours.recv(10) == b"abc"
