"""A single flow: its records, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import math
import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import flowlog
import numpy
import pytest
from conftest import Log, read


def test_a_block_is_a_flow(log: Log) -> None:
    with log.flow(model="tiny") as flow:
        assert flow.is_open
        flow.state("prefill", tokens=12)
        flow.record(cached=3)
        flow.state("decode")
    assert not flow.is_open
    start, prefill, decode, end = log.records()
    assert [record["event"] for record in (start, prefill, decode, end)] == ["start", "state", "state", "end"]
    assert (start["component"], start["instance"], start["versions"], start["model"]) == (
        "backend",
        "backend-0",
        {"dynamo": "1.6.1"},
        "tiny",
    )
    assert (prefill["state"], prefill["tokens"], decode["cached"]) == ("prefill", 12, 3)
    assert {record["flow_id"] for record in log.records()} == {flow.flow_id}
    assert (start["trace_id"], start["span_id"], start["flow"]) == (flow.trace_id, flow.span_id, flow.kind)
    assert repr(flow) == f"<flowlog.Flow chat_completion {flow.flow_id}>"
    clocks = [record["clock"] for record in log.records()]
    assert clocks == sorted(set(clocks))


class Rank(IntEnum):
    FIRST = 7


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (12, 12),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (2**70, str(2**70)),
        (True, True),
        (0.25, 0.25),
        (math.inf, "inf"),
        ('a "b"\n\x1b[2J', 'a "b"\n\x1b[2J'),
        ("lone \ud800 half", "lone � half"),
        (numpy.int64(5), 5),
        (numpy.float64(0.5), 0.5),
        (Rank.FIRST, 7),
        ([1, "two"], "[1, 'two']"),
        (Path("/models"), "/models"),
        (Silent(), "<unprintable Silent object>"),
    ],
)
def test_values_are_recorded(log: Log, value: object, expected: object) -> None:
    with log.flow() as flow:
        flow.state("x", value=value, nothing=None)
    record = log.records()[1]
    found = record["value"]
    # A lone surrogate becomes one replacement character, or one for each of its bytes.
    assert found == expected or (isinstance(value, str) and found.replace("�", "") == str(expected).replace("�", ""))
    assert "nothing" not in record


def test_fields_do_not_override_record_fields(log: Log) -> None:
    with log.flow() as flow:
        flow.state("x", component="other", seq=7, event="no")
    record = log.records()[1]
    assert (record["component"], record["event"]) == ("backend", "state")
    assert (record["field.component"], record["field.seq"], record["field.event"]) == ("other", 7, "no")


def test_exception_fails_the_flow(log: Log) -> None:
    with pytest.raises(RuntimeError), log.flow():
        try:
            raise KeyError("block 7")
        except KeyError as error:
            raise RuntimeError("Disconnected: the stream ended") from error
    record = log.records()[-1]
    assert (record["event"], record["level"], record["versions"]) == ("fail", "ERROR", {"dynamo": "1.6.1"})
    assert record["error"] == {"type": "Disconnected", "message": "the stream ended", "causes": ["KeyError: 'block 7'"]}


class OutOfBlocks(Exception):
    pass


def _chained() -> BaseException:
    try:
        try:
            raise OSError(2, "gone")
        except OSError:
            raise OutOfBlocks("none left")
    except OutOfBlocks as error:
        return error


def _hidden() -> BaseException:
    try:
        try:
            raise OSError("gone")
        except OSError:
            raise OutOfBlocks from None
    except OutOfBlocks as error:
        return error


def _round() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_chained(), {"type": "OutOfBlocks", "message": "none left", "causes": ["FileNotFoundError: [Errno 2] gone"]}),
        (_hidden(), {"type": "OutOfBlocks", "message": ""}),
        (TimeoutError, {"type": "TimeoutError", "message": ""}),
        ("no ready worker", {"type": "Unknown", "message": "no ready worker"}),
        ("ResourceExhausted: no blocks", {"type": "ResourceExhausted", "message": "no blocks"}),
        (Silent(), {"type": "Unknown", "message": "<unprintable Silent object>"}),
    ],
)
def test_errors_are_recorded(log: Log, error: Any, expected: dict[str, object]) -> None:
    log.flow().fail(error, rank=3)
    record = log.records()[-1]
    assert {**record["error"], "causes": record["error"].get("causes", [])} == {"causes": [], **expected}
    assert record["rank"] == 3


def test_cyclic_cause_chain_is_truncated(log: Log) -> None:
    log.flow().fail(_round())
    assert len(log.records()[-1]["error"]["causes"]) == 8


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (asyncio.CancelledError(), "cancel"),
        (GeneratorExit(), "cancel"),
        (KeyboardInterrupt(), "cancel"),
        (SystemExit(0), "end"),
        (SystemExit(), "end"),
        (SystemExit(3), "fail"),
        (SystemExit("no"), "fail"),
        (OSError(5, "gone"), "fail"),
    ],
)
def test_outcome_by_exception_type(log: Log, error: BaseException, event: str) -> None:
    with pytest.raises(type(error)), log.flow():
        raise error
    assert log.said()[-1] == ("chat_completion", event)


def test_flow_ends_once(log: Log) -> None:
    with log.flow() as flow:
        flow.fail("gone")
        flow.end()
        flow.cancel()
        flow.fail("again")
    assert log.said() == [("chat_completion", "start"), ("chat_completion", "fail")]
    flow.state("late")
    assert log.emitter.health()["after_end"] == 1


def test_without_a_block(log: Log) -> None:
    flow = log.flow()
    assert (flow.flow_id, flow.trace_id, flow.span_id, flow.is_open) == (None, None, None, False)
    assert "not started" in repr(flow)
    assert log.records() == []
    assert flow.start() is flow
    flow.end(tokens=7)
    other = log.flow()
    other.cancel("client left")
    said = log.records()
    assert [record["event"] for record in said] == ["start", "end", "start", "cancel"]
    assert (said[1]["tokens"], said[3]["error"]) == (7, {"type": "Cancelled", "message": "client left"})


def test_abandoned_flow_is_cancelled(log: Log) -> None:
    log.flow().start()
    gc.collect()
    record = log.records()[-1]
    assert (record["event"], record["error"]["type"]) == ("cancel", "abandoned")


def test_flow_in_a_reference_cycle(log: Log) -> None:
    flow = log.flow()
    # The context refers to the flow, and the flow to the token that restores the context.
    flow.__enter__()
    flowlog.current()
    flow.__exit__(None, None, None)
    del flow
    gc.collect()
    assert log.said()[-1] == ("chat_completion", "end")


def test_children_are_spans_of_the_flow(log: Log) -> None:
    with log.flow() as flow:
        with flow.child("kv_transfer", blocks=4) as transfer:
            transfer.state("sending")
        assert flowlog.current() is flow
    start, call = (next(record for record in log.records() if record["flow"] == kind) for kind in ("chat_completion", "kv_transfer"))
    assert (call["flow_id"], call["parent_id"], call["blocks"]) == (flow.flow_id, start["span_id"], 4)
    assert log.said() == [
        ("chat_completion", "start"),
        ("kv_transfer", "start"),
        ("kv_transfer", "state"),
        ("kv_transfer", "end"),
        ("chat_completion", "end"),
    ]


def test_without_an_emitter_nothing_is_written(run: Callable[..., Any]) -> None:
    done = run(
        "import flowlog\n"
        "with flowlog.flow('x', a=1) as flow:\n"
        "    flow.state('y'); flow.record(b=2); flow.child('z').end(); flow.merge_clock({})\n"
        "    flowlog.gauge('g', lambda: 1.0)\n"
        "    assert flowlog.current() is flow and flow.flow_id is None and not flow.is_open\n"
        "    assert flowlog.inject({}) == {} and flow.inject_response({}) == {} and flowlog.fields() == {} and flowlog.health() == {}\n"
        "flow.fail('gone')\n"
        "flowlog.close()\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_invalid_arguments(log: Log) -> None:
    with pytest.raises(TypeError):
        log.flow(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        log.flow().state()  # type: ignore[call-arg]


def test_threads_write_whole_lines(log: Log) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> None:
        with log.flow("work", number=number) as flow:
            for step in range(50):
                flow.state("step", step=step)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(64)))
    assert len(log.records()) == 64 * 52
    assert {record["number"] for record in log.records() if record["event"] == "start"} == set(range(64))


def test_stalled_reader_does_not_block_other_threads(run: Callable[..., Any], tmp_path: Path) -> None:
    """Other threads run while a record waits for the reader of standard error."""
    program = (
        "import flowlog, threading, time, os, sys\n"
        "read, write = os.pipe()\n"
        "os.dup2(write, 2)\n"
        "flowlog.init('backend', sink='stderr')\n"
        "flow = flowlog.flow('x').start()\n"
        "done, ticks = [], []\n"
        "def fill():\n"
        "    while flowlog.health()['lost'] < 5: flow.state('y', text='z' * 1000)\n"
        "    done.append(1)\n"
        "thread = threading.Thread(target=fill); thread.start()\n"
        "began = time.monotonic()\n"
        "while not done: ticks.append(time.monotonic()); time.sleep(0.001)\n"
        "thread.join()\n"
        "print(len(ticks), flowlog.health()['lost'], flowlog.health()['reason'] != '')\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )
    done = run(program)
    ticks, lost, has_reason = done.stdout.split()
    assert int(ticks) > 5
    assert int(lost) >= 5
    assert has_reason == "True"


def test_samples_have_gauges(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with flowlog.Emitter("kvbm", sink=path, sample_interval=3600) as emitter:
        emitter.gauge("kv_blocks_used", lambda: 7)
        emitter.gauge("broken", lambda: 1 / 0)
        emitter.gauge("none", lambda: math.nan)
        emitter.sample()
    sample = [record for record in read(path) if record["event"] == "sample"][-1]
    assert sample["kv_blocks_used"] == 7
    assert sample["open_flows"] == 0
    assert sample["rss_bytes"] > 0
    assert "broken" not in sample
    assert "none" not in sample


def test_sinks(tmp_path: Path) -> None:
    sink = flowlog.Sink
    assert sink.mapped("a", max_bytes=1, max_age=2.5, keep=3) == sink.mapped("a", max_bytes=1, max_age=2.5, keep=3)
    assert sink.file("a") != sink.mapped("a")
    assert [repr(each) for each in (sink.stderr(), sink.discard(), sink.file(tmp_path.name), sink.mapped("a", max_bytes=1, max_age=2.5, keep=3))] == [
        "Sink.stderr()",
        "Sink.discard()",
        f'Sink.file("{tmp_path.name}")',
        'Sink.mapped("a", max_bytes=1, max_age=2.5, keep=3)',
    ]
    with pytest.raises(ValueError, match="max_age"):
        sink.file("a", max_age=-1)
    for number, each in enumerate([tmp_path / "0", str(tmp_path / "1"), f"file:{tmp_path / '2'}", sink.file(tmp_path / "3"), "none", "stderr"]):
        with flowlog.Emitter("backend", sink=each) as emitter:
            emitter.flow("x").end()
        if number < 4:
            assert len(read(tmp_path / str(number))) == 4, each
    with flowlog.Emitter("backend", sink=f"mapped:{tmp_path / 'm'}", encoding="text") as emitter:
        emitter.flow("x").end()
    text = b"".join(path.read_bytes() for path in tmp_path.glob("m.*"))
    assert b" - end " in text
    with flowlog.Emitter("backend", sink=tmp_path / "4", level="error") as emitter:
        emitter.flow("x").fail("gone")
    assert [record["event"] for record in read(tmp_path / "4")] == ["fail"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"component": "7up"}, ValueError, "7up"),
        ({"encoding": "xml"}, ValueError, "xml"),
        ({"level": "loud"}, ValueError, "loud"),
        ({"sample_interval": 0.0}, ValueError, "sample_interval"),
        ({"sink": 7}, TypeError, "int"),
        ({"sink": "/dev/null/no/log"}, OSError, "/dev/null/no/log"),
        ({"sink": "none", "flight": "/dev/null/no"}, OSError, "/dev/null/no"),
    ],
)
def test_invalid_configuration(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        flowlog.Emitter(**{"component": "backend", **options})


def test_the_process_has_one_emitter(run: Callable[..., Any], tmp_path: Path) -> None:
    program = (
        "import flowlog\n"
        "with flowlog.init('backend', 'b-0', {'dynamo': '1.6.1'}, 'own.jsonl', flight='flight') as emitter:\n"
        "    try: flowlog.init('backend', sink='none')\n"
        "    except RuntimeError as error: print(error)\n"
        "    emitter.flow('x').end()\n"
        "    with flowlog.flow('y'): pass\n"
        "    assert flowlog.health()['lost'] == 0 and emitter.health() == flowlog.health()\n"
        "    flowlog.gauge('g', lambda: 1.0); emitter.sample()\n"
    )
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")
    assert "already installed" in done.stdout
    said = [(record["event"], record.get("flow") or record.get("state")) for record in read(tmp_path / "own.jsonl")]
    assert said == [("process", "start"), ("start", "x"), ("end", "x"), ("start", "y"), ("end", "y"), ("sample", ""), ("process", "stop")]
    assert list((tmp_path / "flight").iterdir()) == []


def test_interpreter_exit_is_recorded(run: Callable[..., Any], tmp_path: Path) -> None:
    run(
        "import flowlog; flowlog.init('backend', sink='own.jsonl', sample_interval=0.001); flowlog.gauge('g', lambda: 1.0); flow = flowlog.flow('x').start()"
    )
    said = [record for record in read(tmp_path / "own.jsonl") if record["event"] != "sample"]
    assert [record.get("state") for record in said if record["event"] == "process"] == ["start", "stop"]
    assert os.environ.get("TRACEPARENT") is None


def test_decorator_before_init(run: Callable[..., Any], tmp_path: Path) -> None:
    """A decorator at module level is evaluated before `main` calls `init`."""
    done = run(
        "import flowlog\n"
        "@flowlog.flow('generate', model='tiny')\n"
        "def generate(): return flowlog.current().flow_id\n"
        "early = flowlog.flow('early')\n"
        "joined = flowlog.join({})\n"
        "assert generate() is None\n"
        "flowlog.init('backend', sink='own.jsonl')\n"
        "assert generate() is not None\n"
        "with early: pass\n"
        "with joined: pass\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [(record["flow"], record["event"]) for record in read(tmp_path / "own.jsonl") if "flow" in record]
    assert said == [(kind, event) for kind in ("generate", "early", "request") for event in ("start", "end")]


def test_exception_groups(log: Log) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    async def fails() -> None:
        raise ValueError("Unavailable: no worker")

    with pytest.raises(ExceptionGroup), log.flow():
        asyncio.run(main())
    assert log.records()[-1]["error"] == {
        "type": "Unavailable",
        "message": "no worker",
        "causes": ["ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"],
    }
    log.flow().fail(ExceptionGroup("two", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])]))
    assert log.records()[-1]["error"]["causes"] == ["ValueError: a", "KeyError: 'b'"]
    with pytest.raises(BaseExceptionGroup), log.flow():
        raise BaseExceptionGroup("left", [asyncio.CancelledError(), GeneratorExit()])
    assert log.records()[-1]["event"] == "cancel"


class OwnCancelledError(asyncio.CancelledError):
    pass


def test_subclass_of_cancelled_error(log: Log) -> None:
    with pytest.raises(OwnCancelledError), log.flow():
        raise OwnCancelledError
    assert log.records()[-1]["event"] == "cancel"


def test_long_messages_are_truncated(log: Log) -> None:
    try:
        raise AssertionError("x" * 10_000_000) from ValueError("y" * 10_000_000)
    except AssertionError as error:
        log.flow().fail(error)
    error = log.records()[-1]["error"]
    assert error["message"].endswith("xxx...")
    assert len(error["message"]) < 10_000
    assert len(error["causes"][0]) < 2_000


def test_names_with_lone_surrogates(log: Log) -> None:
    log.flow("lone \ud800").cancel("why \ud800")
    log.flow().cancel(None)
    assert [record["event"] for record in log.records()] == ["start", "cancel"] * 2


def test_ctrl_c_reaches_the_program(run: Callable[..., Any]) -> None:
    done = run(
        "import flowlog, os, signal, time\n"
        "class Slow:\n"
        "    def __str__(self): os.kill(os.getpid(), signal.SIGINT); time.sleep(1); return 'late'\n"
        "flowlog.init('backend', sink='own.jsonl')\n"
        "try:\n"
        "    flowlog.flow('x').state('y', value=Slow())\n"
        "    time.sleep(5)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    assert done.stdout == "interrupted\n"


def test_gauge_does_not_leak_its_owner(tmp_path: Path) -> None:
    import weakref

    class Owner:
        def __init__(self) -> None:
            self.emitter = flowlog.Emitter("kvbm", sink="none")
            self.emitter.gauge("g", self.read)

        def read(self) -> float:
            return 1.0

    owner = Owner()
    found = weakref.ref(owner)
    owner.emitter.close()
    del owner
    gc.collect()
    assert found() is None
