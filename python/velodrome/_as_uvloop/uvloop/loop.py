"""Where uvloop keeps its class: some programs take it from here."""

from __future__ import annotations

from velodrome import EventLoop as Loop

__all__ = ["Loop"]
