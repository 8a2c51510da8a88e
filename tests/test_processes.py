"""Child processes: spawned by the standard library, watched and signalled by pidfd."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE, turns, until
from kinds import KINDS

PIPE = asyncio.subprocess.PIPE
DEVNULL = asyncio.subprocess.DEVNULL

# asyncio's own watcher of 3.11 waits on a thread, so that who reaps a child in the test competes with it.
COMPETES = sys.version_info < (3, 12)
HAS_WATCHERS = sys.version_info < (3, 14)


def python(source: str) -> tuple[str, ...]:
    """The command that runs a program, with as little of a start as there is."""
    return sys.executable, "-SIc", source


async def output(*command: str, **options: Any) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, **options)
    out, _ = await process.communicate()
    return process.returncode, out


class Noted(asyncio.SubprocessProtocol):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.events.append(("data", fd, data))

    def pipe_connection_lost(self, fd: int, exc: BaseException | None) -> None:
        self.events.append(("pipe lost", fd, exc))

    def process_exited(self) -> None:
        self.events.append("exited")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append(("lost", exc))
        self.lost.set_result(None)


@pytest.fixture(autouse=True)
def no_child_outlives_a_test() -> Iterator[None]:
    yield
    gc.collect()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def without_pidfd(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A kernel that has none, or forbids it."""
    if kind == "velodrome":
        from velodrome import _processes

        def refuse(loop: Any, pid: int) -> Any:
            return _processes._ByNumber(pid)

        monkeypatch.setattr(_processes, "_take_charge", refuse)


# -- what asyncio promises


def test_what_goes_in_and_comes_out(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            *python(
                "import sys; print(sys.stdin.read().upper(), end=''); sys.stderr.write('e'); sys.exit(3)"
            ),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert await process.communicate(b"abc") == (b"ABC", b"e")
        assert process.returncode == 3 == await process.wait()

    run(main())


def test_a_shell_runs_what_it_is_told(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("echo $((40 + 2)); exit 5", stdout=PIPE)
        assert await process.communicate() == (b"42\n", None)
        assert process.returncode == 5

    run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_who_dies_of_a_signal_has_its_number_negative(run, number: int) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        process.send_signal(number)
        assert await process.wait() == -number

    run(main())


def test_terminate_and_kill(run) -> None:
    async def main() -> None:
        for end, number in (("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)):
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
            getattr(process, end)()
            assert await process.wait() == -number

    run(main())


def test_signal_0_asks_whether_there_is_such_a_process(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        process.send_signal(0)
        assert process.returncode is None
        process.kill()
        await process.wait()

    run(main())


def test_what_is_no_signal_is_refused(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        with pytest.raises(OSError, match="Invalid argument"):
            process.send_signal(1000)
        with pytest.raises(TypeError):
            process.send_signal("TERM")  # type: ignore[arg-type]
        process.kill()
        await process.wait()

    run(main())


def test_who_is_gone_cannot_be_signalled(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
        # The transport lets go of it in connection_lost(), which may be queued still.
        await turns(2)
        for send in (process.kill, process.terminate, lambda: process.send_signal(signal.SIGTERM)):
            with pytest.raises(ProcessLookupError):
                send()

    run(main())


def test_the_order_of_events(run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            Noted, *python("import os; os.write(1, b'x'); os.write(2, b'y')"), stdin=None
        )
        await protocol.lost
        events = protocol.events
        assert events[0] == "made"
        assert events[-1] == ("lost", None)
        for fd, data in ((1, b"x"), (2, b"y")):
            assert events.index(("data", fd, data)) < events.index(("pipe lost", fd, None))
        assert "exited" in events
        assert len(events) == 7
        assert transport.get_returncode() == 0
        transport.close()

    run(main())


def test_the_transport_tells_of_the_child(run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Noted, "cat", stderr=None)
        popen = transport.get_extra_info("subprocess")
        assert isinstance(popen, subprocess.Popen)
        assert popen.pid == transport.get_pid()
        assert popen.poll() is None
        assert f"pid={popen.pid}" in repr(transport)
        assert repr(popen) == "<Popen: returncode: None args: ('cat',)>"
        for fd in (0, 1):
            pipe = transport.get_pipe_transport(fd)
            assert pipe.get_extra_info("pipe") is (popen.stdin, popen.stdout)[fd]
        assert transport.get_pipe_transport(2) is None
        assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        transport.get_pipe_transport(0).write(b"abc")
        transport.get_pipe_transport(0).close()
        await protocol.lost
        assert ("data", 1, b"abc") in protocol.events
        assert popen.returncode == 0
        transport.close()

    run(main())


def test_every_keyword_of_popen_passes(run, tmp_path: Path) -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        try:
            source = (
                "import os; print(os.getcwd(), os.environ['A'], os.umask(0), os.getsid(0) == os.getpid(), "
                f"os.write({writer}, b'passed'))"
            )
            status, out = await output(
                *python(source),
                cwd=tmp_path,
                env={"A": "b"},
                umask=0o27,
                start_new_session=True,
                pass_fds=(writer,),
                restore_signals=False,
                close_fds=True,
            )
            assert status == 0
            assert out.decode() == f"{tmp_path.resolve()} b {0o27} True 6\n"
            assert os.read(reader, 10) == b"passed"
        finally:
            os.close(reader)
            os.close(writer)

    run(main())


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_child_may_be_somebody_else(run) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"user": 1, "group": 2, "extra_groups": [3], "cwd": "/"}
        assert await output("sh", "-c", "id -u; id -g; id -G", **options) == (0, b"1\n2\n2 3\n")

    run(main())


def test_process_group_and_preexec_fn(run, tmp_path: Path) -> None:
    async def main() -> None:
        source = "import os; print(os.getpgrp() == os.getpid())"
        assert await output(*python(source), process_group=0) == (0, b"True\n")
        mark = tmp_path / "mark"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert (await output("true", preexec_fn=mark.touch))[0] == 0
        assert mark.exists()

    run(main())


def test_an_exception_in_preexec_fn_is_told(run) -> None:
    async def main() -> None:
        def fail() -> None:
            raise ValueError("in the child")

        with pytest.raises(subprocess.SubprocessError):
            await output("true", preexec_fn=fail)

    run(main())


def test_what_cannot_be_is_refused_before_anything_happens(run) -> None:
    async def main() -> None:
        for options in ({"universal_newlines": True}, {"text": True}, {"encoding": "utf8"}, {"bufsize": 1}):
            with pytest.raises(ValueError, match="must be"):
                await output("true", **options)

    run(main())


def test_the_same_file_for_both_outputs(run) -> None:
    async def main() -> None:
        source = "import os; os.write(1, b'o'); os.write(2, b'e')"
        assert await output(*python(source), stderr=asyncio.subprocess.STDOUT) == (0, b"oe")

    run(main())


# -- streams


def test_output_by_lines_and_otherwise(run) -> None:
    async def main() -> None:
        source = (
            "import sys; sys.stdout.write('one\\ntwo\\n' + 'x' * 1000 + ';rest'); sys.stderr.write('err')"
        )
        process = await asyncio.create_subprocess_exec(*python(source), stdout=PIPE, stderr=PIPE, limit=100)
        assert process.stdout is not None
        assert process.stderr is not None
        assert await process.stdout.readline() == b"one\n"
        assert await process.stdout.readuntil(b"\n") == b"two\n"
        with pytest.raises(asyncio.LimitOverrunError):
            await process.stdout.readuntil(b";")
        assert await process.stdout.readexactly(1001) == b"x" * 1000 + b";"
        with pytest.raises(asyncio.IncompleteReadError):
            await process.stdout.readexactly(5)
        assert process.stdout.at_eof()
        assert await process.stderr.read() == b"err"
        assert await process.wait() == 0

    run(main())


def test_a_child_that_is_not_listened_to_has_to_wait(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            *python("import os\nfor _ in range(100): os.write(1, bytes(100_000))"), stdout=PIPE, limit=1000
        )
        assert process.stdout is not None
        pipe = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        await until(lambda: not pipe.is_reading())
        assert process.returncode is None
        assert len(await process.stdout.read()) > 6_000_000
        assert await process.wait() == 0

    run(main())


@pytest.mark.velodrome_only
def test_the_readers_of_a_child_are_native_unless_they_are_somebodys_own(run) -> None:
    from velodrome import _core

    class Own(asyncio.subprocess.SubprocessStreamProtocol):
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        process = await asyncio.create_subprocess_exec("true", stdout=PIPE, stderr=PIPE)
        assert type(process.stdout) is type(process.stderr) is _core.StreamReader
        await process.communicate()
        transport, protocol = await loop.subprocess_exec(lambda: Own(limit=100, loop=loop), "true")
        assert type(protocol.stdout) is asyncio.StreamReader
        await transport._wait()
        transport.close()

    run(main())


# -- pitfall 27


def test_pitfall_27_standard_streams_are_pipes(run) -> None:
    async def main() -> None:
        # Where they were sockets, /dev/stdout could not be opened.
        source = "import os, stat; print([stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in (0, 1, 2)])"
        process = await asyncio.create_subprocess_exec(*python(source), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert await process.communicate() == (b"[True, True, True]\n", b"")
        process = await asyncio.create_subprocess_shell("echo hello > /dev/stdout", stdout=PIPE)
        assert await process.communicate() == (b"hello\n", None)

    run(main())


def test_pitfall_27_a_child_inherits_no_descriptor_and_no_state_of_signals(run) -> None:
    async def main() -> None:
        source = (
            "import os, signal; "
            "print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], "
            "signal.pthread_sigmask(signal.SIG_BLOCK, []), "
            "[signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGXFSZ, signal.SIGTERM)])"
        )
        ours = (await output(*python(source), stdin=DEVNULL))[1]
        theirs = subprocess.run(
            python(source), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True
        ).stdout
        assert ours == theirs

    run(main())


# -- pitfalls 24 and 25


@pytest.mark.velodrome_only
def test_pitfall_24_a_signal_after_the_child_was_reaped_reaches_nobody(run, monkeypatch) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
        os.kill(process.pid, signal.SIGKILL)
        # Reaped behind everybody's back: the number is free.
        os.waitpid(process.pid, 0)
        sent: list[Any] = []
        monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
        for send in (
            process.kill,
            process.terminate,
            popen.kill,
            lambda: process.send_signal(signal.SIGUSR1),
        ):
            send()
        assert not sent
        assert await process.wait() == 255

    run(main())


@pytest.mark.velodrome_only
def test_pitfall_24_no_signal_goes_by_number(run, monkeypatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(os, "kill", None)
        for end in ("kill", "terminate"):
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
            getattr(process, end)()
            assert await process.wait() < 0
        transport, protocol = await asyncio.get_running_loop().subprocess_exec(Noted, "cat")
        transport.close()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL

    run(main())


@pytest.mark.velodrome_only(when=COMPETES)
def test_pitfall_24_who_polls_the_popen_object_takes_nothing_from_the_loop(run, kind, monkeypatch) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*python("raise SystemExit(7)"))
        popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
        # In between the loop does not turn, so it hears of the end only afterwards.
        assert popen.wait() == 7
        assert popen.poll() == 7
        # asyncio's watchers find the child reaped, and do not know.
        assert await process.wait() == (7 if kind == "velodrome" else 255)

    run(main())


async def reaped_by_somebody_else() -> int:
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    assert await process.wait() == 255
    return process.pid


@pytest.mark.velodrome_only(when=COMPETES)
def test_a_child_that_somebody_else_reaps(run, caplog) -> None:
    async def main() -> None:
        assert str(await reaped_by_somebody_else()) in caplog.text

    run(main())


def test_sigchld_may_be_ignored(run) -> None:
    async def main() -> None:
        # The kernel then reaps children by itself.
        process = await asyncio.create_subprocess_exec(*python("raise SystemExit(7)"))
        assert await process.wait() == 255

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        run(main())
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.velodrome_only
def test_pitfall_25_the_pidfd_is_closed_when_reaping_fails(run) -> None:
    async def main() -> None:
        before = pidfds()
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        assert len(pidfds()) == len(before) + 1
        process.kill()
        os.waitpid(process.pid, 0)
        assert await process.wait() == 255
        assert pidfds() == before

    run(main())


def pidfds() -> list[str]:
    return [
        fd
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}") and "pidfd" in os.readlink(f"/proc/self/fd/{fd}")
    ]


# -- pitfall 26, and other failures


def test_pitfall_26_a_spawn_that_fails_leaves_nothing(run, tmp_path: Path) -> None:
    async def main() -> None:
        before = sorted(os.listdir("/proc/self/fd"))
        no_program = tmp_path / "none"
        with pytest.raises(FileNotFoundError, match="none"):
            await output(str(no_program), stdin=PIPE)
        no_program.touch()
        with pytest.raises(PermissionError):
            await output(str(no_program), stdin=PIPE)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            await output("true", stdin=PIPE, cwd=tmp_path / "nowhere")
        with pytest.raises(ValueError, match="null byte"):
            await output("tr\0ue", stdin=PIPE)
        gc.collect()
        assert sorted(os.listdir("/proc/self/fd")) == before

    run(main())


@pytest.mark.velodrome_only
def test_pitfall_26_a_child_that_cannot_be_watched_does_not_live(run, without_pidfd, monkeypatch) -> None:
    from velodrome import _processes

    def no_thread(transport: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        before = sorted(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(_processes, "_wait_on_a_thread", no_thread)
        with pytest.raises(RuntimeError, match="thread"):
            await output("cat", stdin=PIPE)
        # The pipes were about to be connected, and end by the child's end.
        await until(lambda: sorted(os.listdir("/proc/self/fd")) == before)

    run(main())


def test_a_cancelled_spawn_leaves_no_child(run) -> None:
    async def main() -> None:
        for after in range(4):
            task = asyncio.ensure_future(asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE))
            for _ in range(after):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_cancelling_communicate_and_wait(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        for wait in (process.wait, process.communicate):
            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(main())


def test_closing_the_transport_ends_the_child(run) -> None:
    async def main() -> None:
        transport, protocol = await asyncio.get_running_loop().subprocess_exec(Noted, "cat")
        transport.close()
        transport.close()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL
        assert protocol.events[-1] == ("lost", None)

    run(main())


# -- scenarios 40 and 41


def test_scenario_40_sixty_children_a_fifth_of_them_killed(run) -> None:
    async def one(number: int) -> None:
        process = await asyncio.create_subprocess_shell(
            f"read line; exit {number}", stdin=PIPE, stdout=DEVNULL
        )
        if number % 5 == 0:
            process.kill()
            assert await process.wait() == -signal.SIGKILL
        else:
            await process.communicate(b"go\n")
            assert process.returncode == number

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        await asyncio.gather(*map(one, range(60)))
        assert len(os.listdir("/proc/self/fd")) == before

    run(main())


@pytest.mark.velodrome_only
def test_two_hundred_at_once(loop) -> None:
    async def main() -> None:
        children = [await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE) for _ in range(200)]
        assert len(pidfds()) == 200
        outs = await asyncio.gather(*(child.communicate(b"%d" % n) for n, child in enumerate(children)))
        assert [int(out) for out, _ in outs] == list(range(200))
        assert {child.returncode for child in children} == {0}
        assert not pidfds()

    loop.run_until_complete(asyncio.wait_for(main(), 3 * DEADLINE))


def test_scenario_41_a_child_that_reads_nothing(run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*python("import os; os.close(0)"), stdin=PIPE)
        assert process.stdin is not None
        # communicate() forgives a broken pipe, and so does close().
        await process.communicate(b"x" * 1_000_000)
        assert process.returncode == 0

    run(main())


def test_scenario_41_ten_megabytes(run) -> None:
    async def main() -> None:
        status, out = await output(
            *python("import os\nfor n in range(100): os.write(1, bytes([n]) * 100_000)")
        )
        assert status == 0
        # A short write of the child's is its own affair, but no byte is lost or out of order.
        assert out == b"".join(bytes([n]) * out.count(bytes([n])) for n in range(100))
        assert len(out) > 6_000_000

    run(main())


def test_scenario_41_a_grandchild_keeps_the_pipe(run) -> None:
    async def main() -> None:
        transport, protocol = await asyncio.get_running_loop().subprocess_shell(
            Noted, "cat <&0 >/dev/null & exit 4", stderr=None
        )
        await until(lambda: "exited" in protocol.events)
        # `cat` of the background has the standard output of nobody, but `sh` left it our input.
        assert transport.get_returncode() == 4
        transport.close()
        await protocol.lost

    run(main())


# -- threads, loops, watchers


def test_a_loop_in_a_thread_has_children_without_a_loop_in_the_main_thread(kind: str) -> None:
    results: list[Any] = []

    def work(number: int) -> None:
        with asyncio.Runner(loop_factory=KINDS[kind]) as runner:
            results.append(runner.run(output(*python(f"print({number}); raise SystemExit({number})"))))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(number, b"%d\n" % number) for number in range(4)]


@pytest.mark.velodrome_only(when=COMPETES)
def test_without_pidfds_a_thread_waits(run, without_pidfd) -> None:
    async def main() -> None:
        assert await output(*python("print(1); raise SystemExit(3)")) == (3, b"1\n")
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        process.terminate()
        assert await process.wait() == -signal.SIGTERM
        await reaped_by_somebody_else()
        transport, protocol = await asyncio.get_running_loop().subprocess_exec(Noted, "cat")
        transport.close()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL

    run(main())


@pytest.mark.velodrome_only
@pytest.mark.parametrize("pidfd", [True, False])
def test_a_loop_that_closes_before_its_child_ends(
    new_loop: Callable[[], Any], pidfd: bool, request: pytest.FixtureRequest
) -> None:
    if not pidfd:
        request.getfixturevalue("without_pidfd")
    loop = new_loop()

    async def main() -> Any:
        return await loop.subprocess_exec(Noted, "sleep", "100", stdin=None, stdout=None, stderr=None)

    transport, _ = loop.run_until_complete(main())
    popen = transport.get_extra_info("subprocess")
    loop.close()
    popen.kill()
    # A thread that waited has found no loop to tell, and reaped the child itself.
    for thread in threading.enumerate():
        if "waitpid" in thread.name:
            thread.join(DEADLINE)
    assert popen.wait() == -signal.SIGKILL
    transport.close()


@pytest.mark.velodrome_only
def test_no_descriptor_left_for_a_pidfd(run, monkeypatch) -> None:
    import velodrome

    def exhausted(loop: Any, pid: int) -> Any:
        raise OSError(24, "Too many open files")

    async def main() -> None:
        monkeypatch.setattr(velodrome.EventLoop, "_open_child", exhausted, raising=False)
        assert await output(*python("raise SystemExit(3)")) == (3, b"")

    run(main())


@pytest.mark.skipif(not HAS_WATCHERS, reason="3.14 has no child watchers")
def test_a_child_watcher_that_the_program_has_set_is_used(run, loop) -> None:
    calls: list[Any] = []

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        class Watcher(asyncio.ThreadedChildWatcher):
            def add_child_handler(self, pid: int, callback: Any, *args: Any) -> None:
                calls.append((pid, args))
                super().add_child_handler(pid, callback, *args)

        asyncio.set_child_watcher(Watcher())
    try:
        run(watched(calls))
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_child_watcher(None)


async def watched(calls: list[Any]) -> None:
    process = await asyncio.create_subprocess_exec(*python("raise SystemExit(3)"))
    assert [pid for pid, _ in calls] == [process.pid]
    assert await process.wait() == 3


@pytest.mark.skipif(not HAS_WATCHERS, reason="3.14 has no child watchers")
def test_an_inactive_watcher_forbids_children(run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_child_watcher(asyncio.SafeChildWatcher())
    try:
        with pytest.raises(RuntimeError, match="not activated"):
            run(output("true"))
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_child_watcher(None)


@pytest.mark.skipif(not HAS_WATCHERS, reason="3.14 has no child watchers")
@pytest.mark.velodrome_only
def test_a_default_watcher_is_no_choice(run, monkeypatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        watcher = asyncio.get_child_watcher()
        monkeypatch.setattr(watcher, "add_child_handler", None)
    try:
        assert run(output(*python("raise SystemExit(3)"))) == (3, b"")
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_child_watcher(None)


def test_a_popen_of_ones_own(run, monkeypatch) -> None:
    class Own(subprocess.Popen):  # type: ignore[type-arg]
        """What a tracer puts in the place of the standard library's."""

    monkeypatch.setattr(subprocess, "Popen", Own)

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
        assert type(popen) is Own
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(main())


@pytest.mark.velodrome_only(when=COMPETES)
def test_a_finished_child_is_not_kept(run) -> None:
    async def main() -> Any:
        process = await asyncio.create_subprocess_exec("true", stdout=PIPE)
        await process.communicate()
        return weakref.ref(process), weakref.ref(process._transport)  # type: ignore[attr-defined]

    process, transport = run(main())
    gc.collect()
    assert process() is None
    assert transport() is None
