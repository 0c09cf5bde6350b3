"""Rust and Python code in one process that share a flow."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import read

needs_component = pytest.mark.skipif(importlib.util.find_spec("component") is None, reason="the example `component` is not built; run `scripts/test`")

BEGIN = (
    "import component, sys\n"
    "sys.modules['flowlog._flowlog'] = component._flowlog\n"
    "import asyncio, flowlog\n"
    "flowlog.init('backend', sink='own.jsonl')\n"
)


@needs_component
def test_rust_sees_pythons_flow(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run(
        BEGIN + "assert component.route() is None\n"
        "async def main():\n"
        "    async with flowlog.flow('chat_completion') as flow:\n"
        "        await asyncio.sleep(0)\n"
        "        assert component.route() == flow.flow_id\n"
        "        assert await asyncio.to_thread(component.route) == flow.flow_id\n"
        "asyncio.run(main())\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [(record["flow"], record["event"]) for record in read(tmp_path / "own.jsonl") if "flow" in record]
    shared = [("chat_completion", "state"), ("kv_transfer", "start"), ("kv_transfer", "end")]
    assert said == [("chat_completion", "start"), *shared, *shared, ("chat_completion", "end")]


@needs_component
def test_callbacks_from_rust_see_rusts_flow(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run(
        BEGIN + "def see():\n"
        "    flow = flowlog.current()\n"
        "    flow.state('in_python')\n"
        "    flow.end()\n"
        "    return flow.flow_id\n"
        "async def below(): return see()\n"
        "print(component.call_back(see), component.call_back(lambda: asyncio.run(below())), component.call_back_inside(see))\n"
        "assert flowlog.current() is None\n"
        "try: component.call_back(lambda: 1 / 0)\n"
        "except ZeroDivisionError: print('raised')\n"
    )
    assert done.stderr == ""
    ids = done.stdout.split()
    records = [record for record in read(tmp_path / "own.jsonl") if "flow" in record]
    assert [record["flow_id"] for record in records if record.get("state") == "in_python" and record["event"] == "state"] == ids[:3]
    assert ids[3] == "raised"
    # Python does not end a flow that Rust started.
    assert [record["event"] for record in records] == ["start", "state", "end"] * 3 + ["start", "end"]


@needs_component
def test_records_do_not_need_the_interpreter(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run(BEGIN + "print(component.write(1000))")
    assert done.stdout == "True\n"
    assert len(read(tmp_path / "own.jsonl")) == 1004
