"""Ordinary log lines in flows: a filter that stamps them, a handler that makes records of them.

Whoever formats lines puts ``%(flow_id)s`` where the flow is to stand, and the analyzer finds the line's flow by it:

>>> import logging
>>> handler = logging.StreamHandler()
>>> handler.addFilter(FlowFilter())
>>> handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s flow_id=%(flow_id)s %(message)s"))

structlog takes ``fields`` as a processor, loguru as a patcher:

    structlog.configure(processors=[lambda logger, method, event: {**event, **flowlog.fields()}, ...])
    loguru.logger.configure(patcher=lambda record: record["extra"].update(flowlog.fields()))
"""

from __future__ import annotations

import logging

from ._flowlog import current

#: What a record of ``logging`` has of itself; anything else in it is an extra.
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "flow_id", "trace_id", "span_id"}


def fields() -> dict[str, str]:
    """The current flow as fields of a log line: ``flow_id``, ``trace_id``, ``span_id`` and its kind, ``flow``. Empty outside flows."""
    flow = current()
    if flow is None or flow.flow_id is None:
        return {}
    return {"flow_id": flow.flow_id, "trace_id": flow.trace_id or "", "span_id": flow.span_id or "", "flow": flow.kind}


class FlowFilter(logging.Filter):
    """Gives every record ``flow_id``, ``trace_id`` and ``span_id`` for the formatter to show: ``-`` outside flows, but for what others put there."""

    def filter(self, record: logging.LogRecord) -> bool:
        stamp = fields()
        for name in ("flow_id", "trace_id", "span_id"):
            setattr(record, name, stamp.get(name) or getattr(record, name, "-"))
        return super().filter(record)


class FlowHandler(logging.Handler):
    """Puts what is logged inside a flow into it: as a record of its own, with level, place, exception and extras.

    Outside flows it writes nothing: another handler does. Level proves nothing, so an ERROR fails no flow.
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
