"""The current flow in tasks, threads, executors and processes."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flowlog
import pytest
from conftest import Log, read


def _kind() -> str | None:
    flow = flowlog.current()
    return flow.kind if flow else None


def test_blocks_nest(log: Log) -> None:
    assert flowlog.current() is None
    with log.flow("outer") as outer:
        with log.flow("inner") as inner:
            assert flowlog.current() is inner
            assert inner.flow_id != outer.flow_id
        assert flowlog.current() is outer
        with inner.scope() as again:
            assert again is inner
            assert flowlog.current() is inner
        assert flowlog.current() is outer
    assert flowlog.current() is None


def test_tasks_inherit_the_flow_without_leaks(log: Log) -> None:
    """Runs ten thousand concurrent flows, each in a separate task with child tasks and threads."""
    count = 10_000

    async def below(kind: str) -> None:
        await asyncio.sleep(0)
        assert _kind() == kind

    async def work(number: int) -> None:
        kind = f"work-{number}"
        async with log.flow(kind) as flow:
            await asyncio.sleep(0)
            assert flowlog.current() is flow
            await asyncio.gather(below(kind), asyncio.create_task(below(kind)))
            if number % 100 == 0:
                assert await asyncio.to_thread(_kind) == kind
            await asyncio.sleep(0)
            assert flowlog.current() is flow
        assert flowlog.current() is None

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(count)))
        assert flowlog.current() is None

    asyncio.run(main())
    assert flowlog.current() is None
    events = [record["event"] for record in log.records()]
    assert (events.count("start"), events.count("end"), len(events)) == (count, count, 2 * count)
    assert len({record["flow_id"] for record in log.records()}) == count
    assert log.emitter.health()["open_flows"] == 0


def test_cancelled_task(log: Log) -> None:
    async def work() -> None:
        async with log.flow():
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert log.records()[-1]["error"] == {"type": "Cancelled", "message": "CancelledError"}


def test_timeout_fails_the_flow(log: Log) -> None:
    async def main() -> None:
        async with log.flow():
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert log.records()[-1]["error"]["type"] == "TimeoutError"


def test_block_exited_in_another_context(log: Log) -> None:
    def items() -> Iterator[int]:
        with log.flow("items"):
            yield 1

    generator = items()
    contextvars.copy_context().run(next, generator)
    # Python closes it in this context, where there is nothing to restore.
    generator.close()
    assert flowlog.current() is None
    assert log.said()[-1] == ("items", "cancel")


def test_decorator(log: Log) -> None:
    @log.flow("called", model="tiny")
    def called(number: int) -> int:
        """Its words."""
        assert _kind() == "called"
        return number + 1

    @log.flow("awaited")
    async def awaited() -> str | None:
        await asyncio.sleep(0)
        return _kind()

    assert (called(1), called(2), called.__name__, called.__doc__) == (2, 3, "called", "Its words.")
    assert asyncio.run(awaited()) == "awaited"
    assert flowlog.current() is None
    assert log.said() == [("called", "start"), ("called", "end")] * 2 + [("awaited", "start"), ("awaited", "end")]
    assert [record["model"] for record in log.records() if record["event"] == "start" and record["flow"] == "called"] == ["tiny", "tiny"]

    @log.flow("broken")
    def broken() -> None:
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        broken()
    assert log.records()[-1]["error"] == {"type": "ValueError", "message": "gone"}


def test_flow_is_current_only_while_a_generator_runs(log: Log) -> None:
    @log.flow("steps")
    def steps() -> Iterator[Any]:
        assert _kind() == "steps"
        try:
            sent = yield 1
            yield sent
        except KeyError:
            assert _kind() == "steps"
            yield "caught"
        return "done"

    def whole() -> Iterator[Any]:
        assert (yield from steps()) == "done"

    generator = whole()
    assert next(generator) == 1
    assert flowlog.current() is None
    assert generator.send("two") == "two"  # type: ignore[attr-defined]
    assert generator.throw(KeyError("x")) == "caught"  # type: ignore[attr-defined]
    assert list(generator) == []
    assert log.said() == [("steps", "start"), ("steps", "end")]

    left = steps()
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert log.said()[-1] == ("steps", "cancel")

    failed = steps()
    next(failed)
    with pytest.raises(OSError, match="gone"):
        failed.throw(OSError("gone"))  # type: ignore[attr-defined]
    assert log.said()[-1] == ("steps", "fail")


def test_flow_is_current_only_while_an_async_generator_runs(log: Log) -> None:
    @log.flow("stream")
    async def stream(count: int) -> AsyncIterator[Any]:
        try:
            for number in range(count):
                await asyncio.sleep(0)
                assert _kind() == "stream"
                yield number
        except KeyError:
            yield "caught"
        finally:
            assert _kind() == "stream"

    async def main() -> None:
        with log.flow("around") as around:
            async for _ in stream(3):
                assert flowlog.current() is around
            left = stream(3)
            await left.__anext__()
            await left.aclose()  # type: ignore[attr-defined]
            thrown = stream(3)
            await thrown.__anext__()
            assert await thrown.athrow(KeyError("x")) == "caught"  # type: ignore[attr-defined]
            assert [item async for item in thrown] == []
            failed = stream(3)
            await failed.__anext__()
            with pytest.raises(OSError, match="gone"):
                await failed.athrow(OSError("gone"))  # type: ignore[attr-defined]
            both = await asyncio.gather(anext(stream(1)), anext(stream(1)))
            assert both == [0, 0]

    asyncio.run(main())
    assert [event for kind, event in log.said() if kind == "stream"][:8] == [
        "start",
        "end",
        "start",
        "cancel",
        "start",
        "end",
        "start",
        "fail",
    ]


def test_wrap_propagates_to_threads(log: Log) -> None:
    other: contextvars.ContextVar[int] = contextvars.ContextVar("other", default=0)
    with log.flow("outer") as outer:
        other.set(7)

        def work(number: int) -> tuple[str | None, int, int]:
            flow = flowlog.current()
            assert flow is None or flow is outer
            return _kind(), other.get(), number

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(2))) == [(None, 0, 0), (None, 0, 1)]
            assert list(pool.map(flowlog.wrap(work), range(200))) == [("outer", 7, number) for number in range(200)]
        found: list[str | None] = []
        thread = threading.Thread(target=flowlog.wrap(lambda: found.append(_kind())))
        thread.start()
        thread.join()
        assert found == ["outer"]
    assert flowlog.wrap(_kind)() is None


def _share(number: int) -> tuple[int, str | None, str | None]:
    flow = flowlog.current()
    return (number, flow.kind if flow else None, flow.flow_id if flow else None)


def _set_up(path: str) -> None:
    flowlog.init("worker", sink=path)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_wrap_propagates_to_processes(log: Log, tmp_path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    path = tmp_path / "workers.jsonl"
    with log.flow("batch") as flow, ProcessPoolExecutor(2, mp_context=context, initializer=_set_up, initargs=(str(path),)) as pool:
        shares = list(pool.map(flowlog.wrap(_share), range(6)))
    assert shares == [(number, "batch", flow.flow_id) for number in range(6)]
    records = [record for record in read(path) if record["event"] in ("start", "end")]
    assert len(records) == 12
    assert {record["parent_id"] for record in records} == {flow.span_id}


def test_wrap_pickles_as_the_function_outside_flows(log: Log) -> None:
    assert pickle.loads(pickle.dumps(flowlog.wrap(_share))) is _share


def test_forked_processes_write_separate_files(run: Callable[..., Any], tmp_path: Path) -> None:
    """Forks eight children at once, like vLLM's workers, while the parent keeps writing."""
    program = (
        "import flowlog, os, multiprocessing, threading\n"
        "flowlog.init('vllm', 'parent', None, flowlog.Sink.mapped('logs/run'), flight='flight')\n"
        "context = multiprocessing.get_context('fork')\n"
        "def child(number):\n"
        "    inherited = flowlog.current()\n"
        "    assert inherited.kind == 'start_workers'\n"
        "    for step in range(100):\n"
        "        with flowlog.flow('work', number=number) as flow: flow.state('step', step=step)\n"
        "    inherited.child('load', number=number).end()\n"
        "    inherited.end()\n"
        "with flowlog.flow('start_workers') as flow:\n"
        "    going = True\n"
        "    def go_on():\n"
        "        while going:\n"
        "            with flowlog.flow('beside'): pass\n"
        "    thread = threading.Thread(target=go_on); thread.start()\n"
        "    workers = [context.Process(target=child, args=(number,)) for number in range(8)]\n"
        "    for worker in workers: worker.start()\n"
        "    for worker in workers: worker.join()\n"
        "    going = False; thread.join()\n"
        "    assert [worker.exitcode for worker in workers] == [0] * 8\n"
        "assert flowlog.health()['lost'] == 0\n"
    )
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")
    records = read(*(tmp_path / "logs").iterdir())
    for number in range(8):
        own = [record for record in records if record.get("number") == number]
        assert len([record for record in own if record["event"] == "start" and record["flow"] == "work"]) == 100
        assert len([record for record in own if record["flow"] == "load"]) == 1
    ends = [record for record in records if record["event"] == "end"]
    # Only the parent ends an inherited flow.
    assert [record["flow"] for record in ends if record["flow"] == "start_workers"] == ["start_workers"]
    assert len([record for record in ends if record["flow"] == "work"]) == 800
    processes = [(record["state"]) for record in records if record["event"] == "process"]
    assert (processes.count("start"), processes.count("fork"), processes.count("stop")) == (1, 8, 9)
    report = flowlog.analyze([tmp_path / "logs", tmp_path / "flight"])
    assert report.verdict.outcome == "healthy"
    assert report.flows.failed == 0


CHILD = "import flowlog; flowlog.init('worker', sink='child.jsonl')\nfor kind in ('first', 'second'):\n    with flowlog.flow(kind, number=7): pass\n"


def test_first_flow_of_a_child_process_joins_the_parents(log: Log, tmp_path: Path) -> None:
    with log.flow() as flow:
        environment = flowlog.child_env()
        assert flowlog.child_env({"A": "b"}).keys() == {"A", "TRACEPARENT", "TRACESTATE"}
        subprocess.run([sys.executable, "-c", CHILD], cwd=tmp_path, env=environment, check=True)
    assert "TRACEPARENT" not in os.environ
    assert "TRACEPARENT" not in flowlog.child_env()
    first, second = (next(record for record in read(tmp_path / "child.jsonl") if record.get("flow") == kind) for kind in ("first", "second"))
    assert (first["flow_id"], first["parent_id"], first["number"]) == (flow.flow_id, flow.span_id, 7)
    assert second["flow_id"] != flow.flow_id
    assert "parent_id" not in second


DEATHS = {
    "return": ("", 0),
    "exception": ("raise RuntimeError('gone')", 1),
    "sys.exit": ("import sys; sys.exit(3)", 3),
    "os._exit": ("os._exit(4)", 4),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -15),
    "abort": ("os.abort()", -6),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    "segfault": ("import ctypes; ctypes.string_at(0)", -11),
}


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("sink", ["stderr", "file:own.log", "mapped:own"])
def test_records_survive(run: Callable[..., Any], tmp_path: Path, sink: str, death: str) -> None:
    how, code = DEATHS[death]
    program = (
        "import flowlog, os, signal, time\n"
        f"flowlog.init('backend', sink={sink!r}, flight='flight')\n"
        "flow = flowlog.flow('work').start()\n"
        "for number in range(1000): flow.state('step', number=number)\n"
        f"{how}\n"
    )
    done = run(program)
    assert done.returncode == code
    written = done.stderr.encode() + b"".join(path.read_bytes() for path in tmp_path.glob("own*"))
    lines = [line for line in written.replace(b"\0", b"").splitlines() if b'"event":"state"' in line]
    numbers = [int(line.split(b'"number":')[1].split(b"}")[0]) for line in lines]
    assert numbers == list(range(1000))
    (tmp_path / "stderr.log").write_text(done.stderr)
    report = flowlog.analyze(tmp_path)
    if death not in ("return", "exception", "sys.exit"):
        assert (report.verdict.outcome, report.verdict.component) == ("failed", "backend")


def test_one_flow_entered_in_several_tasks(log: Log) -> None:
    """Each task restores the state of its own context, in whatever order the tasks exit."""

    async def work(flow: flowlog.Flow, delay: float) -> None:
        await asyncio.sleep(delay)
        with flow.scope():
            await asyncio.sleep(0.05)
        assert flowlog.current() is None

    async def main() -> None:
        flow = log.flow().start()
        await asyncio.gather(work(flow, 0), work(flow, 0.02), work(flow, 0.01))
        flow.end()

    asyncio.run(main())


def test_garbage_collection_does_not_deadlock(run: Callable[..., Any]) -> None:
    done = run(
        "import flowlog, gc, threading, time\n"
        "flow = flowlog.Emitter('backend', sink='none').flow('x').start()\n"
        "gc.callbacks.append(lambda phase, info: time.sleep(0.0005))\n"
        "gc.set_threshold(3)\n"
        "def work():\n"
        "    kept = []\n"
        "    for i in range(300):\n"
        "        with flow.scope(): pass\n"
        "        kept.append([[] for _ in range(i % 7)])\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "print('done')\n"
    )
    assert done.stdout == "done\n"


class Callable2:
    async def __call__(self) -> str | None:
        await asyncio.sleep(0)
        return _kind()


def test_coroutines_awaited_later(log: Log) -> None:
    async def late() -> str | None:
        await asyncio.sleep(0)
        return _kind()

    async def main() -> None:
        assert await log.flow("object")(Callable2())() == "object"  # type: ignore[func-returns-value]
        assert await log.flow("lambda")(lambda: late())() == "lambda"
        with log.flow("outer"):
            wrapped, free = flowlog.wrap(late), flowlog.wrap(lambda: late())
        assert await wrapped() == "outer"
        assert await asyncio.create_task(free()) == "outer"  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="gone"):

            async def broken() -> None:
                raise ValueError("gone")

            await log.flow("broken")(lambda: broken())()

    asyncio.run(main())
    assert [event for kind, event in log.said() if kind == "lambda"] == ["start", "end"]
    assert [event for kind, event in log.said() if kind == "broken"] == ["start", "fail"]
