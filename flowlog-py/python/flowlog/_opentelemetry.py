"""OpenTelemetry's half of the bridge. Imported only where the program has imported ``opentelemetry.trace`` itself."""

from __future__ import annotations

from contextvars import Token

from opentelemetry import context, trace

Attached = Token[context.Context]


def current() -> tuple[int, int, int] | None:
    """Trace id, span id and flags of the span that is current."""
    span = trace.get_current_span().get_span_context()
    return (span.trace_id, span.span_id, int(span.trace_flags)) if span.is_valid else None


def attach(trace_id: int, span_id: int, flags: int) -> Attached:
    """Makes a span current that stands for a flow's: what OpenTelemetry begins now is below it."""
    span = trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=trace.TraceFlags(flags))
    return context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))


def detach(attached: Attached) -> None:
    """Puts back what was current then, whatever others attached since. Called in the context that it was attached in."""
    context.detach(attached)
