"""Every loop by its name. A name is imported only when it is asked for, so that no rival pays for another."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable

Factory = Callable[[], asyncio.AbstractEventLoop]


def _aiofastnet() -> asyncio.AbstractEventLoop:
    """aiofastnet is no loop but transports for one; on uvloop it is at its best."""
    aiofastnet = importlib.import_module("aiofastnet")
    uvloop = importlib.import_module("uvloop")
    return aiofastnet.patch_loop(uvloop.new_event_loop())


# Modules whose `new_event_loop()` makes the loop; aiofastnet alone needs more.
MODULES = {
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "rloop": "rloop",
    "aiofastnet": "aiofastnet",
    "zuvloop": "zuvloop",
    "rsloop": "rsloop",
    "velodrome": "velodrome",
}


def factory(name: str) -> Factory:
    module = importlib.import_module(MODULES[name])
    return _aiofastnet if name == "aiofastnet" else module.new_event_loop
