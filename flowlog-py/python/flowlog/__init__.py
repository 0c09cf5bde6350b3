"""flowlog: every critical flow of a distributed inference system under one ID.

Includes the analyzer that finds the component that failed first.

>>> import flowlog
>>> emitter = flowlog.init(component="backend", instance="backend-0", sink="none")
>>> with flowlog.flow("chat_completion", model="tiny") as flow:
...     flow.state("prefill", tokens=12)

A flow is one piece of work across processes: a request, a KV transfer, a worker start. An exception
that leaves the block fails the flow; otherwise it ends successfully. ``flowlog.join(headers)``
joins a caller's flow, ``flowlog.inject(headers)`` propagates the current one, and
``flowlog.child_env()`` passes it to a child process. Rust code and asyncio tasks see the same flow;
for threads and executors, use ``flowlog.wrap``.

``flowlog.analyze(["logs/"])`` reports which component of a failed run failed first.
"""

from __future__ import annotations

import atexit as _atexit
import os as _os
import sys as _sys
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._flowlog import Emitter, Flow, Sink, Table, __version__, close, current, flow, gauge, health, inject, join
from ._logging import FlowFilter, FlowHandler, fields
from ._wrap import wrap

if _TYPE_CHECKING:
    from ._analysis import analyze, events
    from ._report import (
        Alternative,
        Evidence,
        Explanation,
        Failure,
        FlowCounts,
        FlowFailure,
        Input,
        Owner,
        Problems,
        ReadError,
        Report,
        Rows,
        Step,
        Suspect,
        Verdict,
    )

__all__ = [
    "Alternative",
    "Emitter",
    "Evidence",
    "Explanation",
    "Failure",
    "Flow",
    "FlowCounts",
    "FlowFailure",
    "FlowFilter",
    "FlowHandler",
    "Input",
    "Owner",
    "Problems",
    "ReadError",
    "Report",
    "Rows",
    "Sink",
    "Step",
    "Suspect",
    "Table",
    "Verdict",
    "__version__",
    "analyze",
    "child_env",
    "close",
    "current",
    "events",
    "fields",
    "flow",
    "gauge",
    "health",
    "init",
    "inject",
    "join",
    "wrap",
]


def init(
    component: str,
    instance: str | None = None,
    versions: dict[str, str] | None = None,
    sink: Sink | str | _os.PathLike[str] | None = None,
    *,
    encoding: str | None = None,
    level: str | None = None,
    flight: str | _os.PathLike[str] | None = None,
    sample_interval: float | None = None,
) -> Emitter:
    """Initializes the process's emitter, once.

    Until then, flows write nothing and cost almost nothing.

    component: name of the component in Dynamo's terms: ``frontend``, ``router``, ``vllm``.
        ``OTEL_SERVICE_NAME`` overrides it.
    instance: distinguishes instances of the component: a pod, a worker ID, a rank.
    versions: names and versions to add to every start and failure record.
    sink: a file path, ``"stderr"``, ``"none"``, ``"file:PATH"``, ``"mapped:PATH"``, or a ``Sink``.
    encoding: ``"json"`` or ``"text"``.
    level: minimum level to write: ``"info"`` unless ``DYN_LOG`` sets another.
    flight: a folder for a flight file, which shows what the process had open if it is killed.
    sample_interval: interval between records of resource usage, in seconds.

    Omitted arguments default to the environment: ``FLOWLOG_SINK``, ``FLOWLOG_FLIGHT``, ``DYN_LOG``,
    ``DYN_LOGGING_CONSOLE_FORMAT``, ``POD_NAME``, and OpenTelemetry's variables.

    Raises ValueError for an invalid argument, OSError if a file cannot be created, and RuntimeError
    on a second call.
    """
    return Emitter(component, instance, versions, sink, encoding=encoding, level=level, flight=flight, sample_interval=sample_interval, _own=True)


def child_env(env: dict[str, str] | None = None) -> dict[str, str]:
    """Returns a copy of the environment (or of ``env``) with the current flow, for ``subprocess``.

    The first flow of the child process joins the current flow.
    """
    copy = dict(_os.environ if env is None else env)
    for name, value in inject({}).items():
        copy[name.upper()] = value
    return copy


def __getattr__(name: str) -> _Any:
    """Loads the analyzer on first use: a component that only emits starts faster without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_import_module("._analysis" if name in ("analyze", "events") else "._report", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__


def _watch_forks() -> None:
    """Makes forked ``multiprocessing`` processes record their end: they exit without ``atexit``."""
    util: _Any = _sys.modules.get("multiprocessing.util")
    if util is not None and not _watched:
        _watched.append(util)
        # The registry holds the object by a weak reference; the module stays alive.
        util.register_after_fork(_sys.modules[__name__], lambda _: util.Finalize(None, close, exitpriority=-100))


_watched: list[object] = []
_atexit.register(close)
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(before=_watch_forks)
