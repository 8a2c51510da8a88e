"""Who awaits whom: what asyncio shows of the tasks of a loop, from within and from another process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from conftest import TESTS, run_python, turns

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs are new in 3.14")


async def leaf(event):
    await event.wait()


async def branch(event):
    await asyncio.gather(leaf(event), leaf(event))


def test_a_call_graph(run, loop):
    async def main():
        event = asyncio.Event()
        task = loop.create_task(branch(event), name="branch")
        await turns(3)
        leaves = [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "leaf"]
        for found in leaves:
            graph = asyncio.capture_call_graph(found)
            assert [entry.frame.f_code.co_name for entry in graph.call_stack] == ["wait", "leaf"]
            assert [awaiter.future for awaiter in graph.awaited_by] == [task]
        assert "branch" in asyncio.format_call_graph(leaves[0])
        event.set()
        await task

    run(main())


def test_what_waits_for_a_stream(run):
    """A native coroutine ends the stack: its frame is nobody's."""

    async def main():
        async def handle(reader, writer):
            await reader.read()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

        async def wait():
            await reader.readline()

        task = asyncio.create_task(wait())
        await turns(2)
        graph = asyncio.capture_call_graph(task)
        names = [entry.frame.f_code.co_name for entry in graph.call_stack]
        assert names[-1] == "wait"
        writer.write_eof()
        await task
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())


WAITING = """
import asyncio, ctypes, functools, sys
from kinds import KINDS

# Where a process may look into its own children only (Yama), this one lets everybody look.
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)
ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY)

async def leaf():
    await asyncio.Event().wait()

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="first leaf")
        group.create_task(leaf(), name="second leaf")
        # After the leaves' first steps.
        asyncio.get_running_loop().call_soon(functools.partial(print, "waiting", flush=True))

loop = KINDS[sys.argv[1]]()
loop.run_until_complete(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another process is looked into as Linux does it")
@pytest.mark.parametrize("how", ["ps", "pstree"])
def test_another_process_looks_on(tmp_path, kind, how):
    """python -m asyncio ps PID, pstree PID."""
    path = tmp_path / "waiting.py"
    path.write_text(WAITING)
    arguments = [sys.executable, str(path), kind]
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout.readline() == b"waiting\n"
            looked = run_python("-m", "asyncio", how, str(process.pid))
        finally:
            process.kill()
    if "ermission" in looked.stderr:
        pytest.skip("this machine lets no process look into another")
    assert looked.returncode == 0, looked.stderr
    assert "first leaf" in looked.stdout and "second leaf" in looked.stdout
    assert "main" in looked.stdout
