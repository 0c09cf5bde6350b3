"""Diagnosis of a failed test from the logs of the processes that it started."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import flowlog

#: Maximum seconds to spend on the analysis of a failed test.
_TIMEOUT_S = 20

#: Maximum characters of a log line in the summary.
_WIDTH = 200


@dataclass(frozen=True)
class Finding:
    """The component that failed first, according to a test's logs."""

    component: str
    instance: str | None
    pic: str | None
    summary: str
    evidence: tuple[flowlog.Evidence, ...]

    def properties(self) -> list[tuple[str, object]]:
        """Returns the finding as properties, for JUnit XML and for the process that writes it."""
        finding = {"component": self.component, "instance": self.instance, "pic": self.pic, "summary": self.summary}
        properties: list[tuple[str, object]] = [(f"flowlog.{name}", value) for name, value in finding.items() if value]
        return properties + [("flowlog.evidence", f"{line.source}:{line.line}") for line in self.evidence]

    def text(self) -> str:
        lines = [self.summary]
        if self.pic:
            lines.append(f"owner: {self.pic}")
        lines += [f"{line.source}:{line.line}: {line.text[:_WIDTH]}" for line in self.evidence]
        return "\n".join(lines)


def expand(patterns: Iterable[str], name: str, root: Path) -> list[Path]:
    """Returns the files and folders that match the patterns; ``{name}`` is the test's name."""
    escaped = re.sub(r"([*?\[])", r"[\1]", name)
    found: list[Path] = []
    for pattern in patterns:
        named = root / pattern.replace("{name}", escaped)
        anchor = Path(named.anchor)
        found += sorted(anchor.glob(str(named.relative_to(anchor))))
    return found


def find(paths: Sequence[Path], owners: Sequence[Path], since: float, root: Path) -> Finding | None:
    """Returns what failed first after ``since``, or None.

    Paths below ``root`` are shown relative to it.
    """
    paths = [path for path in paths if path.exists()]
    if not paths:
        return None
    deadline = time.monotonic() + _TIMEOUT_S

    def check(read: int, total: int, _failures: int) -> None:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"only {read >> 20} of {total >> 20} MiB of logs were read in {_TIMEOUT_S} s; run `flowlog-analyze` to read all of them"
            )

    report = flowlog.analyze(paths, owners=owners, since=datetime.fromtimestamp(since, UTC), progress=check)
    verdict = report.verdict
    if verdict.outcome not in ("failed", "recovered") or verdict.component is None:
        return None
    evidence = tuple(replace(line, source=line.source.removeprefix(f"{root}/")) for line in verdict.evidence[:3])
    return Finding(verdict.component, verdict.instance, verdict.owner.pic, verdict.summary, evidence)
