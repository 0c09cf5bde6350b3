"""Ordinary log lines in flows."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import flowlog
import loguru
import pytest
import structlog
from conftest import Log


@pytest.fixture
def logger() -> Any:
    logger = logging.getLogger("vllm.engine")
    # Keep intentional errors from pytest's own handlers.
    logger.propagate, logger.handlers = False, []
    logger.setLevel(1)
    yield logger
    logger.propagate, logger.handlers = True, []


def test_handler_writes_log_records_into_flows(log: Log, logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logger.handlers = [flowlog.FlowHandler()]
    logger.info("outside")
    with log.flow() as flow:
        flow.state("decode")
        for level in (5, logging.DEBUG, logging.INFO, logging.WARNING, logging.CRITICAL):
            logger.log(level, "step %d", 7, extra={"rank": 3, "seq": 1})
        try:
            raise ValueError("gone")
        except ValueError:
            logger.exception("it failed")
        logger.info("bad %d", "words")
    records = log.records()[2:-1]
    assert [record["level"] for record in records] == ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "ERROR"]
    first, failed = records[0], records[-1]
    assert (first["event"], first["state"], first["message"], first["target"], first["rank"]) == (
        "state",
        "decode",
        "step 7",
        "vllm.engine",
        3,
    )
    assert first["file"].endswith("test_logging.py")
    assert first["line"] > 0
    assert (failed["message"], failed["error"]) == ("it failed", {"type": "ValueError", "message": "gone"})
    assert log.said()[-1] == ("chat_completion", "end")
    # Like `logging` itself: report the error to standard error and continue.
    assert "Logging error" in capsys.readouterr().err


def test_emitter_level_applies(tmp_path: Path, logger: logging.Logger) -> None:
    logger.addHandler(flowlog.FlowHandler())
    with flowlog.Emitter("backend", sink=tmp_path / "own", level="warn") as emitter, emitter.flow("x"):
        logger.info("quiet")
        logger.warning("loud")
    assert "loud" in (tmp_path / "own").read_text()
    assert "quiet" not in (tmp_path / "own").read_text()


def test_analyzer_finds_the_flow_of_stamped_lines(log: Log, logger: logging.Logger, tmp_path: Path) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.addFilter(flowlog.FlowFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s flow_id=%(flow_id)s %(message)s"))
    logger.addHandler(handler)
    logger.info("outside")
    with log.flow() as flow:
        logger.error("no block left")
    first, second = text.getvalue().splitlines()
    assert " flow_id=- outside" in first
    assert f"flow_id={flow.flow_id} no block left" in second
    path = tmp_path / "vllm.log"
    path.write_text(text.getvalue())
    import polars

    events = polars.DataFrame(flowlog.events(path))
    assert events["flow_id"].to_list() == [None, flow.flow_id]
    assert events["component"].to_list() == ["vllm", "vllm"]


def test_existing_attributes_are_kept(log: Log) -> None:
    record = logging.makeLogRecord({"trace_id": "other-1", "flow": "users"})
    assert flowlog.FlowFilter().filter(record)
    assert (record.trace_id, record.flow, record.flow_id) == ("other-1", "users", "-")  # type: ignore[attr-defined]
    with log.flow() as flow:
        flowlog.FlowFilter().filter(record)
    assert (record.trace_id, record.flow) == (flow.trace_id, "users")  # type: ignore[attr-defined]


def test_structlog(log: Log) -> None:
    text = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(text),
        processors=[lambda logger, method, event: {**event, **flowlog.fields()}, structlog.processors.JSONRenderer()],
    )
    logger.info("outside")
    with log.flow() as flow:
        logger.info("inside", rank=3)
    outside, inside = (json.loads(line) for line in text.getvalue().splitlines())
    assert outside == {"event": "outside"}
    assert inside == {
        "event": "inside",
        "rank": 3,
        "flow_id": flow.flow_id,
        "trace_id": flow.trace_id,
        "span_id": flow.span_id,
        "flow": flow.kind,
    }


def test_loguru(log: Log) -> None:
    text = io.StringIO()
    logger = loguru.logger.patch(lambda record: record["extra"].update(flowlog.fields()))
    logger.remove()
    logger.add(text, format="{extra[flow_id]} {message}")
    with log.flow() as flow:
        logger.info("inside")
    assert text.getvalue() == f"{flow.flow_id} inside\n"
