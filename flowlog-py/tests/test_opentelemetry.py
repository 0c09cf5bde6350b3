"""Propagation to and from OpenTelemetry's current span."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Log
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> trace.Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider.get_tracer("test")


def test_flow_inside_a_span_joins_its_trace(log: Log, tracer: trace.Tracer) -> None:
    with tracer.start_as_current_span("http") as span, log.flow() as flow:
        around = span.get_span_context()
        assert flow.trace_id == f"{around.trace_id:032x}"
    assert log.records()[0]["parent_id"] == f"{around.span_id:016x}"


def test_span_inside_a_flow_joins_the_flow(log: Log, tracer: trace.Tracer, spans: InMemorySpanExporter) -> None:
    with log.flow() as flow:
        with tracer.start_as_current_span("attention"):
            pass
        assert not isinstance(trace.get_current_span(), type(None))
    assert not trace.get_current_span().get_span_context().is_valid
    (span,) = spans.get_finished_spans()
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (flow.trace_id, flow.span_id)


def test_nested_flow_is_independent(log: Log, tracer: trace.Tracer) -> None:
    with log.flow("outer") as outer:
        with log.flow("inner") as inner:
            assert inner.flow_id != outer.flow_id
        with tracer.start_as_current_span("attention"), log.flow("below") as below:
            assert below.flow_id == outer.flow_id


def test_instrumented_server_span_becomes_the_parent(log: Log, tracer: trace.Tracer) -> None:
    with tracer.start_as_current_span("client") as client:
        sent = client.get_span_context()
    headers = {"traceparent": f"00-{sent.trace_id:032x}-{sent.span_id:016x}-01"}
    remote = trace.SpanContext(sent.trace_id, sent.span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    with tracer.start_as_current_span("server", context=context) as server, log.emitter.join(headers):
        pass
    assert log.records()[0]["parent_id"] == f"{server.get_span_context().span_id:016x}"
    with tracer.start_as_current_span("other"), log.emitter.join(headers):
        pass
    assert log.records()[2]["parent_id"] == f"{sent.span_id:016x}"


def test_block_exited_elsewhere_keeps_the_opentelemetry_context(log: Log, tracer: trace.Tracer, caplog: pytest.LogCaptureFixture) -> None:
    def items() -> Iterator[int]:
        with log.flow("items"):
            yield 1

    generator = items()
    contextvars.copy_context().run(next, generator)
    with tracer.start_as_current_span("http") as span:
        generator.close()
        assert trace.get_current_span() is span
    assert caplog.records == []


def test_opentelemetry_is_not_imported_by_flowlog(run: Callable[..., Any]) -> None:
    done = run("import flowlog, sys\nflowlog.init('b', sink='none')\nwith flowlog.flow('x'): pass\nprint('opentelemetry' in sys.modules)")
    assert done.stdout == "False\n"


def test_leaked_attachments_are_detached(log: Log) -> None:
    from opentelemetry import baggage, context

    with log.flow("one") as one:
        context.attach(baggage.set_baggage("k", "v"))
    assert not trace.get_current_span().get_span_context().is_valid
    with log.flow("two") as two:
        assert one.flow_id != two.flow_id
