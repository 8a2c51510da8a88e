"""The figures: each is a question to the kernel or to valgrind about one process, while another drives it.

The driver is a `Gated` process that is ready; between the two readings lies its measured part only.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence

from process import Failed, Gated, interrupt, wait_for

TICK = os.sysconf("SC_CLK_TCK")
# The server still closes connections after the last answer has reached the client.
SETTLE = 0.02

# A large copy by `rep movsb` is one instruction to a processor and one for each byte to callgrind: memcpy
# does without here.
NO_REP_MOVSB = ["env", "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=0x1000000"]
VALGRIND = [*NO_REP_MOVSB, "valgrind", "--tool=callgrind", "--instr-atstart=no", "--quiet"]


def processor_time(pid: int) -> tuple[int, int, int]:
    """Nanoseconds on a processor, and the ticks that say how they divide: user, system."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    total = sum(int(task.read_text().split()[0]) for task in tasks)
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return total, int(fields[11]), int(fields[12])


def peak_memory(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def processor(pid: int, driver: Gated) -> dict:
    """CPU per message in µs as the scheduler counts it, and the ticks by which user and system share it."""
    before = processor_time(pid)
    result = driver.result()
    time.sleep(SETTLE)
    total, user, system = (now - then for now, then in zip(processor_time(pid), before, strict=True))
    return result | {"cpu_us": total / 1000 / result["messages"], "user_ticks": user, "system_ticks": system}


def shared_out(figures: dict, every_round: list[dict]) -> dict:
    """User and system part of the best round. A tick is a sample, so the share is taken from all rounds."""
    user, system = (sum(one[key] for one in every_round) for key in ("user_ticks", "system_ticks"))
    part = figures["cpu_us"] * user / max(user + system, 1)
    return figures | {"user_us": part, "system_us": figures["cpu_us"] - part}


def system_calls(pid: int, driver: Gated) -> dict[str, float]:
    """System calls per message by name, counted by strace."""
    with tempfile.TemporaryDirectory() as folder:
        table, said = pathlib.Path(folder, "table"), pathlib.Path(folder, "said")
        with said.open("wb") as stderr:
            strace = subprocess.Popen([*strace_counting(table), "-p", str(pid)], stderr=stderr)
        try:
            wait_for(said, "attached")
            messages = driver.result()["messages"]
            time.sleep(SETTLE)
        finally:
            interrupt(strace)
        return {name: calls / messages for name, calls in counted_calls(table).items()}


def strace_counting(table: pathlib.Path) -> list[str]:
    """The command that counts system calls into a file, but for which process."""
    return ["strace", "-c", "-f", "-U", "calls,name", "-o", str(table)]


def counted_calls(table: pathlib.Path) -> dict[str, int]:
    rows = re.findall(r"^\s*(\d+)\s+(\w+)$", table.read_text(), re.MULTILINE)
    return {name: int(calls) for calls, name in rows if name != "total"}


def callgrind(argv: Sequence[str], out: pathlib.Path) -> list[str]:
    """The command that runs `argv` under callgrind, not yet counting."""
    return [*VALGRIND, f"--callgrind-out-file={out}", *argv]


def vgdb(pid: int, *command: str) -> None:
    subprocess.run(["vgdb", f"--pid={pid}", *command], check=True, capture_output=True, timeout=60)


def profile(pid: int, driver: Gated, out: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Let callgrind count during the measured part; the dump, and how many messages it covers."""
    vgdb(pid, "instrumentation", "on")
    messages = driver.result()["messages"]
    vgdb(pid, "dump")
    dump = out.with_name(out.name + ".1")
    if not dump.exists():
        raise Failed("callgrind left no dump")
    return dump, messages


def instructions(dump: pathlib.Path) -> int:
    text = dump.read_text(errors="replace")
    return int(re.findall(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)[-1])


def instructions_of_run(argv: Sequence[str], env: dict[str, str], timeout: float | None = None) -> int:
    """User-space instructions of a whole process, from its first to its last."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "out")
        command = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}", *argv]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **env}, timeout=timeout)
        return instructions(out)


def cost_of_run(argv: Sequence[str], env: dict[str, str]) -> dict:
    """CPU and time of a whole process, start to end, in milliseconds."""
    began = time.perf_counter()
    child = subprocess.Popen(argv, env={**os.environ, **env}, stderr=subprocess.PIPE)
    errors = child.stderr.read().decode(errors="replace").strip()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode:
        raise Failed(errors.splitlines()[-1] if errors else f"exit {child.returncode}")
    wall = time.perf_counter() - began
    cpu = usage.ru_utime + usage.ru_stime
    return {"cpu_ms": cpu * 1000, "wall_ms": wall * 1000, "peak_kb": usage.ru_maxrss}
