"""Entry points of the analyzer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from . import _flowlog
from ._report import Report

_Path = str | os.PathLike[str]

#: Epoch of log timestamps.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Latest timestamp that can be represented, in nanoseconds since the epoch.
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
    failed: bool = False,
    baseline: _Path | Iterable[_Path] = (),
) -> Report:
    """Reads logs once and reports what failed, where it failed first, and who owns it.

    paths: log files and folders, plain, compressed or archived, in any format that
        ``flowlog-analyze`` supports.
    owners: ``owners.toml``, Markdown tables, ``areas.yaml`` or CODEOWNERS. The first file wins on
        conflicts.
    since, until: skip lines before and after these times. A time without a zone is in UTC.
    components, flows: only read these. For a flow, lines logged around the same time are read too.
    memory_limit: approximate memory for flows, in bytes. Flows that do not fit are counted, but not
        analyzed.
    threads: number of threads; 0 means one per core.
    progress: called about 20 times a second with the bytes read, the total bytes, and the failed
        spans so far.
    failed: the run is known to have failed, so that the best suspect is named if no failure is
        proven.
    baseline: logs of good runs to compare with, or profiles as ``flowlog-analyze profile`` writes
        them.

    Ctrl-C, or any exception that ``progress`` raises, stops the analysis. Raises FileNotFoundError
    if no source could be read, and ValueError for an invalid flow ID or table of owners.
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
        failed=failed,
        baseline=_paths(baseline),
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
    """Returns the events of logs as an Arrow stream.

    Logs are read as the stream is consumed; only a few chunks are kept in memory.

    Columns: ``time``, ``level``, ``component``, ``instance``, ``flow_id``, ``event`` (start, state,
    end, fail, cancel), ``state``, ``error_type``, ``message``, ``format``, ``source``, ``offset``.
    A stack trace is one event. Lines in no known format have no ``format``.

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
