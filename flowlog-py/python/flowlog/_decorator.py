"""Flows as decorators: each call is a separate flow."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any

from ._flowlog import Flow


def decorate(flow: Flow, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function, a coroutine function, or a sync or async generator function.

    The flow of a generator is current while the generator runs, but not between its items: the code
    that consumes them has its own current flow.
    """
    # The kind of a callable object is the kind of its `__call__`.
    kind = function if inspect.isroutine(function) or hasattr(function, "func") else type(function).__call__
    if inspect.isasyncgenfunction(kind):

        @functools.wraps(function)
        async def items(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            own = flow._again().start()
            with own.scope():
                generator = function(*args, **kwargs)
            step = functools.partial(generator.__anext__)
            try:
                while True:
                    try:
                        with own.scope():
                            item = await step()
                    except StopAsyncIteration:
                        break
                    try:
                        sent = yield item
                    except GeneratorExit:
                        with own.scope():
                            await generator.aclose()
                        raise
                    except BaseException as error:
                        step = functools.partial(generator.athrow, error)
                    else:
                        step = functools.partial(generator.asend, sent)
            except BaseException as error:
                own._leave(error)
                raise
            own._leave(None)

        return items

    if inspect.isgeneratorfunction(kind):

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            own = flow._again().start()
            with own.scope():
                generator = function(*args, **kwargs)
            step = functools.partial(next, generator)
            try:
                while True:
                    try:
                        with own.scope():
                            item = step()
                    except StopIteration as stop:
                        result = stop.value
                        break
                    try:
                        sent = yield item
                    except GeneratorExit:
                        with own.scope():
                            generator.close()
                        raise
                    except BaseException as error:
                        step = functools.partial(generator.throw, error)
                    else:
                        step = functools.partial(generator.send, sent)
            except BaseException as error:
                own._leave(error)
                raise
            own._leave(None)
            return result

        return steps

    if inspect.iscoroutinefunction(kind):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with flow._again():
                return await function(*args, **kwargs)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        own = flow._again().start()
        try:
            with own.scope():
                result = function(*args, **kwargs)
        except BaseException as error:
            own._leave(error)
            raise
        if inspect.iscoroutine(result):
            return _finish(own, result)
        own._leave(None)
        return result

    return called


async def _finish(flow: Flow, work: Coroutine[Any, Any, Any]) -> Any:
    """Awaits a coroutine; the flow ends with it."""
    with flow:
        return await work
