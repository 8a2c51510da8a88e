"""Tasks and futures are asyncio's; these are the doors of the loop to them."""

from __future__ import annotations

import asyncio
import contextvars
import sys

import pytest
from conftest import turns

VAR = contextvars.ContextVar("VAR", default="unset")
needs_eager_tasks = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")


async def nothing():
    pass


async def var():
    return VAR.get()


class TestCreating:
    """create_task, create_future and task factories."""

    def test_types(self, run, loop):
        async def main():
            task = loop.create_task(nothing())
            assert type(task) is asyncio.Task
            assert task.get_loop() is loop
            await task
            assert type(loop.create_future()) is asyncio.Future

        run(main())

    def test_before_the_loop_runs(self, loop):
        async def answer():
            return 42

        task = loop.create_task(answer())
        assert loop.run_until_complete(task) == 42

    def test_name(self, run, loop):
        async def main():
            task = loop.create_task(nothing(), name="the name")
            assert task.get_name() == "the name"
            await task
            unnamed = loop.create_task(nothing())
            assert unnamed.get_name().startswith("Task-")
            await unnamed

        run(main())

    def test_context(self, run, loop):
        context = contextvars.copy_context()
        context.run(VAR.set, "given")

        async def main():
            assert await loop.create_task(var(), context=context) == "given"
            assert await loop.create_task(var()) == "unset"
            assert await asyncio.create_task(var(), context=context, name="both") == "given"

        run(main())

    @pytest.mark.parametrize(
        "options",
        [
            {"name": "named"},
            {"name": 42},
            {"".join(["na", "me"]): "made"},
            {"context": contextvars.Context(), "name": "both"},
            {"eager_start": True},
            {"eager_start": False, "context": contextvars.Context()},
            {"eager_start": True, "name": "named", "context": contextvars.Context()},
            {"loop": None},
            {"coro": None},
            {"not_known": 1},
        ],
        ids=lambda options: "+".join(f"{name}={value}" for name, value in options.items())[:30],
    )
    def test_keywords_mean_what_they_mean_to_asyncio(self, loop, oracle, options):
        async def seen(log):
            log.append("began")
            VAR.set("changed")
            log.append(asyncio.current_task().get_name() if "name" in options else "")

        async def main():
            log = []
            coroutine = seen(log)
            try:
                task = asyncio.get_running_loop().create_task(coroutine, **options)
            except TypeError:
                coroutine.close()
                return "refused"
            log.append("made")
            await task
            context = options.get("context")
            return log, context.run(VAR.get) if context else VAR.get()

        assert loop.run_until_complete(main()) == oracle.run_until_complete(main())

    @pytest.mark.parametrize("what", [None, 1, nothing, "text"])
    def test_what_is_no_coroutine(self, run, loop, what):
        async def main():
            with pytest.raises(TypeError):
                loop.create_task(what)

        run(main())

    def test_task_factory(self, run, loop):
        made = []

        def factory(loop, coroutine, **options):
            made.append(options)
            return asyncio.Task(coroutine, loop=loop, **options)

        async def main():
            assert loop.get_task_factory() is None
            loop.set_task_factory(factory)
            assert loop.get_task_factory() is factory
            context = contextvars.copy_context()
            task = loop.create_task(nothing(), name="named", context=context)
            await task
            assert task.get_name() == "named"
            assert made[-1]["context"] is context
            loop.set_task_factory(None)
            assert loop.get_task_factory() is None
            count = len(made)
            await loop.create_task(nothing())
            assert len(made) == count

        run(main())

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"name": "named"},
            {"name": None},
            {"context": contextvars.copy_context()},
            {"name": "named", "context": contextvars.copy_context()},
            {"eager_start": True},
            {"eager_start": False, "name": "named"},
            {"not_known": 1},
        ],
        ids=lambda options: "+".join(options) or "none",
    )
    def test_a_factory_is_given_what_asyncio_would_give_it(self, loop, oracle, options):
        """Which keywords reach it has changed with 3.13.3, 3.13.4 and 3.14."""

        def outcome(loop):
            given = []

            def factory(loop, coroutine, **options):
                given.append(options)
                return asyncio.Task(coroutine, loop=loop)

            loop.set_task_factory(factory)
            coroutine = nothing()
            try:
                task = loop.create_task(coroutine, **options)
            except TypeError as error:
                coroutine.close()
                return type(error), given
            loop.run_until_complete(task)
            return task.get_name() == options.get("name"), given

        assert outcome(loop) == outcome(oracle)

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="the keyword is new in 3.14")
    def test_eager_start(self, run, loop):
        async def main():
            seen = []

            async def first_step(how):
                seen.append(how)
                await asyncio.sleep(0)

            eager = loop.create_task(first_step("eager"), eager_start=True)
            assert seen == ["eager"]
            late = loop.create_task(first_step("late"), eager_start=False)
            assert seen == ["eager"]
            context = contextvars.copy_context()
            context.run(VAR.set, "given")
            done = asyncio.create_task(var(), eager_start=True, name="named", context=context)
            assert done.done() and done.result() == "given" and done.get_name() == "named"
            async with asyncio.TaskGroup() as group:
                assert group.create_task(var(), eager_start=True).done()
            await asyncio.gather(eager, late)

        run(main())

    @pytest.mark.parametrize("factory", [1, "text", object()])
    def test_a_factory_must_be_callable(self, loop, factory):
        with pytest.raises(TypeError):
            loop.set_task_factory(factory)

    @needs_eager_tasks
    def test_eager_tasks(self, run, loop):
        seen = []

        async def first_step():
            seen.append("ran")
            await asyncio.sleep(0)
            seen.append("went on")
            return 42

        async def main():
            loop.set_task_factory(asyncio.eager_task_factory)
            task = asyncio.create_task(first_step())
            assert seen == ["ran"]
            assert await task == 42
            done = asyncio.create_task(nothing())
            assert done.done()
            await done

        run(main())

    @needs_eager_tasks
    def test_an_eager_task_made_by_hand(self, run, loop):
        """aiohttp makes them so where the loop is no BaseEventLoop."""

        async def main():
            task = asyncio.Task(var(), loop=loop, eager_start=True)
            assert task.done() and task.result() == "unset"

        run(main())

    def test_all_tasks_and_current_task(self, run, loop):
        async def main():
            task = loop.create_task(asyncio.sleep(0))
            assert task in asyncio.all_tasks()
            assert asyncio.current_task() in asyncio.all_tasks(loop)
            await task

        run(main())


class TestTools:
    """What asyncio builds on the loop."""

    def test_gather(self, run):
        async def main():
            assert await asyncio.gather(*(asyncio.sleep(0, n) for n in range(100))) == list(range(100))

        run(main())

    def test_task_group(self, run):
        async def main():
            with pytest.raises(ExceptionGroup) as info:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(1000))
                    group.create_task(asyncio.wait_for(asyncio.sleep(1000), 0.001))
            assert [type(error) for error in info.value.exceptions] == [TimeoutError]

        run(main())

    def test_timeouts(self, run, loop):
        async def main():
            begun = loop.time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            assert loop.time() - begun >= 0.01
            async with asyncio.timeout(1000) as timeout:
                timeout.reschedule(loop.time() + 2000)
                await asyncio.sleep(0)

        run(main())

    def test_wait(self, run):
        async def main():
            slow = asyncio.ensure_future(asyncio.sleep(1000))
            fast = asyncio.ensure_future(asyncio.sleep(0))
            done, pending = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
            assert (done, pending) == ({fast}, {slow})
            slow.cancel()

        run(main())

    def test_queues_and_locks(self, run):
        async def main():
            queue = asyncio.Queue(2)
            lock = asyncio.Lock()
            seen = []

            async def produce():
                for number in range(100):
                    await queue.put(number)

            async def consume():
                for _ in range(50):
                    number = await queue.get()
                    async with lock:
                        seen.append(number)

            await asyncio.gather(produce(), consume(), consume())
            assert seen == list(range(100))

        run(main())

    def test_the_order_of_tasks(self, run):
        async def main():
            seen = []

            async def step(name):
                for count in range(3):
                    seen.append((count, name))
                    await asyncio.sleep(0)

            await asyncio.gather(*map(step, "abc"))
            assert seen == [(count, name) for count in range(3) for name in "abc"]

        run(main())

    def test_context_of_tasks_and_callbacks(self, run, loop):
        async def main():
            VAR.set("main")
            assert await asyncio.create_task(var()) == "main"
            seen = []
            future = loop.create_future()
            future.add_done_callback(lambda _: seen.append(VAR.get()))
            VAR.set("later")
            future.set_result(None)
            await turns(2)
            assert seen == ["main"]

        run(main())

    def test_a_deep_chain(self, run):
        async def main():
            async def chain(depth):
                return depth if depth == 0 else await asyncio.create_task(chain(depth - 1))

            assert await chain(1000) == 0

        run(main())
