"""Ordinary log lines in flows: a filter that adds the flow ID, and a handler that writes records.

Put ``%(flow_id)s`` into a format string, and the analyzer finds the flow of each line by it:

>>> import logging
>>> handler = logging.StreamHandler()
>>> handler.addFilter(FlowFilter())
>>> handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s flow_id=%(flow_id)s %(message)s"))

Use ``fields`` in a processor of structlog, or in a patcher of loguru:

    structlog.configure(processors=[lambda logger, method, event: {**event, **flowlog.fields()}, ...])
    loguru.logger.configure(patcher=lambda record: record["extra"].update(flowlog.fields()))
"""

from __future__ import annotations

import logging

from ._flowlog import current

#: Attributes that every record of ``logging`` has; any other attribute is an extra.
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "flow_id", "trace_id", "span_id"}


def fields() -> dict[str, str]:
    """Returns the current flow as fields of a log line; empty outside flows.

    The fields are ``flow_id``, ``trace_id``, ``span_id``, and ``flow``, the kind of the flow.
    """
    flow = current()
    if flow is None or flow.flow_id is None:
        return {}
    return {"flow_id": flow.flow_id, "trace_id": flow.trace_id or "", "span_id": flow.span_id or "", "flow": flow.kind}


class FlowFilter(logging.Filter):
    """Adds ``flow_id``, ``trace_id`` and ``span_id`` to every record, for the formatter.

    Outside flows, existing values stay, and missing ones become ``-``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        stamp = fields()
        for name in ("flow_id", "trace_id", "span_id"):
            setattr(record, name, stamp.get(name) or getattr(record, name, "-"))
        return super().filter(record)


class FlowHandler(logging.Handler):
    """Writes each log record inside a flow as a record of that flow.

    The record carries the level, code location, exception and extras. Outside flows, nothing is
    written; use another handler there. The level does not decide the outcome: an ERROR does not
    fail the flow.
    """

    def emit(self, record: logging.LogRecord) -> None:
        flow = current()
        if flow is None:
            return
        try:
            error = record.exc_info[1] if record.exc_info else None
            extras = {name: value for name, value in record.__dict__.items() if name not in _OWN}
            place = (record.name, record.pathname, record.lineno)
            flow._log(record.levelno, place, record.getMessage(), error, extras)
        except Exception:
            self.handleError(record)
