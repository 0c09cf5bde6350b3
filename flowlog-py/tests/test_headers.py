"""Flow propagation in headers, in every form that Python libraries use."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any

import flowlog
import pytest
from conftest import Log, read

PARENT = "00-019aaaaca5da7347bb801089c1876100-24b5dddcfdbbee4f-02"
FLOW = "019aaaac-a5da-7347-bb80-1089c1876100"


class MultiDict(UserDict[str, str]):
    """A multi-value header map like those of starlette and httpx."""

    def __init__(self, *items: tuple[str, str]) -> None:
        super().__init__(items)
        self._items = list(items)

    def multi_items(self) -> list[tuple[str, str]]:
        return self._items


@pytest.mark.parametrize(
    ("headers", "flow_id", "malformed"),
    [
        ({"traceparent": PARENT}, FLOW, 0),
        ({"TraceParent": PARENT.encode()}, FLOW, 0),
        ({"traceparent": [PARENT]}, FLOW, 0),
        ([("traceparent", PARENT)], FLOW, 0),
        ([(b"traceparent", PARENT.encode()), (b"\xff", b"")], FLOW, 0),
        (MultiDict(("traceparent", PARENT), ("traceparent", "00-1")), None, 1),
        ({"x-flow-id": FLOW, "x-request-id": "r-7"}, FLOW, 0),
        ({"traceparent": "gone", "other": 7}, None, 1),
        ({}, None, 0),
    ],
)
def test_join_continues_the_callers_flow(log: Log, headers: Any, flow_id: str | None, malformed: int) -> None:
    with log.emitter.join(headers, "generate", model="tiny") as flow:
        pass
    start = log.records()[0]
    assert start["model"] == "tiny"
    assert (flow.flow_id == FLOW) == (flow_id == FLOW)
    assert log.emitter.health()["malformed_headers"] == malformed
    if "traceparent" in str(headers).lower() and flow_id:
        assert start["parent_id"] == "24b5dddcfdbbee4f"


@pytest.mark.parametrize(
    "headers",
    [{}, {"TRACEPARENT": "old", "a": "b"}, [], [("Traceparent", "old"), ("a", "b")], [(b"traceparent", b"old"), (b"a", b"b")]],
)
def test_injected_headers_can_be_joined(log: Log, headers: Any) -> None:
    with log.flow() as flow:
        assert flowlog.inject(headers) is headers
    with log.emitter.join(headers) as joined:
        assert (joined.flow_id, joined.kind) == (flow.flow_id, "request")
    assert log.emitter.health()["malformed_headers"] == 0
    assert str(headers).lower().count("traceparent") == 1
    assert log.records()[-1]["parent_id"] == flow.span_id


def test_inject_outside_flows_writes_nothing() -> None:
    assert flowlog.inject({"a": "b"}) == {"a": "b"}


def test_responses_propagate_the_clock(log: Log) -> None:
    with log.flow() as caller:
        request = caller.inject({})
        with log.emitter.join(request, "generate") as callee:
            callee.state("prefill")
        answer = callee.inject_response({})
        caller.merge_clock(answer)
        caller.merge_clock({"tracestate": "what"})
        caller.state("answered")
    clocks = {(record["flow"], record["event"]): record["clock"] for record in log.records()}
    assert clocks["chat_completion", "state"] > clocks["generate", "end"]


def test_module_level_functions(run: Callable[..., Any], tmp_path: Any) -> None:
    program = (
        "import flowlog\n"
        "flowlog.init('backend', sink='own.jsonl')\n"
        f"with flowlog.join({{'traceparent': '{PARENT}', 'tracestate': 'rojo=1'}}, 'generate') as flow:\n"
        "    print(flowlog.inject({})['tracestate'].split(',')[1], flow.flow_id)\n"
    )
    assert run(program).stdout == f"rojo=1 {FLOW}\n"
    assert read(tmp_path / "own.jsonl")[1]["flow_id"] == FLOW


def test_header_maps_of_all_kinds(log: Log) -> None:
    import email.message

    message = email.message.Message()
    message["Traceparent"] = PARENT
    for headers in (message, [[b"traceparent", bytearray(PARENT.encode())]], (("traceparent", PARENT),)):
        with log.emitter.join(headers) as flow:  # type: ignore[arg-type]
            assert flow.flow_id == FLOW
    for nothing in (None, 7, [7], ["traceparent"], object()):
        with log.emitter.join(nothing) as flow:  # type: ignore[arg-type]
            assert flow.flow_id not in (None, FLOW)
    with log.flow() as flow:
        flow.inject(message)  # type: ignore[type-var]
        assert message.get_all("traceparent") == [flow.inject({})["traceparent"]]
        for fixed in ((), 7):
            with pytest.raises((TypeError, AttributeError)):
                flow.inject(fixed)  # type: ignore[type-var]
