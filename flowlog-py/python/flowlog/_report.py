"""The analyzer's answer, as plain data. ``schema/report.schema.json`` has its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Generic, TypeVar, cast, overload

from ._flowlog import Analysis, Table


@dataclass(frozen=True)
class Evidence:
    """One line of a log: the source's path as given, the line's number from 1, and its text, escaped and cut."""

    source: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Owner:
    """Whose a component is: the component or area that the owner was found under, and the point of contact."""

    component: str | None = None
    pic: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer in short. ``outcome`` is failed, recovered, cancelled or healthy."""

    outcome: str
    component: str | None
    instance: str | None
    owner: Owner
    confidence: float
    summary: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class FlowCounts:
    """How many flows came to which outcome."""

    total: int
    ok: int
    failed: int
    recovered: int
    cancelled: int
    rejected: int
    unfinished: int


@dataclass(frozen=True)
class Failure:
    """Failures with one fingerprint. ``kind`` is error, hang, crash or run; times are RFC 3339."""

    fingerprint: str
    kind: str
    component: str
    instances: tuple[str, ...]
    state: str | None
    error_type: str | None
    message: str | None
    flows: int
    first: str | None
    last: str | None
    owner: Owner
    victims: tuple[str, ...]
    confidence: float
    examples: tuple[str, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class FlowFailure:
    """One failed or recovered flow, and who failed first in it."""

    flow_id: str
    outcome: str
    kind: str
    component: str
    instance: str | None
    state: str | None
    error_type: str | None
    time: str | None
    fingerprint: str


@dataclass(frozen=True)
class Unread:
    """A source that could not be read, or not to its end, and why."""

    source: str
    error: str


@dataclass(frozen=True)
class Problems:
    """Oddities that were counted and passed over."""

    duplicate_keys: int
    bad_values: int
    invalid_utf8: int
    long_lines: int
    lost_records: int
    late_records: int
    given_up_flows: int
    guessed_times: int


@dataclass(frozen=True)
class Input:
    """What was read, and how well. ``formats`` counts lines by format and adds up to ``lines``."""

    sources: int
    bytes: int
    lines: int
    records: int
    formats: Mapping[str, int]
    unread: tuple[Unread, ...]
    first: str | None
    last: str | None
    problems: Problems


Row = TypeVar("Row")


class Rows(Generic[Row]):
    """A sequence that is a table, too: pandas, Polars, DuckDB and whatever else reads Arrow take it as it is, without a copy of ours.

    It is no ``collections.abc.Sequence``: Polars would read the rows one by one.

    >>> polars.DataFrame(report.failures)  # doctest: +SKIP
    >>> pandas.DataFrame.from_arrow(report.failures)  # doctest: +SKIP
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], row: Callable[[Mapping[str, Any]], Row], table: Table) -> None:
        self._rows = rows
        self._row = row
        self._table = table

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...

    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        if isinstance(at, slice):
            return [self._row(row) for row in self._rows[at]]
        return self._row(self._rows[at])

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """See https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html."""
        return self._table.__arrow_c_stream__(requested_schema)


@dataclass(frozen=True)
class Report:
    """What failed in a run, where first, and whose it is."""

    input: Input
    verdict: Verdict
    flows: FlowCounts
    failures: Rows[Failure]
    flow_failures: Rows[FlowFailure]
    trends: tuple[Mapping[str, Any], ...]
    _analysis: Analysis = field(repr=False, compare=False)
    _told: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, analysis: Analysis) -> Report:
        """The report of an analysis."""
        import json

        told = json.loads(analysis.json())
        unread = tuple(Unread(**unread) for unread in told["input"]["unread"])
        problems = Problems(**told["input"]["problems"])
        return cls(
            input=Input(**{**told["input"], "unread": unread, "problems": problems}),
            verdict=Verdict(**_with_lines(told["verdict"])),
            flows=FlowCounts(**told["flows"]),
            failures=Rows(told["failures"], _failure, analysis.failures()),
            flow_failures=Rows(told["flow_failures"], lambda flow: FlowFailure(**flow), analysis.flow_failures()),
            trends=tuple(told["trends"]),
            _analysis=analysis,
            _told=told,
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as ``flowlog-analyze --format json`` writes it."""
        import copy

        return cast("dict[str, Any]", copy.deepcopy(self._told))

    def to_text(self) -> str:
        """The report for a person."""
        return self._analysis.render("text")

    def to_markdown(self) -> str:
        """The report for a pull request or an issue."""
        return self._analysis.render("markdown")

    def __str__(self) -> str:
        return self.to_text()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a report cannot be pickled; pickle `report.to_dict()`")

    def __rich__(self) -> object:
        from rich.text import Text

        text = Text(self.to_text())
        text.highlight_regex(r"^(FAILED|RECOVERED)", "bold red")
        text.highlight_regex(r"^(HEALTHY|CANCELLED)", "bold green")
        return text

    def _repr_html_(self) -> str:
        """For notebooks. Everything in it was written by strangers and is escaped."""
        verdict = self.verdict
        color = {"failed": "#b00020", "recovered": "#b06000"}.get(verdict.outcome, "#006b3c")
        shown = [f'<p><b style="color:{color}">{escape(verdict.outcome.upper())}</b> {escape(verdict.summary)}</p>']
        if self.failures:
            head = "".join(f"<th>{name}</th>" for name in ("component", "instances", "what", "flows", "PIC", "where"))
            shown.append(f"<table><thead><tr>{head}</tr></thead><tbody>")
            for failure in self.failures:
                what = ": ".join(part for part in (failure.error_type, failure.message) if part) or failure.kind
                where = "".join(f"<div><code>{escape(f'{line.source}:{line.line}')}</code></div>" for line in failure.evidence[:3])
                cells = (failure.component, ", ".join(failure.instances), what, str(failure.flows), failure.owner.pic or "")
                shown.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + f"<td>{where}</td></tr>")
            shown.append("</tbody></table>")
        return "".join(shown)


def _with_lines(told: Mapping[str, Any]) -> dict[str, Any]:
    evidence = tuple(Evidence(**line) for line in told["evidence"])
    return {**told, "owner": Owner(**told["owner"]), "evidence": evidence}


def _failure(told: Mapping[str, Any]) -> Failure:
    lists = {name: tuple(told[name]) for name in ("instances", "victims", "examples")}
    return Failure(**{**_with_lines(told), **lists})
