"""Random programs do the same on asyncio and on the loop under test.

A program is a list of steps, done one in a turn. The clock is set by hand, so timers are exact. What is
compared is the log of the callbacks, in full, and what each end of each connection received; of an end that
somebody closed early, only what does not depend on how far the kernel had come.
"""

from __future__ import annotations

import asyncio
import random
import socket

import pytest
from conftest import DEADLINE, turns, until
from kinds import KINDS
from recorder import Recorder

STEPS = (
    ["soon"] * 6
    + ["nested", "threadsafe", "timer", "timer", "timer", "advance", "advance", "cancel", "cancel"]
    + [
        "open",
        "write",
        "write",
        "write",
        "large",
        "lines",
        "pause",
        "resume",
        "limits",
        "eof",
        "close",
        "abort",
        "fail",
    ]
)


class Program:
    """One run of the program of a seed on one loop."""

    def __init__(self, kind, seed):
        self.chance = random.Random(seed)
        self.loop = KINDS[kind]()
        self.now = 1000.0
        self.loop.time = lambda: self.now
        self.loop.set_exception_handler(lambda loop, context: self.log.append(repr(context["exception"])))
        self.log = []
        self.handles = []
        self.ends = []
        self.disturbed = set()
        self.left = self.chance.randrange(20, 120)

    def run(self):
        self.loop.call_soon(self.step)
        self.loop.run_forever()
        # From here on time passes by itself: what was begun comes to its end.
        del self.loop.time
        self.loop.run_until_complete(asyncio.wait_for(self.finish(), DEADLINE))
        self.loop.close()
        return self.log, [self.story(number) for number in range(len(self.ends))]

    def step(self):
        if not self.left:
            self.loop.stop()
            return
        self.left -= 1
        getattr(self, self.chance.choice(STEPS))()
        self.loop.call_soon(self.step)

    def note(self, *what):
        self.log.append(what)

    def soon(self):
        number = len(self.handles)
        self.handles.append(self.loop.call_soon(self.note, "soon", number))

    def nested(self):
        number = len(self.handles)
        self.handles.append(self.loop.call_soon(self.loop.call_soon, self.note, "nested", number))

    def threadsafe(self):
        number = len(self.handles)
        self.handles.append(self.loop.call_soon_threadsafe(self.note, "threadsafe", number))

    def timer(self):
        # Deadlines of different hundredths, as asyncio runs ties in any order.
        number = len(self.handles)
        when = self.now + self.chance.randrange(-50, 500) / 10 + number / 1000
        self.handles.append(self.loop.call_at(when, self.note, "timer", number))

    def advance(self):
        self.now += self.chance.randrange(0, 300) / 10

    def cancel(self):
        if self.handles:
            handle = self.chance.choice(self.handles)
            self.note("cancelling", handle.cancelled())
            handle.cancel()

    def fail(self):
        self.loop.call_soon(divmod, 1, 0)

    def open(self):
        for sock in socket.socketpair():
            end = Recorder()
            self.ends.append(end)
            self.loop.create_task(self.loop.connect_accepted_socket(lambda end=end: end, sock))

    def pick(self):
        """The number of an end that is open, or none."""
        number = self.chance.randrange(len(self.ends)) if self.ends else None
        if number is None or "made" not in self.ends[number].names:
            return None
        return None if self.ends[number].transport.is_closing() else number

    def on_an_end(self, *calls, disturbing=False):
        number = self.pick()
        if number is None:
            return
        if disturbing:
            self.disturbed.update((number, number ^ 1))
        for method, *arguments in calls:
            try:
                getattr(self.ends[number].transport, method)(*arguments)
            except RuntimeError as error:
                if number not in self.disturbed:
                    self.note(str(error))

    def write(self):
        self.on_an_end(("write", bytes([self.chance.randrange(256)]) * self.chance.randrange(1000)))

    def large(self):
        self.on_an_end(("write", bytes([self.chance.randrange(256)]) * 600_000))

    def lines(self):
        self.on_an_end(
            ("writelines", [b"x" * self.chance.randrange(100) for _ in range(self.chance.randrange(50))])
        )

    def pause(self):
        self.on_an_end(("pause_reading",))

    def resume(self):
        self.on_an_end(("resume_reading",))

    def limits(self):
        self.on_an_end(("set_write_buffer_limits", self.chance.randrange(100_000)))

    def eof(self):
        # The peer closes when it sees the end, whatever it had still to receive or to send.
        self.on_an_end(("write_eof",), disturbing=True)

    def close(self):
        self.on_an_end(("close",), disturbing=True)

    def abort(self):
        self.on_an_end(("abort",), disturbing=True)

    async def finish(self):
        for end in self.ends:
            await end.until("made")
        for end in self.ends:
            end.transport.resume_reading()
        for number, end in enumerate(self.ends):
            if number not in self.disturbed:
                # All that was written arrives before anybody closes.
                await until(lambda end=end: not end.transport.get_write_buffer_size())
        await turns(10)
        for number, end in enumerate(self.ends):
            if "lost" in end.names:
                continue
            if number in self.disturbed:
                # Two ends that were closed with much to send would wait for each other for good.
                end.transport.abort()
            else:
                end.transport.close()
        for end in self.ends:
            await end.until("lost")

    def story(self, number):
        end = self.ends[number]
        # Pauses depend on how much the kernel took, and who closes first in the end on the order of polling.
        assert end.names[0] == "made" and end.names[-1] == "lost" and end.names.count("lost") == 1
        flow = [name for name in end.names if name in ("pause", "resume")]
        assert flow[::2] == ["pause"] * len(flow[::2]) and flow[1::2] == ["resume"] * len(flow[1::2])
        return "disturbed" if number in self.disturbed else end.data


def compare(kind, seeds):
    for seed in seeds:
        assert Program(kind, seed).run() == Program("asyncio", seed).run(), f"seed {seed}"


@pytest.mark.parametrize("block", range(6))
def test_random_programs(kind, block):
    compare(kind, range(block * 25, block * 25 + 25))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_random_programs(kind):
    compare(kind, range(1000, 11_000))
