"""Shows native code what it may rely on of this Python's private details, each seen at work.

What ``_asyncio`` hands to ``call_soon`` is shown, so that native code can recognise it.

A step of a C task is a private object, its wake-up a private builtin method; ``_asyncio`` drops the handle
that ``call_soon`` returns for them, so the loop need not make one. Its keyword ``context`` is a string of its
own, not the interned one, which would have to be compared letter by letter. They are learnt by looking at a
real task on a loop that only takes notes: no offset, no name of a version is assumed. Where tasks are not
``_asyncio``'s, the samples teach nothing and every callback gets a handle.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import events

from ._inherited import base_events

TYPE_CHECKING = False  # a checker takes it for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any


# inspect.CO_VARKEYWORDS; importing inspect takes milliseconds.
_VARKEYWORDS = 0x08


class _Notes(asyncio.AbstractEventLoop):
    """A loop that runs nothing and writes down what it is asked to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, str]] = []

    def call_soon(self, callback: Any, *args: Any, **keywords: Any) -> Any:  # type: ignore[override]
        (name,) = keywords
        self.calls.append((callback, name))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """The sample task is thrown away unfinished, which is nobody's business."""


def samples() -> tuple[Any, Any, str]:
    """Return the step and the wake-up of a sample task, and the keyword that the context came with."""
    before = events._get_running_loop()
    loop: Any = _Notes()  # type: ignore[abstract]  # asyncio's base class is abstract in the stubs only
    future: asyncio.Future[None] = asyncio.Future(loop=loop)

    async def wait() -> None:
        await future

    events._set_running_loop(loop)
    try:
        task = asyncio.Task(wait(), loop=loop, name="velodrome-probe")
        step, _ = loop.calls.pop()
        step()
        future.set_result(None)
        wakeup, context_name = loop.calls.pop()
        wakeup(future)
        task.result()
    finally:
        events._set_running_loop(before)
    return step, wakeup, context_name


def tasks_take_any_keyword() -> bool:
    """Whether ``create_task`` passes on to ``Task`` what it does not know, ``eager_start`` for one."""
    code: Any = getattr(base_events.BaseEventLoop.create_task, "__code__", None)
    return bool(code and code.co_flags & _VARKEYWORDS)


class _Sample:
    """Stands for a transport."""


def servers_keep_weak_sets() -> bool:
    """Whether a server keeps its transports in a ``WeakSet``, and that is a set of weak references.

    Native code then does what ``Server._attach`` and ``_detach`` are seen to do here; before Python 3.12.2
    they count. An asyncio that is built otherwise fails in one way or another, and its methods are called.
    """
    try:
        server = base_events.Server(None, [], None, None, 0, None)
        sample, woken = _Sample(), []
        clients: Any = server._clients
        server._attach(sample)
        kept = list(clients.data)
        server._sockets, server._wakeup = None, lambda: woken.append(True)
        server._detach(sample)
        return bool(
            type(clients.data) is set
            and clients._pending_removals == []
            and kept == [weakref.ref(sample)]
            and kept[0].__callback__ is clients._remove
            and not clients.data
            and woken
            and type(clients) is weakref.WeakSet
        )
    except (AttributeError, TypeError, AssertionError):
        return False
