"""pytest-asyncio over a few tests, with the loop it makes by itself and with one that the tests choose."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import stage

TESTS = """
    import asyncio, sys
    import pytest, pytest_asyncio
    import stage

    @pytest_asyncio.fixture(loop_scope="module", scope="module")
    async def server():
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()
        async with await asyncio.start_server(echo, stage.LOCALHOST) as server:
            yield server

    @pytest.mark.asyncio(loop_scope="module")
    @pytest.mark.parametrize("number", range(5))
    async def test_with_a_fixture(server, number):
        assert stage.kind() == stage.LOOP
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"%d\\n" % number)
        assert await reader.read() == b"%d\\n" % number
        writer.close()

    @pytest.mark.asyncio
    async def test_a_process():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=-1)
        assert (await process.communicate())[0] == b"1\\n"

    @pytest.mark.asyncio
    @pytest.mark.xfail(strict=True)
    async def test_that_fails():
        await asyncio.sleep(0)
        assert False
"""

CHOICE = """
    def pytest_asyncio_loop_factories():
        import velodrome
        return {"velodrome": velodrome.new_event_loop}
"""


def run_pytest(command, folder):
    path = os.pathsep.join([str(stage.HERE), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "PYTHONPATH": path}
    options = ("-q", "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function")
    done = subprocess.run([*command, *options], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    assert "6 passed, 1 xfailed" in done.stdout, done.stdout


def write(path, source):
    path.write_text("\n".join(line.removeprefix("    ") for line in source.splitlines()))


with tempfile.TemporaryDirectory() as folder:
    write(Path(folder, "test_sample.py"), TESTS)
    run_pytest(stage.program("-m", "pytest"), folder)
    if stage.LOOP == "velodrome":
        write(Path(folder, "conftest.py"), CHOICE)
        run_pytest([sys.executable, "-m", "pytest"], folder)
