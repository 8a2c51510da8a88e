"""Stands where programs look for uvloop, under ``python -m velodrome --as-uvloop``: its names, our loop.

The folder above is not a package and is on no path by itself; the launcher puts it there, and into
``PYTHONPATH`` for the child processes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import velodrome
from velodrome import new_event_loop, run

from .loop import Loop

if TYPE_CHECKING:
    from velodrome import EventLoopPolicy

__all__ = ["Loop", "new_event_loop", "run"]
if sys.version_info < (3, 16):
    __all__ += ["EventLoopPolicy", "install"]

# The uvloop whose names these are: programs ask whether it is recent enough.
__version__ = "0.23.0"


def install() -> None:
    """As ``velodrome.install``."""
    velodrome.install()


def __getattr__(name: str) -> Any:
    if name == "EventLoopPolicy":  # importing it may warn, see velodrome.__getattr__
        return velodrome.EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
