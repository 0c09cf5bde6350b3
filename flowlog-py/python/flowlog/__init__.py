"""flowlog: every critical flow of a distributed inference system under one id, and the analyzer that finds who failed first.

>>> import flowlog
>>> emitter = flowlog.init(component="backend", instance="backend-0", sink="none")
>>> with flowlog.flow("chat_completion", model="tiny") as flow:
...     flow.state("prefill", tokens=12)

A flow is one piece of work across processes: a request, a KV transfer, a worker start. What leaves the block fails it, else it ends
well. ``flowlog.join(headers)`` takes up a caller's flow, ``flowlog.inject(headers)`` hands it on, ``flowlog.child_env()`` gives it to a child
process. Rust code and asyncio's tasks see the same flow; for threads and executors there is ``flowlog.wrap``.

``flowlog.analyze(["logs/"])`` says of a failed run which component failed first.
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
        Evidence,
        Failure,
        FlowCounts,
        FlowFailure,
        Input,
        Owner,
        Problems,
        Report,
        Rows,
        Unread,
        Verdict,
    )

__all__ = [
    "Emitter",
    "Evidence",
    "Failure",
    "Flow",
    "FlowCounts",
    "FlowFailure",
    "FlowFilter",
    "FlowHandler",
    "Input",
    "Owner",
    "Problems",
    "Report",
    "Rows",
    "Sink",
    "Table",
    "Unread",
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
    form: str | None = None,
    level: str | None = None,
    flight: str | _os.PathLike[str] | None = None,
    samples: float | None = None,
) -> Emitter:
    """Sets the process's emitter up, once; until then flows cost next to nothing and write nothing.

    component: what speaks, in Dynamo's words: ``frontend``, ``router``, ``vllm``. ``OTEL_SERVICE_NAME`` overrides it.
    instance: which of several alike: a pod, a worker id, a rank.
    versions: names and versions that every start and failure tells.
    sink: the path of a file, ``"stderr"``, ``"none"``, ``"file:PATH"``, ``"mapped:PATH"``, or a ``Sink``.
    form: ``"json"`` or ``"text"``.
    level: the least that is written: ``"info"`` unless ``DYN_LOG`` says otherwise.
    flight: a folder for a flight file, from which others tell what this process had open when it was killed.
    samples: seconds between two records of what the process uses.

    What is not said is as the environment asks for: ``FLOWLOG_SINK``, ``FLOWLOG_FLIGHT``, ``DYN_LOG``, ``DYN_LOGGING_CONSOLE_FORMAT``,
    ``POD_NAME``, OpenTelemetry's variables.

    Raises ValueError for what cannot stand in a record, OSError where a file cannot be made, RuntimeError the second time.
    """
    return Emitter(component, instance, versions, sink, form=form, level=level, flight=flight, samples=samples, _own=True)


def child_env(env: dict[str, str] | None = None) -> dict[str, str]:
    """A copy of the environment (or of ``env``) with the current flow in it, for ``subprocess``: the child's first flow joins it."""
    copy = dict(_os.environ if env is None else env)
    for name, value in inject({}).items():
        copy[name.upper()] = value
    return copy


def __getattr__(name: str) -> _Any:
    """Loads the analyzer when it is asked for: a component that only emits starts sooner without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_import_module("._analysis" if name in ("analyze", "events") else "._report", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__


def _watch_forks() -> None:
    """Lets processes of ``multiprocessing`` that are forked say that they end: they leave without ``atexit``."""
    util: _Any = _sys.modules.get("multiprocessing.util")
    if util is not None and not _watched:
        _watched.append(util)
        # What it is registered for is kept by a weak reference: the module stays.
        util.register_after_fork(_sys.modules[__name__], lambda _: util.Finalize(None, close, exitpriority=-100))


_watched: list[object] = []
_atexit.register(close)
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(before=_watch_forks)
