"""dask.distributed: a scheduler and two workers, each a process on the loop, and a client that computes.

python smoke_distributed.py             the programs have the loop from their launcher
python smoke_distributed.py uvloop      they are told to take uvloop, and a nanny starts each worker
"""

import contextlib
import os
import sys

import stage
from dask import array
from distributed import Client

UVLOOP = sys.argv[1:] == ["uvloop"]
WORKERS = 2

os.environ["DASK_DISTRIBUTED__ADMIN__EVENT_LOOP"] = "uvloop" if UVLOOP else "asyncio"
os.environ["DASK_LOGGING__DISTRIBUTED"] = "warning"


def command(role, *options):
    launch = stage.program_of_uvloop if UVLOOP else stage.program
    # The dashboard wants a package of its own.
    return launch("-m", f"distributed.cli.dask_{role}", "--no-dashboard", "--host", stage.LOCALHOST, *options)


def worker_command(scheduler, port):
    nanny = ("--nanny",) if UVLOOP else ("--no-nanny", "--worker-port", str(port))
    options = (*nanny, "--nanny-port" if UVLOOP else "--nthreads", str(port) if UVLOOP else "1")
    return command("worker", scheduler, *options)


def main():
    port = stage.free_port()
    scheduler = f"tcp://{stage.LOCALHOST}:{port}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(stage.running(command("scheduler", "--port", str(port)), port))
        for _ in range(WORKERS):
            worker_port = stage.free_port()
            stack.enter_context(stage.running(worker_command(scheduler, worker_port), worker_port))
        with Client(scheduler, timeout=stage.PATIENCE) as client:
            client.wait_for_workers(WORKERS, timeout=stage.PATIENCE)
            compute(client)


def compute(client):
    assert client.run_on_scheduler(stage.kind) == stage.LOOP
    assert list(client.run(stage.kind).values()) == [stage.LOOP] * WORKERS
    assert client.gather(client.map(lambda number: number * 2, range(500))) == [n * 2 for n in range(500)]
    squares = array.arange(1_000_000, chunks=50_000) ** 2
    assert squares.sum().compute() == sum(n * n for n in range(1_000_000))
    # What one worker has made, the other one takes.
    big = client.submit(lambda: b"x" * 5_000_000, workers=list(client.nthreads())[:1])
    assert client.submit(len, big, workers=list(client.nthreads())[1:]).result() == 5_000_000


if __name__ == "__main__":
    main()
