"""Import a loop and run nothing on it: `startup.py LOOP`. The whole process is measured."""

import asyncio
import sys


async def nothing() -> None:
    pass


name = sys.argv[1]
if name == "asyncio":
    asyncio.run(nothing())
elif name == "aiofastnet":
    import aiofastnet
    import uvloop

    with asyncio.Runner(loop_factory=lambda: aiofastnet.patch_loop(uvloop.new_event_loop())) as runner:
        runner.run(nothing())
else:
    with asyncio.Runner(loop_factory=__import__(name).new_event_loop) as runner:
        runner.run(nothing())
