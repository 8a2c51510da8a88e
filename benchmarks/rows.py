"""The table of workloads: what is served, how it is asked, and what is to be reached.

A row is data; `run.py` knows nothing of a particular one.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Target:
    """The greatest ratio to the best peer that reaches the goal, for the row's own figure and for others."""

    total: float
    user: float | None = None
    no_more_calls_than_floor: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str
    kind: str
    target: Target
    load: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    floor: str | None = None
    figure: str = "cpu_us"
    higher_is_better: bool = False
    http: bool = False
    # A round ends after so many messages instead of so many seconds.
    messages: int | None = None
    # Messages in a run under strace or callgrind: enough to bury what a connection costs by itself.
    counted: int = 2000
    # What is asked under strace and callgrind, if that is not `load`: a receive finds as many messages of
    # those in flight as the server's pace lets arrive, which is another there, and chance. So they are sent
    # as one, which a server of a stream cannot tell, and which counts for so many of the row's.
    counted_load: tuple[str, ...] = ()
    at_once: int = 1


def asks(connections: int, size: int, depth: int = 1, mode: str = "echo") -> tuple[str, ...]:
    return ("--connections", str(connections), "--size", str(size), "--depth", str(depth), "--mode", mode)


TIMES = "\N{MULTIPLICATION SIGN}"
MANY = asks(64, 1024)

SERVED = [
    Row(
        "echo-64", f"protocol echo, 64 {TIMES} 1 KiB", "protocol", Target(1.00, 0.75, True), MANY, floor="tcp"
    ),
    Row(
        "echo-1",
        f"protocol echo, 1 {TIMES} 1 KiB",
        "protocol",
        Target(0.97, 0.75),
        asks(1, 1024),
        floor="tcp",
    ),
    Row(
        "echo-100k",
        f"protocol echo, 16 {TIMES} 100 KiB",
        "protocol",
        Target(0.92),
        asks(16, 102400),
        floor="tcp",
    ),
    Row(
        "in-flight",
        "protocol echo, 16 in flight",
        "protocol",
        Target(1.00, 0.75),
        asks(1, 1024, 16),
        floor="tcp",
        counted_load=asks(1, 16 * 1024),
        at_once=16,
    ),
    Row("buffered", "BufferedProtocol", "buffered", Target(1.00, 0.75), MANY, floor="tcp"),
    Row("streams", "streams, read + write + drain", "streams", Target(0.80), MANY, floor="tcp"),
    Row("readline", "streams, readline", "readline", Target(0.80), asks(64, 1024, mode="line"), floor="tcp"),
    Row("sockets", "sock_recv + sock_sendall", "sockets", Target(0.70), MANY, floor="tcp"),
    Row("udp", "UDP echo", "udp", Target(0.97), asks(64, 1024, mode="udp"), floor="udp"),
    Row("tls", "TLS 1.3, protocol, 1 KiB", "protocol", Target(0.97), MANY, server=("--tls",)),
    Row("tls-streams", "TLS 1.3, streams, 1 KiB", "streams", Target(0.75), MANY, server=("--tls",)),
    Row(
        "connect",
        "connect, echo 64 bytes, close",
        "protocol",
        Target(0.80),
        asks(16, 64, mode="connect"),
        floor="tcp",
        # More would come near the number of ports, and the kernel's search for a free one takes over.
        messages=12_000,
    ),
    Row(
        "spin",
        "echo beside a spinning thread, /s",
        "protocol",
        Target(1.00),
        asks(1, 64),
        server=("--spin",),
        figure="per_second",
        higher_is_better=True,
        counted=0,
    ),
]


def _http(name: str, title: str, kind: str, target: float) -> Row:
    return Row(
        name, title, kind, Target(target), ("--connections", "64", "--mode", "http"), http=True, counted=1000
    )


HTTP = [
    _http("uvicorn-httptools", "uvicorn, httptools", "uvicorn-httptools", 0.95),
    _http("uvicorn-h11", "uvicorn, h11", "uvicorn-h11", 0.97),
    _http("aiohttp", "aiohttp", "aiohttp", 0.95),
]


def _primitive(name: str, title: str, target: float) -> Row:
    return Row(name, title, "primitive", Target(target), figure="op_us")


PRIMITIVES = [
    _primitive("call-soon", "call_soon chained", 0.85),
    _primitive("call-soon-args", "call_soon chained, two arguments", 0.85),
    _primitive("sleep-0", "sleep(0)", 0.85),
    _primitive("future", "await a future set by call_soon", 0.85),
    _primitive("task", "create_task and await", 0.85),
    _primitive("gather", "gather of 100, per task", 0.85),
    _primitive("later-cancel", "call_later, then cancel", 0.75),
    _primitive("pending-cancel", "100,000 pending, then cancelled", 0.75),
    _primitive("firing", "100,000 timers firing", 0.75),
    _primitive("threadsafe", "call_soon_threadsafe, burst of 100,000", 0.90),
]

IDLE = [
    Row("idle", "memory of an idle TCP pair, kB", "idle", Target(1.00), figure="pair_kb"),
    Row(
        "idle-tls",
        "memory of an idle TLS pair, kB",
        "idle",
        Target(1.00),
        server=("--tls",),
        figure="pair_kb",
    ),
]

STARTUP = [Row("startup", "import and an empty run, ms", "startup", Target(1.15), figure="cpu_ms")]

ROWS = [*SERVED, *HTTP, *PRIMITIVES, *IDLE, *STARTUP]
BY_NAME = {row.name: row for row in ROWS}
