"""Scheduling primitives on one loop: `primitives.py LOOP ROW...` prints CPU time per operation as JSON.

CPU, not time: with two threads, or a neighbour on the machine, time says little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "servers"))

from loops import MODULES, factory

BURST = 100_000


def nothing() -> None:
    pass


async def nothing_async() -> None:
    pass


class Chain:
    """A callback that schedules itself until its count has run out."""

    def __init__(self, count: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.left = count
        self.done = self.loop.create_future()

    def bare(self) -> None:
        self.left -= 1
        if self.left > 0:
            self.loop.call_soon(self.bare)
        else:
            self.done.set_result(None)

    def with_arguments(self, first: int, second: int) -> None:
        self.left -= 1
        if self.left > 0:
            self.loop.call_soon(self.with_arguments, first, second)
        else:
            self.done.set_result(None)


class Countdown:
    """A callback that says when it has been called so many times."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done = asyncio.get_running_loop().create_future()

    def __call__(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)


async def call_soon(count: int) -> None:
    chain = Chain(count)
    chain.bare()
    await chain.done


async def call_soon_args(count: int) -> None:
    chain = Chain(count)
    chain.with_arguments(1, 2)
    await chain.done


async def sleep_0(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def future(count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        waiter = loop.create_future()
        loop.call_soon(waiter.set_result, None)
        await waiter


async def task(count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_task(nothing_async())


async def gather(count: int) -> None:
    for _ in range(count // 100):
        await asyncio.gather(*[nothing_async() for _ in range(100)])


async def later_cancel(count: int) -> None:
    """A turn of the loop now and then, as in a program: sweeping up belongs to the bill."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 100):
        for _ in range(100):
            loop.call_later(30, nothing).cancel()
        await asyncio.sleep(0)


async def pending_cancel(count: int) -> None:
    loop = asyncio.get_running_loop()
    handles = [loop.call_later(30 + index % 1000, nothing) for index in range(count)]
    await asyncio.sleep(0)
    for handle in handles:
        handle.cancel()
    await asyncio.sleep(0)


async def firing(count: int) -> None:
    loop = asyncio.get_running_loop()
    countdown = Countdown(count)
    for index in range(count):
        loop.call_later((index % 1000) * 1e-5, countdown)
    await countdown.done


async def threadsafe(count: int) -> None:
    call = asyncio.get_running_loop().call_soon_threadsafe
    countdown = Countdown(count)

    def burst() -> None:
        for _ in range(count):
            call(countdown)

    thread = threading.Thread(target=burst)
    thread.start()
    await countdown.done
    thread.join()


PRIMITIVES = {
    "call-soon": call_soon,
    "call-soon-args": call_soon_args,
    "sleep-0": sleep_0,
    "future": future,
    "task": task,
    "gather": gather,
    "later-cancel": later_cancel,
    "pending-cancel": pending_cancel,
    "firing": firing,
    "threadsafe": threadsafe,
}


def cost(loop: asyncio.AbstractEventLoop, name: str, count: int) -> float:
    """Microseconds of CPU per operation."""
    began = time.process_time_ns()
    loop.run_until_complete(PRIMITIVES[name](count))
    return (time.process_time_ns() - began) / 1000 / count


def best(loop: asyncio.AbstractEventLoop, name: str, options: argparse.Namespace) -> float | str:
    try:
        return min(cost(loop, name, options.count) for _ in range(options.rounds))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def gated(loop: asyncio.AbstractEventLoop, name: str, count: int) -> None:
    """One round between two gates, for a tool that counts from outside."""
    cost(loop, name, count)
    print("ready", flush=True)
    sys.stdin.readline()
    cost(loop, name, count)
    print(json.dumps({"messages": count}), flush=True)
    sys.stdin.readline()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=sorted(MODULES))
    parser.add_argument("row", nargs="*", default=list(PRIMITIVES), help=", ".join(PRIMITIVES))
    parser.add_argument("--count", type=int, default=BURST, help="operations in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gate", action="store_true", help="wait for a line before and after one round")
    return parser.parse_args()


def main() -> None:
    options = parse()
    loop = factory(options.loop)()
    asyncio.set_event_loop(loop)
    if options.gate:
        gated(loop, options.row[0], options.count)
    else:
        print(json.dumps({name: best(loop, name, options) for name in options.row}), flush=True)
    loop.close()


if __name__ == "__main__":
    main()
