"""How asyncio is told to create our loop when a program asks it for a new one.

Until 3.15 that is the event loop policy: a public setting, which every way to a new loop honours, and which
leaves the modules of asyncio untouched. 3.14 deprecates policies and 3.16 drops them with nothing in their
place, so there, and only there, `install_loop` replaces the names through which asyncio finds its loop.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import sys
import warnings

from ._loop import EventLoop

if sys.version_info < (3, 16):
    with warnings.catch_warnings():
        # Reading the name warns from 3.14 on. Whoever imports this module has decided for policies.
        warnings.simplefilter("ignore", DeprecationWarning)
        _Base = asyncio.DefaultEventLoopPolicy

    class EventLoopPolicy(_Base):
        """asyncio's default policy, except that the loops it creates are Velodrome's."""

        def new_event_loop(self) -> EventLoop:
            """Make a new event loop; it does not become the current one."""
            return EventLoop()

    def install_loop() -> None:
        """Make our policy the current one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_event_loop_policy(EventLoopPolicy())

else:

    def install_loop() -> None:
        """Put our loop where asyncio looks for its own: no setting is left that would do it."""
        asyncio.EventLoop = EventLoop
        asyncio.new_event_loop = asyncio.events.new_event_loop = EventLoop
