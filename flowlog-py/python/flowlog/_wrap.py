"""Propagation of the current flow to threads, executors and processes.

Context variables do not reach them by themselves.
"""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, cast

from ._flowlog import Flow, current, join

P = ParamSpec("P")
R = TypeVar("R")


def wrap(function: Callable[P, R]) -> Wrapped[P, R]:
    """Wraps a function so that it runs in the flow that is current now, wherever it is called.

    In a thread of this process, the function runs in the same span of the flow, and sees all other
    context variables as they are now. In another process (``ProcessPoolExecutor``,
    ``multiprocessing`` with spawn), each call joins the flow as a separate span of the same kind.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as pool:
    ...     list(pool.map(wrap(len), ["one", "three"]))
    [3, 5]
    """
    return Wrapped(function, contextvars.copy_context())


class Wrapped(Generic[P, R]):
    """A function bound to a flow. It can be called by many threads at once, and can be pickled."""

    def __init__(self, function: Callable[P, R], context: contextvars.Context) -> None:
        self.__wrapped__ = function
        self._context = context

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        # A context can be entered only once at a time; copying it is cheap.
        result = self._context.copy().run(self.__wrapped__, *args, **kwargs)
        if inspect.iscoroutine(result) and (flow := self._context.copy().run(current)) is not None:
            return cast("R", _inside(flow, result))
        return result

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        flow = self._context.copy().run(current)
        if flow is None:
            return _as_it_is, (self.__wrapped__,)
        return Joined, (self.__wrapped__, flow.kind, flow.inject({}))


async def _inside(flow: Flow, work: Coroutine[Any, Any, Any]) -> Any:
    """Awaits a coroutine in the flow; calling the function only created it."""
    with flow.scope():
        return await work


def _as_it_is(function: Callable[P, R]) -> Callable[P, R]:
    return function


class Joined(Generic[P, R]):
    """A function received from another process, with the flow to join."""

    def __init__(self, function: Callable[P, R], kind: str, headers: dict[str, str]) -> None:
        self.__wrapped__ = function
        self._kind = kind
        self._headers = headers

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        with join(self._headers, self._kind):
            return self.__wrapped__(*args, **kwargs)
