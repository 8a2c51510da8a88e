"""What a review found: programs that crashed the process, or lost something."""

from __future__ import annotations

import asyncio
import sys

import pytest
from recorder import Recorder


def test_weak_references_to_handles_die_with_them(script, kind):
    done = script(
        """
        import sys, weakref
        from kinds import KINDS
        loop = KINDS[sys.argv[1]]()
        dead, references = [], []
        for schedule in (lambda: loop.call_soon(print), lambda: loop.call_later(1000, print)):
            handle = schedule()
            references.append(weakref.ref(handle, dead.append))
            handle.cancel()
            del handle
        loop.stop()
        loop.run_forever()
        loop.close()
        print(len(dead), [reference() for reference in references])
        """,
        kind,
    )
    assert done.stdout == "2 [None, None]\n"


def test_a_long_chain_of_handles(script, kind):
    """Each is the argument of the next, so the last one to go takes all others with it."""
    done = script(
        """
        import sys
        from kinds import KINDS
        loop = KINDS[sys.argv[1]]()
        handle = None
        for _ in range(300_000):
            handle = loop.call_soon(print, handle)
        loop.close()
        del handle
        print("survived")
        """,
        kind,
    )
    assert done.stdout == "survived\n"


def test_a_handle_that_runs_and_cancels_itself(script, kind):
    done = script(
        """
        import logging, sys
        from kinds import KINDS
        logging.disable()
        loop = KINDS[sys.argv[1]]()
        class Odd:
            def __getattr__(self, name):
                if name == "x":
                    handle._run()
                    handle.cancel()
                raise AttributeError(name)
        handle = loop.call_soon(getattr, Odd(), "x", object())
        loop.stop()
        loop.run_forever()
        loop.close()
        print("survived")
        """,
        kind,
    )
    assert done.stdout == "survived\n"


@pytest.mark.parametrize("place", ["main()", "t = threading.Thread(target=main); t.start(); t.join()"])
def test_system_exit_from_pause_writing_outside_a_run(script, kind, place):
    done = script(
        f"""
        import asyncio, socket, sys, threading
        from kinds import KINDS
        class Protocol(asyncio.Protocol):
            def pause_writing(self):
                raise SystemExit("now")
        def main():
            loop = KINDS[sys.argv[1]]()
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            transport = loop._make_socket_transport(ours, Protocol())
            loop.stop()
            loop.run_forever()
            try:
                transport.write(bytes(10_000_000))
            except SystemExit as error:
                print("raised", error)
            transport.abort()
            loop.stop()
            loop.run_forever()
            loop.close()
            theirs.close()
        {place}
        """,
        kind,
    )
    assert done.stdout == "raised now\n"


def test_transports_that_nobody_closed_are_warned_of_at_the_end(script, kind):
    done = script(
        """
        import asyncio, sys, warnings
        from kinds import KINDS
        warnings.simplefilter("always")
        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            return server, await loop.create_connection(asyncio.Protocol, *address)
        loop = KINDS[sys.argv[1]]()
        kept = loop.run_until_complete(main())
        """,
        kind,
    )
    assert done.stderr.count("ResourceWarning: unclosed transport") == 2
    assert "Exception ignored" not in done.stderr


def test_imported_again(script, kind):
    """Programs that purge sys.modules keep the loops they have."""
    done = script(
        """
        import sys
        from kinds import KINDS
        loop = KINDS[sys.argv[1]]()
        ran = []
        loop.call_soon(ran.append, 1)
        for name in [name for name in sys.modules if name.startswith("velodrome")]:
            del sys.modules[name]
        if sys.argv[1] == "velodrome":
            import velodrome
            again = velodrome.new_event_loop()
            again.call_soon(ran.append, 2)
            again.stop()
            again.run_forever()
            again.close()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        print(sorted(ran))
        """,
        kind,
    )
    assert done.stdout == ("[1, 2]\n" if kind == "velodrome" else "[1]\n")


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not share their set with a fork")
def test_a_forked_child_that_ends_in_an_ordinary_way(script, kind):
    """It closes the loop it inherited; the parent goes on hearing of its connection."""
    done = script(
        """
        import asyncio, os, socket, sys
        from kinds import KINDS
        loop = KINDS[sys.argv[1]]()
        got = []
        class Protocol(asyncio.Protocol):
            def data_received(self, data):
                got.append(data)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        # Not from within the loop: from 3.14 on it would not run on in the child, nor end.
        transport, _ = loop.run_until_complete(loop.connect_accepted_socket(Protocol, ours))
        child = os.fork()
        if not child:
            loop.close()
            sys.exit()
        os.waitpid(child, 0)
        async def main():
            theirs.send(b"heard")
            while not got:
                await asyncio.sleep(0.001)
            transport.close()
            theirs.close()
            print(got, flush=True)
        try:
            loop.run_until_complete(asyncio.wait_for(main(), 10))
        finally:
            loop.close()
        """,
        kind,
    )
    assert done.stdout == "[b'heard']\n"


@pytest.mark.velodrome_only  # asyncio leaves the refused connection to the collector
def test_a_server_that_closed_before_its_connection_was_made(run, loop):
    async def main():
        made = []

        def factory():
            server.close()
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        assert made[0].names == []
        writer.close()

    run(main())


def test_writing_to_a_dead_peer_after_the_loop_is_closed(script, kind):
    done = script(
        """
        import asyncio, gc, os, socket, sys, warnings
        from kinds import KINDS
        warnings.simplefilter("ignore")
        def once():
            loop = KINDS[sys.argv[1]]()
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            transport = loop._make_socket_transport(ours, asyncio.Protocol())
            loop.stop()
            loop.run_forever()
            theirs.close()
            loop.close()
            try:
                transport.write(b"x")
            except RuntimeError:
                pass
        def count():
            gc.collect()
            return len(os.listdir("/proc/self/fd"))
        once()
        before = count()
        for _ in range(10):
            once()
        print(count() - before)
        """,
        kind,
    )
    assert done.stdout == "0\n"


def test_a_socket_whose_number_is_huge(script, kind):
    """A number that names nothing is an error, and not a table as long as it is large."""
    done = script(
        """
        import asyncio, resource, socket, sys
        from kinds import KINDS
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        loop = KINDS[sys.argv[1]]()
        told = []
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        class Lying(socket.socket):
            def fileno(self):
                return 2**30
        async def main():
            sock = Lying()
            sock.setblocking(False)
            try:
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
                transport.abort()
            except OSError as error:
                told.append(error)
            sock.close()
            await asyncio.sleep(0.01)
        loop.run_until_complete(main())
        loop.close()
        print([error.errno for error in told])
        """,
        kind,
    )
    assert done.stdout == "[9]\n"
