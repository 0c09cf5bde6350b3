"""The Python half of the bridge to OpenTelemetry.

Imported only if the program itself has imported ``opentelemetry.trace``.
"""

from __future__ import annotations

from contextvars import Token

from opentelemetry import context, trace

Attached = Token[context.Context]


def current() -> tuple[int, int, int] | None:
    """Returns the trace ID, span ID and flags of the current span."""
    span = trace.get_current_span().get_span_context()
    return (span.trace_id, span.span_id, int(span.trace_flags)) if span.is_valid else None


def attach(trace_id: int, span_id: int, flags: int) -> Attached:
    """Makes a span current that represents a flow; new OpenTelemetry spans become its children."""
    span = trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=trace.TraceFlags(flags))
    return context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))


def detach(attached: Attached) -> None:
    """Restores the context from before ``attach``, regardless of what others have attached since.

    Must be called in the context in which ``attach`` was called.
    """
    context.detach(attached)
