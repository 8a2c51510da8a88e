"""The smallest asyncio program there is: one coroutine that waits a little and says so.

python -m velodrome examples/coroutine.py
"""

import asyncio


async def nap() -> None:
    await asyncio.sleep(1)
    print("Coroutine finished")


asyncio.run(nap())
