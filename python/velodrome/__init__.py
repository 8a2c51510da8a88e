"""asyncio's event loop, rebuilt in Rust.

Every public name of the package is here; what stands behind them is in ``_loop`` (the class), ``_policy``
(made when asked for) and ``_launcher`` (``python -m velodrome``). Importing the package imports asyncio and
the extension module, and nothing else: programs that only choose the loop pay for nothing more.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine

from ._loop import EventLoop

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from ._policy import EventLoopPolicy

    _T = TypeVar("_T")

__all__ = ["EventLoop", "install", "new_event_loop", "run"]
if sys.version_info < (3, 16):
    __all__ += ["EventLoopPolicy"]


def new_event_loop() -> EventLoop:
    """Make a new event loop; it is neither running nor anyone's current loop."""
    return EventLoop()


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T:
    """Run the coroutine `main` on a new Velodrome loop, and return what it returns.

    It is ``asyncio.run()``, with its rules and its errors: one call at a time in a thread, tasks that are
    still running are cancelled at the end, asynchronous generators and the default executor are shut down,
    and the loop is closed. `debug` switches debug mode on or off (``None`` leaves that to
    ``PYTHONASYNCIODEBUG`` and ``-X dev``). `loop_factory` makes the loop, of a subclass perhaps.
    """
    # As asyncio.run() does: the runner would notice too, but in the words of another function.
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("velodrome.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory or new_event_loop) as runner:
        return runner.run(main)


def install() -> None:
    """Let ``asyncio.run()``, ``asyncio.Runner`` and ``asyncio.new_event_loop()`` create Velodrome loops.

    Loops that exist already stay what they are. New programs do better with `run`: it changes nothing.
    """
    from ._policy import install_loop

    install_loop()


def __getattr__(name: str) -> Any:
    # EventLoopPolicy derives from a class that 3.14 deprecates and 3.16 drops, so touching it has to be the
    # caller's own wish; the version is read from the package's metadata, which is slow to load.
    if name == "EventLoopPolicy":
        from . import _policy

        if hasattr(_policy, name):
            globals()[name] = _policy.EventLoopPolicy
            return _policy.EventLoopPolicy
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:  # run from a source tree that was built but not installed
        from ._launcher import native_facts

        return native_facts().get("velodrome", "unknown")
