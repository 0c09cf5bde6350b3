"""The analyzer from Python: the same results, as data, tables and renderings."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import flowlog
import pandas
import polars
import pyarrow
import pytest
import rich.console

ROOT = Path(__file__).parents[2]
RUN = ROOT / "examples" / "failed-run"
GOLDEN = ROOT / "schema" / "golden"

OWNERS = '[component.prefill]\npic = "Ann Example"\n'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> flowlog.Report:
    owners = tmp_path_factory.mktemp("owners") / "owners.toml"
    owners.write_text(OWNERS)
    return flowlog.analyze(RUN, owners=owners)


def test_a_failed_run(report: flowlog.Report) -> None:
    verdict = report.verdict
    assert (verdict.outcome, verdict.component, verdict.instance) == ("failed", "prefill", "7532250978119109882")
    assert verdict.owner == flowlog.Owner("prefill", "Ann Example")
    assert 0 < verdict.confidence <= 1
    assert "prefill (7532250978119109882) failed first" in verdict.summary
    line = verdict.evidence[0]
    assert isinstance(line, flowlog.Evidence)
    assert Path(line.source).read_text().splitlines()[line.line - 1].startswith(line.text[:100])
    assert str(line).startswith(f"{line.source}:{line.line}: ")
    assert (report.flows.total, report.flows.failed, report.flows.ok) == (19, 10, 9)
    assert (report.input.sources, report.input.read_errors, report.input.problems.lost_records) == (4, (), 0)
    assert sum(report.input.formats.values()) == report.input.lines
    assert report.trends == ()


def test_failures_are_rows(report: flowlog.Report) -> None:
    failure = report.failures[0]
    assert (failure.kind, failure.component, failure.flows, failure.owner.pic) == ("crash", "prefill", 10, "Ann Example")
    assert failure.affected
    assert (failure.why.rule, len(failure.why.steps)) == ("silent_process", 5)
    died = failure.why.steps[2]
    assert "without shutting down" in died.text
    assert died.evidence is not None
    assert str(died).endswith(f"{died.evidence.source}:{died.evidence.line})")
    assert failure.why.contradicted_by
    assert failure.why.rejected == ()
    assert all(isinstance(each, str) for each in failure.examples)
    assert len(report.failures) == len(list(report.failures))
    assert report.failures[:1] == [failure]
    assert list(report.failures)[0] == failure
    flows = list(report.flow_failures)
    assert len(flows) == 10
    assert {flow.fingerprint for flow in flows} == {failure.fingerprint}
    assert isinstance(flows[0], flowlog.FlowFailure)
    assert repr(report.failures).startswith("[Failure(fingerprint='v1:")
    assert report.failures == report.failures
    assert report.failures != report.flow_failures
    with pytest.raises(IndexError):
        report.failures[99]


def test_report_matches_the_command(report: flowlog.Report) -> None:
    report_dict = report.to_dict()
    assert report_dict["schema"] == "flowlog.report.v1"
    assert report_dict["verdict"]["component"] == "prefill"
    report_dict["verdict"]["component"] = "changed"
    assert report.to_dict()["verdict"]["component"] == "prefill"
    assert report.to_text() == str(report)
    assert str(report).startswith("FAILED  prefill (7532250978119109882) failed first")
    assert "prefill" in report.to_markdown()
    with pytest.raises(TypeError, match="to_dict"):
        pickle.dumps(report)
    assert json.loads(pickle.loads(pickle.dumps(json.dumps(report.to_dict()))))["flows"]["failed"] == 10


def test_arrow_consumers_read_tables(report: flowlog.Report) -> None:
    failures, flows = report.failures, report.flow_failures
    for frame in (polars.DataFrame(failures), pandas.DataFrame.from_arrow(failures), pyarrow.table(failures).to_pandas()):
        assert list(frame["component"]) == [failure.component for failure in failures]
        assert list(frame["flows"]) == [failure.flows for failure in failures]
        assert list(frame["pic"])[0] == "Ann Example"
        assert list(list(frame["affected"])[0]) == list(failures[0].affected)
    table = pyarrow.table(failures)
    assert table.schema.field("first").type == pyarrow.timestamp("ns", "UTC")
    assert table["line"][0].as_py() == failures[0].evidence[0].line
    assert duckdb.sql("select component, count(*) from flows group by all").fetchall() == [("prefill", 10)]
    assert pyarrow.table(flows)["flow_id"].to_pylist() == [flow.flow_id for flow in flows]
    assert len(report._analysis.failures()) == len(failures)


def test_renderings(report: flowlog.Report, tmp_path: Path) -> None:
    console = rich.console.Console(record=True, width=200, file=(tmp_path / "shown").open("w"))
    console.print(report)
    assert "prefill (7532250978119109882) failed first" in console.export_text()
    shown = report._repr_html_()
    assert "<b style" in shown
    assert "Ann Example" in shown
    (tmp_path / "x.log").write_text(
        '{"time":"2025-11-22T08:27:15Z","component":"router","event":"fail","flow_id":"019aaaac-a5da-7347-bb80-1089c1876100","span_id":"24b5dddcfdbbee4f",'
        '"error":{"type":"Unavailable","message":"<script>alert(1)</script>"}}\n'
    )
    hostile = flowlog.analyze(tmp_path / "x.log")
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()
    (tmp_path / "empty.log").write_text("")
    assert flowlog.analyze(tmp_path / "empty.log").verdict.outcome == "inconclusive"
    assert "INCONCLUSIVE" in flowlog.analyze(tmp_path / "empty.log")._repr_html_()


def test_suspects_and_baselines(tmp_path: Path) -> None:
    def write(name: str, odd: str) -> Path:
        lines = [f"2025-11-22 08:{minute:02}:15,705 INFO [exec-1] c.s.cart.Cart : served {minute}\n" for minute in range(60)]
        lines[40:40] = [odd] if odd else []
        folder = tmp_path / name
        folder.mkdir()
        (folder / "cart-7d9f8b6c5d-x2x4z.log").write_text("".join(lines))
        return folder

    good = write("good", "")
    bad = write("bad", "2025-11-22 08:40:15,805 ERROR [exec-1] c.s.cart.Cart : no such item 7\n")
    assert flowlog.analyze(bad).verdict.outcome == "inconclusive"
    report = flowlog.analyze(bad, failed=True, baseline=good)
    assert (report.verdict.outcome, report.verdict.component) == ("failed", "cart")
    suspect = report.suspects[0]
    assert isinstance(suspect, flowlog.Suspect)
    assert (suspect.component, suspect.count, suspect.template) == ("cart", 1, "no such item *")
    assert suspect.reasons[0].startswith("an error that the baseline does not have")
    assert suspect.evidence[0].line == 41
    assert flowlog.analyze(good, baseline=[good, good]).verdict.outcome == "healthy"
    broken = tmp_path / "broken.profile"
    broken.write_text('{"schema":"flowlog.profile"')
    with pytest.raises(ValueError, match=r"broken\.profile"):
        flowlog.analyze(bad, baseline=broken)
    with pytest.raises(FileNotFoundError):
        flowlog.analyze(bad, baseline=tmp_path / "missing")


def test_golden_records() -> None:
    """Reads the golden records in both encodings, to the same rows."""
    lines = [json.loads(line) for line in (GOLDEN / "records.jsonl").read_text().splitlines()]
    as_json = polars.DataFrame(flowlog.events(GOLDEN / "records.jsonl"))
    as_text = polars.DataFrame(flowlog.events(GOLDEN / "records.log"))
    assert len(as_json) == len(lines)
    for row, line in zip(as_json.iter_rows(named=True), lines, strict=True):
        assert row["component"] == line["component"]
        assert row["instance"] == line.get("instance")
        assert row["flow_id"] == line.get("flow_id")
        assert row["level"] == line.get("level")
        if line["event"] in ("start", "state", "end", "fail", "cancel") and line.get("flow_id"):
            assert row["event"] == line["event"]
        if "time" in line:
            assert row["time"] == datetime.fromisoformat(line["time"])
    same = ["time", "level", "component", "instance", "flow_id", "event", "state", "error_type"]
    assert as_json[same].equals(as_text[same])


def test_events(tmp_path: Path) -> None:
    whole = polars.DataFrame(flowlog.events(RUN))
    lines = sum(len(path.read_text().splitlines()) for path in RUN.glob("*.log"))
    assert len(whole) <= lines
    assert set(whole["format"].unique()) >= {"dynamo_json"}
    assert set(whole["source"]) == {str(path) for path in RUN.glob("*.log")}
    assert "prefill" in whole["component"].to_list()
    first = whole.row(0, named=True)
    assert Path(first["source"]).read_bytes()[first["offset"] :].startswith(b"{")
    few = polars.DataFrame(flowlog.events([RUN], components=["prefill"], since=datetime(2026, 11, 22, 18, 39, 19, tzinfo=UTC)))
    assert 0 < len(few) < len(whole)
    assert set(few["source"]) == {str(RUN / "prefill-0.log")}
    (tmp_path / "stack.log").write_text('what nobody knows\nTraceback (most recent call last):\n  File "x.py", line 1, in f\nValueError: gone\n')
    stack = polars.DataFrame(flowlog.events(tmp_path / "stack.log"))
    assert stack["message"].to_list()[0] == "what nobody knows"
    assert len(stack) == 2


def test_events_can_be_read_once_and_abandoned(tmp_path: Path) -> None:
    events = flowlog.events(RUN)
    reader = pyarrow.RecordBatchReader.from_stream(events)
    assert reader.read_next_batch().num_rows > 0
    del reader
    with pytest.raises(ValueError, match="already been read"):
        pyarrow.table(events)


def test_unreadable_input(tmp_path: Path) -> None:
    for ask in (flowlog.analyze, flowlog.events):
        with pytest.raises(FileNotFoundError, match=r"no-such\.log"):
            ask(tmp_path / "no-such.log")
        with pytest.raises(ValueError, match="no path"):
            ask([])
        with pytest.raises(ValueError, match="invalid flow ID"):
            ask(RUN, flows=[" "])
    report = flowlog.analyze([RUN, tmp_path / "no-such.log"])
    assert [error.source for error in report.input.read_errors] == [str(tmp_path / "no-such.log")]
    with pytest.raises(FileNotFoundError, match="no-owners"):
        flowlog.analyze(RUN, owners=tmp_path / "no-owners.toml")
    (tmp_path / "owners.toml").write_text("[component")
    with pytest.raises(ValueError, match=r"owners\.toml"):
        flowlog.analyze(RUN, owners=[tmp_path / "owners.toml"])
    with pytest.raises(AttributeError, match="nothing"):
        flowlog.nothing  # noqa: B018
    with pytest.raises(ValueError, match="xml"):
        flowlog.analyze(RUN)._analysis.render("xml")
    assert set(dir(flowlog)) >= {"analyze", "Report", "flow"}


def test_parts_of_a_run() -> None:
    flow = flowlog.analyze(RUN).flow_failures[0].flow_id
    one = flowlog.analyze(RUN, flows=[flow], threads=1, memory_limit=1 << 30)
    assert (one.flows.total, one.flow_failures[0].flow_id) == (1, flow)
    naive = datetime(2026, 11, 22, 18, 39, 18)
    assert flowlog.analyze(RUN, until=naive).verdict.outcome == "healthy"
    assert flowlog.analyze(RUN, until=naive.replace(tzinfo=timezone(timedelta(hours=2)))).input.lines == 0
    assert flowlog.analyze(RUN, components=["router"]).input.lines < 1238
    # A single string is one value, not a sequence of letters.
    assert flowlog.analyze(RUN, components="prefill").input == flowlog.analyze(RUN, components=["prefill"]).input
    assert flowlog.analyze(RUN, flows=flow).flow_failures == one.flow_failures
    always = flowlog.analyze(RUN, since=datetime.min, until=datetime.max, threads=100_000)
    assert always.flows.failed == 10


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that takes seconds to analyze: no two lines are alike."""
    path = tmp_path_factory.mktemp("big") / "big.log"
    lines = [
        f"2025-11-22T08:{n // 60000 % 60:02}:{n // 1000 % 60:02}.{n % 1000:03}Z ERROR {'xyz'[n % 3] * (n % 97)} request {n:x} of {n * 7919:x} gone: Error {n}\n"
        for n in range(100_000)
    ]
    text = "".join(lines)
    path.write_text(text * 4)
    return path


def test_progress_is_reported(big: Path) -> None:
    steps: list[tuple[int, int, int]] = []
    report = flowlog.analyze(big, progress=lambda *step: steps.append(step))
    read = [step[0] for step in steps]
    assert read == sorted(read)
    assert steps[-1][:2] == (report.input.bytes, big.stat().st_size)

    def stop(read: int, total: int, failures: int) -> None:
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        flowlog.analyze(big, progress=stop)


def test_ctrl_c_stops_the_analysis(big: Path) -> None:
    threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(50):
            flowlog.analyze(big)
    assert time.monotonic() - began < 5


def test_analysis_in_a_forked_process(run: Callable[..., Any]) -> None:
    """The parent's threads do not exist in the child."""
    program = (
        "import flowlog, os, sys\n"
        "assert flowlog.analyze(sys.argv[1]).verdict.component == 'prefill'\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(flowlog.analyze(sys.argv[1]).verdict.component != 'prefill')\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    assert run(program, str(RUN)).stdout == "0\n"
