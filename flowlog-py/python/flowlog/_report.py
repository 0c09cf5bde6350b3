"""The analyzer's report as plain data. ``schema/report.schema.json`` defines its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Generic, TypeVar, cast, overload

from ._flowlog import Analysis, Table


@dataclass(frozen=True)
class Evidence:
    """One line of a log.

    ``source`` is the path as given, ``line`` the line number from 1, and ``text`` the text, escaped
    and truncated.
    """

    source: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Owner:
    """The owner of a component.

    ``component`` is the component or area that the owner was found under, ``pic`` the point of
    contact.
    """

    component: str | None = None
    pic: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Summary of the analysis. ``outcome`` is failed, recovered, cancelled, healthy or inconclusive."""

    outcome: str
    component: str | None
    instance: str | None
    owner: Owner
    confidence: float
    summary: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class FlowCounts:
    """Number of flows by outcome."""

    total: int
    ok: int
    failed: int
    recovered: int
    cancelled: int
    rejected: int
    unfinished: int


@dataclass(frozen=True)
class Step:
    """One step of an explanation, and the line that shows it, if there is one."""

    text: str
    evidence: Evidence | None

    def __str__(self) -> str:
        return self.text if self.evidence is None else f"{self.text} ({self.evidence.source}:{self.evidence.line})"


@dataclass(frozen=True)
class Alternative:
    """A component that could have failed first, but did not, with the reason."""

    component: str
    instance: str | None
    reason: str
    evidence: Evidence | None


@dataclass(frozen=True)
class Explanation:
    """Why a failure is attributed to its component.

    ``rule`` is the name of the rule that decides (``docs/rules.md``), ``contradicted_by`` what would
    have contradicted it, and ``rejected`` holds the alternatives that were ruled out.
    """

    rule: str
    steps: tuple[Step, ...]
    contradicted_by: str
    rejected: tuple[Alternative, ...]


@dataclass(frozen=True)
class Failure:
    """Failures that share a fingerprint.

    ``kind`` is error, hang, crash or run. Times are in RFC 3339 format.
    """

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
    affected: tuple[str, ...]
    confidence: float
    examples: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    why: Explanation


@dataclass(frozen=True)
class FlowFailure:
    """One failed or recovered flow, and the component that failed first in it."""

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
class Suspect:
    """A component whose lines are unusual, though nothing proves that it failed."""

    component: str
    instance: str | None
    score: float
    reasons: tuple[str, ...]
    template: str | None
    count: int
    first: str | None
    owner: Owner
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class ReadError:
    """A source that could not be read, or not to its end, with the reason."""

    source: str
    error: str


@dataclass(frozen=True)
class Problems:
    """Counts of anomalies in the input that were tolerated."""

    duplicate_keys: int
    bad_values: int
    invalid_utf8: int
    truncated_lines: int
    lost_records: int
    late_records: int
    evicted_flows: int
    inferred_timestamps: int


@dataclass(frozen=True)
class Input:
    """Statistics of the input.

    ``formats`` counts lines by format; the counts add up to ``lines``.
    """

    sources: int
    bytes: int
    lines: int
    records: int
    formats: Mapping[str, int]
    read_errors: tuple[ReadError, ...]
    incomplete: tuple[ReadError, ...]
    first: str | None
    last: str | None
    problems: Problems


Row = TypeVar("Row")


class Rows(Generic[Row]):
    """A sequence that is also a table.

    pandas, Polars, DuckDB and other Arrow consumers read it directly, without an extra copy. It is
    not a ``collections.abc.Sequence``, since Polars would then read the rows one by one.

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
    """The report of a run: what failed, where it failed first, and who owns it."""

    input: Input
    verdict: Verdict
    flows: FlowCounts
    failures: Rows[Failure]
    flow_failures: Rows[FlowFailure]
    suspects: tuple[Suspect, ...]
    trends: tuple[Mapping[str, Any], ...]
    _analysis: Analysis = field(repr=False, compare=False)
    _raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, analysis: Analysis) -> Report:
        """Builds the report of an analysis."""
        import json

        raw = json.loads(analysis.json())
        read_errors = tuple(ReadError(**error) for error in raw["input"]["read_errors"])
        incomplete = tuple(ReadError(**error) for error in raw["input"]["incomplete"])
        problems = Problems(**raw["input"]["problems"])
        return cls(
            input=Input(
                **{
                    **raw["input"],
                    "read_errors": read_errors,
                    "incomplete": incomplete,
                    "problems": problems,
                }
            ),
            verdict=Verdict(**_with_lines(raw["verdict"])),
            flows=FlowCounts(**raw["flows"]),
            failures=Rows(raw["failures"], _failure, analysis.failures()),
            flow_failures=Rows(raw["flow_failures"], lambda flow: FlowFailure(**flow), analysis.flow_failures()),
            suspects=tuple(_suspect(suspect) for suspect in raw["suspects"]),
            trends=tuple(raw["trends"]),
            _analysis=analysis,
            _raw=raw,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as ``flowlog-analyze --format json`` writes it."""
        import copy

        return cast("dict[str, Any]", copy.deepcopy(self._raw))

    def to_text(self) -> str:
        """Returns the report as text, for a terminal."""
        return self._analysis.render("text")

    def to_markdown(self) -> str:
        """Returns the report as Markdown, for a pull request or an issue."""
        return self._analysis.render("markdown")

    def __str__(self) -> str:
        return self.to_text()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a report cannot be pickled; pickle `report.to_dict()` instead")

    def __rich__(self) -> object:
        from rich.text import Text

        text = Text(self.to_text())
        text.highlight_regex(r"^(FAILED|RECOVERED)", "bold red")
        text.highlight_regex(r"^(HEALTHY|CANCELLED)", "bold green")
        text.highlight_regex(r"^INCONCLUSIVE", "bold yellow")
        return text

    def _repr_html_(self) -> str:
        """Renders the report for notebooks. All values come from untrusted logs and are escaped."""
        verdict = self.verdict
        color = {"failed": "#b00020", "recovered": "#b06000", "inconclusive": "#b06000"}.get(verdict.outcome, "#006b3c")
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


def _with_lines(raw: Mapping[str, Any]) -> dict[str, Any]:
    evidence = tuple(Evidence(**line) for line in raw["evidence"])
    return {**raw, "owner": Owner(**raw["owner"]), "evidence": evidence}


def _with_line(raw: Mapping[str, Any]) -> dict[str, Any]:
    line = raw["evidence"]
    return {**raw, "evidence": None if line is None else Evidence(**line)}


def _explanation(raw: Mapping[str, Any]) -> Explanation:
    steps = tuple(Step(**_with_line(step)) for step in raw["steps"])
    rejected = tuple(Alternative(**_with_line(each)) for each in raw["rejected"])
    return Explanation(raw["rule"], steps, raw["contradicted_by"], rejected)


def _suspect(raw: Mapping[str, Any]) -> Suspect:
    return Suspect(**{**_with_lines(raw), "reasons": tuple(raw["reasons"])})


def _failure(raw: Mapping[str, Any]) -> Failure:
    lists = {name: tuple(raw[name]) for name in ("instances", "affected", "examples")}
    return Failure(**{**_with_lines(raw), **lists, "why": _explanation(raw["why"])})
