"""The analyzer's doors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from . import _flowlog
from ._report import Report

_Path = str | os.PathLike[str]

#: The epoch of log times.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The last moment that log times can tell, in nanoseconds.
_LAST = 2**63 - 1


def analyze(
    paths: _Path | Iterable[_Path],
    *,
    owners: _Path | Iterable[_Path] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    components: str | Iterable[str] = (),
    flows: str | Iterable[str] = (),
    memory_limit: int | None = None,
    threads: int = 0,
    progress: Callable[[int, int, int], object] | None = None,
) -> Report:
    """Reads logs once and says what failed, where first, and whose it is.

    paths: log files and folders, packed or not, in any format that ``flowlog-analyze`` knows.
    owners: ``owners.toml``, Markdown tables, ``areas.yaml`` or CODEOWNERS; of two that differ the first counts.
    since, until: leaves out lines before and after; a time without a zone is in UTC.
    components, flows: reads these alone; a flow is judged by what was logged around it.
    memory_limit: bytes for flows, about; what does not fit is counted, not judged.
    threads: 0 takes one per core.
    progress: called with bytes read, bytes in all and failed spans so far, some twenty times a second.

    Ctrl-C, and whatever ``progress`` raises, ends it. Raises FileNotFoundError where no source could be read, ValueError for what
    is no flow's id or no table of owners.
    """
    analysis = _flowlog.analyze(
        _paths(paths),
        owners=_paths(owners),
        since=_nanoseconds(since),
        until=_nanoseconds(until),
        components=_texts(components),
        flows=_texts(flows),
        memory_limit=memory_limit,
        threads=threads,
        progress=progress,
    )
    return Report.of(analysis)


def events(
    paths: _Path | Iterable[_Path],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    components: str | Iterable[str] = (),
    flows: str | Iterable[str] = (),
    threads: int = 0,
) -> _flowlog.Events:
    """The events of logs as an Arrow stream, read while it is asked for: no more than a few chunks are held.

    Columns: ``time``, ``level``, ``component``, ``instance``, ``flow_id``, ``event`` (start, state, end, fail, cancel), ``state``,
    ``error_type``, ``message``, ``format``, ``source``, ``offset``. A stack is one event; what no format knows has no format.

    >>> duckdb.sql("select component, count(*) from events where level = 'ERROR' group by all")  # doctest: +SKIP
    """
    return _flowlog.events(
        _paths(paths),
        since=_nanoseconds(since),
        until=_nanoseconds(until),
        components=_texts(components),
        flows=_texts(flows),
        threads=threads,
    )


def _paths(paths: _Path | Iterable[_Path]) -> list[str]:
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    return [os.fspath(path) for path in paths]


def _texts(texts: str | Iterable[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _nanoseconds(time: datetime | None) -> int | None:
    if time is None:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return max(-_LAST, min((time - _EPOCH) // timedelta(microseconds=1) * 1000, _LAST))
