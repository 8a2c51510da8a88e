"""The loops that every behavioural test runs on: asyncio's own, the oracle that proves the test, and ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

KINDS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}

try:
    import velodrome
except ImportError:
    # Without the extension the tests still say something about asyncio; `make test` wants more.
    if os.environ.get("VELODROME_REQUIRED"):
        raise
else:
    KINDS["velodrome"] = velodrome.EventLoop
