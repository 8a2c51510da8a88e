"""Memory of one idle connection pair: `idle.py LOOP [--tls PEM]` prints kilobytes as JSON.

Both ends live in this process, on this loop; the first pairs, which fill the allocators, are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import pathlib
import re
import resource
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "servers"))

from kinds import HOST, port_of
from loops import MODULES, factory
from server import server_context


class Quiet(asyncio.Protocol):
    __slots__ = ()


def resident_kb() -> int:
    gc.collect()
    return int(re.search(r"Rss:\s+(\d+)", pathlib.Path("/proc/self/smaps_rollup").read_text())[1])


def client_context(certificate: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


async def pairs(count: int, port: int, context: ssl.SSLContext | None) -> list[object]:
    loop = asyncio.get_running_loop()
    name = "localhost" if context else None
    opened = [
        await loop.create_connection(Quiet, HOST, port, ssl=context, server_hostname=name)
        for _ in range(count)
    ]
    await asyncio.sleep(0.2)
    return opened


async def measure(options: argparse.Namespace) -> float:
    theirs = server_context(options.tls) if options.tls else None
    ours = client_context(options.tls) if options.tls else None
    server = await asyncio.get_running_loop().create_server(Quiet, HOST, 0, ssl=theirs, backlog=1024)
    first = await pairs(options.pairs // 2, port_of(server), ours)
    before = resident_kb()
    second = await pairs(options.pairs, port_of(server), ours)
    grown = resident_kb() - before
    assert len(first) + len(second) == options.pairs // 2 + options.pairs
    return grown / options.pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=sorted(MODULES))
    parser.add_argument("--tls", metavar="PEM")
    parser.add_argument("--pairs", type=int, default=2000)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = factory(options.loop)()
    asyncio.set_event_loop(loop)
    print(json.dumps({"pair_kb": loop.run_until_complete(measure(options))}), flush=True)


if __name__ == "__main__":
    main()
