"""Stands in for uvloop when its tests run: the same public names, the loop of $CONF_LOOPMODULE.

Its `_testbase` is the published one, which fetch.py puts into the cache folder.
"""

import asyncio as _asyncio
import importlib as _importlib
import os as _os
import sys as _sys

__path__ += [
    _os.path.join(p, "uvloop_testbase")
    for p in _sys.path
    if _os.path.isdir(_os.path.join(p, "uvloop_testbase"))
]
__version__ = "0.23.0"

if _os.environ["CONF_LOOPMODULE"] == "asyncio":
    from asyncio.unix_events import _UnixSelectorEventLoop as Loop

    _module = None
    new_event_loop = Loop
else:
    _module = _importlib.import_module(_os.environ["CONF_LOOPMODULE"])
    new_event_loop = _module.new_event_loop
    _probe = new_event_loop()
    Loop = type(_probe)
    _probe.close()
    del _probe


class _Policy(_asyncio.DefaultEventLoopPolicy):
    def _loop_factory(self):
        return new_event_loop()


def _run(main, *, loop_factory=None, debug=None):
    with _asyncio.Runner(loop_factory=loop_factory or new_event_loop, debug=debug) as runner:
        return runner.run(main)


EventLoopPolicy = getattr(_module, "EventLoopPolicy", _Policy)
run = getattr(_module, "run", _run)


def install():
    _asyncio.set_event_loop_policy(EventLoopPolicy())
