"""granian with a loop of the program's own choice, which its documentation calls a custom loop.

python granian_server.py PORT
"""

import asyncio
import sys

import stage
from granian import Granian, loops


# Not under `if`: the workers are processes that import this file anew.
@loops.register("auto")
def build():
    if stage.LOOP == "velodrome":
        import velodrome

        loop = velodrome.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


if __name__ == "__main__":
    Granian("asgi_app:app", port=int(sys.argv[1]), interface="asgi", workers=2, log_enabled=False).serve()
