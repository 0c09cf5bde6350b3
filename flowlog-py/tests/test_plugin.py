"""The pytest plugin, in separate sessions."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import flowlog
import polars
import pytest
from conftest import Record, read
from flowlog_pytest import markers

#: A server started by a test: it joins the test's flow and waits to be killed.
SERVER = '''
import subprocess, sys
import pytest

CODE = """
import flowlog, sys
flowlog.init(sys.argv[1], sys.argv[1] + "-0")
with flowlog.flow("generate") as flow:
    flow.state("prefill")
    print("ready", flush=True)
    sys.stdin.read()
"""

def start(component):
    process = subprocess.Popen([sys.executable, "-c", CODE, component], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\\n"
    return process

def kill(process):
    process.kill()
    process.communicate()
    return process.returncode
'''

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a session in a separate process, with the plugin loaded."""
    for name in ("FLOWLOG_SINK", "FLOWLOG_FLIGHT", "TRACEPARENT", "TRACESTATE", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(server=SERVER)
    # An installed plugin is found by its entry point; otherwise it is on the path, and is loaded
    # here.
    found = [entry for entry in __import__("importlib.metadata").metadata.entry_points(group="pytest11") if entry.name == "flowlog"]
    load = [] if found else ["-p", "flowlog_pytest"]

    def session(test: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it="import pytest, os, sys, time, flowlog\nfrom server import start, kill\n" + test)
        return pytester.runpytest_subprocess(*load, *arguments)

    return session


def records(pytester: pytest.Pytester) -> list[Record]:
    """Returns the records that the sessions wrote about their tests."""
    return [record for record in read(*sorted(pytester.path.glob("flowlog-results/*/pytest-*"))) if record["event"] != "process"]


KILLED = """
def test_killed():
    process = start("prefill")
    assert kill(process) == 0, "the server died"

def test_passes():
    assert os.environ["TRACEPARENT"].split("-")[1] == flowlog.current().trace_id
"""


def test_off_by_default(session: Run, pytester: pytest.Pytester) -> None:
    result = session(
        "def test_it():\n    assert flowlog.current() is None and 'TRACEPARENT' not in os.environ and 'flowlog_pytest.plugin' not in sys.modules"
    )
    result.assert_outcomes(passed=1)
    assert not (pytester.path / "flowlog-results").exists()


def test_killed_server_is_reported(session: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "owners.toml").write_text('[component.prefill]\npic = "Ann Example"\n')
    result = session(KILLED, "--flowlog", "--flowlog-owners=owners.toml", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- flowlog -*",
            "prefill (prefill-0) failed first: process_killed: *",
            "owner: Ann Example",
            "*flowlog: first failures*",
            "test_it.py::test_killed  [[]Ann Example[]]",
            "  prefill (prefill-0) failed first: process_killed: *",
            "  *.flight:*",
        ]
    )
    failed, passed = ElementTree.parse(pytester.path / "junit.xml").iter("testcase")
    properties = {each.attrib["name"]: each.attrib["value"] for each in failed.iter("property")}
    assert (properties["flowlog.component"], properties["flowlog.instance"], properties["flowlog.pic"]) == ("prefill", "prefill-0", "Ann Example")
    path, line = properties["flowlog.evidence"].rsplit(":", 1)
    assert path.startswith("flowlog-results/")
    assert (pytester.path / path).exists()
    assert int(line) > 0
    assert list(passed.iter("property")) == []
    said = records(pytester)
    assert [(record["event"], record["state"]) for record in said] == [
        ("start", ""),
        ("state", "call"),
        ("fail", "call"),
        ("start", ""),
        ("state", "call"),
        ("state", "teardown"),
        ("end", ""),
    ]
    assert said[0]["test"] == "test_it.py::test_killed"
    assert (said[2]["outcome"], said[2]["first_failure"], said[2]["error"]["type"]) == ("failed", "prefill", "AssertionError")
    assert said[6]["outcome"] == "passed"
    assert said[6]["duration_s"] >= 0
    # The server's span is a child of the test's.
    server = read(*pytester.path.glob("flowlog-results/*/main/flow.jsonl"))
    assert {record["flow_id"] for record in server if record["event"] == "start"} == {properties["flowlog.flow_id"]}
    assert next(record for record in server if record["event"] == "start")["parent_id"] == said[0]["span_id"]


def test_logs_of_other_processes_are_read(session: Run, pytester: pytest.Pytester) -> None:
    """Ignores lines from before a test, in a log that a server of the session keeps writing."""
    test = """
def say(what, error):
    with open("logs/test_late-router.log", "a") as log:
        log.write(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1000000:06}Z {what} router - - - fail select_worker {{}} {error}\\n")

def test_early():
    say("ERROR", "Unavailable: early")

def test_late():
    time.sleep(0.01)
    say("ERROR", "ResourceExhausted: late")
    assert False
"""
    (pytester.path / "logs").mkdir()
    result = session(test, "--flowlog", "--flowlog-logs=logs/{name}*.log")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*Unavailable: early*")


def test_captured_output_is_read(session: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nflowlog_owners = owners.md\nflowlog_logs = no/such\n")
    (pytester.path / "owners.md").write_text("| component | PIC |\n|---|---|\n| vllm | Bo Example |\n")
    test = """
def test_it():
    print("ERROR 11-22 08:27:15 [core.py:396] EngineCore encountered a fatal error.")
    print("Traceback (most recent call last):")
    print('  File "/opt/vllm/v1/engine/core.py", line 387, in run')
    print("torch.OutOfMemoryError: CUDA out of memory")
    assert False
"""
    result = session(test, "--flowlog")
    result.assert_outcomes(failed=1)
    found = list(pytester.path.glob("flowlog-results/*/main/tests/*/captured-1-call.log"))
    assert "OutOfMemoryError" in found[0].read_text()


OUTCOMES = """
def test_passes(): pass
@pytest.mark.skip(reason="no GPU")
def test_skipped(): pass
def test_skips(): pytest.skip("no GPU")
@pytest.mark.xfail
def test_xfails(): assert False
@pytest.mark.xfail(strict=True)
def test_xpasses(): pass
@pytest.fixture
def broken(): raise OSError("no disk")
def test_error(broken): pass
@pytest.fixture
def untidy():
    yield
    raise OSError("no end")
def test_untidy(untidy): pass
def test_fails(): assert 1 == 2, "x" * 10000
"""


def test_outcomes(session: Run, pytester: pytest.Pytester) -> None:
    result = session(OUTCOMES, "--flowlog")
    result.assert_outcomes(passed=2, skipped=2, xfailed=1, failed=2, errors=2)
    ends = {}
    names = {record["flow_id"]: record["test"].split("::")[1] for record in records(pytester) if record["event"] == "start"}
    for record in records(pytester):
        if record["event"] in ("end", "fail", "cancel"):
            ends[names[record["flow_id"]]] = (record["event"], record["outcome"], record["state"])
            assert len(record.get("error", {}).get("message", "")) < 9000
    assert ends == {
        "test_passes": ("end", "passed", ""),
        "test_skipped": ("end", "skipped", ""),
        "test_skips": ("end", "skipped", ""),
        "test_xfails": ("end", "xfailed", ""),
        "test_xpasses": ("fail", "failed", "call"),
        "test_error": ("fail", "error", ""),
        "test_untidy": ("fail", "error", "teardown"),
        "test_fails": ("fail", "failed", "call"),
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["gpu_1", "pre_merge", "vllm"], {"gpus": 1, "lifecycle": "pre_merge", "framework": "vllm"}),
        (["gpus_needed_1", "premerge", "tensorrtllm"], {"gpus": 1, "lifecycle": "pre_merge", "framework": "trtllm"}),
        (
            ["gpus_8", "postmerge", "sglang", "router"],
            {"gpus": 8, "lifecycle": "post_merge", "framework": "sglang", "test_component": "router"},
        ),
        (["gpu_0", "gpu_2", "nightly"], {"gpus": 0, "lifecycle": "nightly"}),
        (["slow", "parametrize", "gpus"], {}),
    ],
)
def test_markers(names: list[str], expected: dict[str, object]) -> None:
    assert markers.fields(pytest.Mark(name, (), {}, _ispytest=True) for name in names) == expected
    assert markers.fields([pytest.Mark("component", ("kvbm",), {}, _ispytest=True)]) == {"test_component": "kvbm"}


def test_markers_become_fields(session: Run, pytester: pytest.Pytester) -> None:
    marks = "@pytest.mark.gpus_needed_1\n@pytest.mark.pre_merge\n@pytest.mark.component('router')\ndef test_it(): pass"
    session(marks, "--flowlog").assert_outcomes(passed=1)
    start = records(pytester)[0]
    assert (start["gpus"], start["lifecycle"], start["test_component"]) == (1, "pre_merge", "router")


def test_workers(session: Run, pytester: pytest.Pytester) -> None:
    test = """
@pytest.mark.parametrize("number", range(24))
def test_it(number):
    process = start(f"worker{number}")
    code = kill(process)
    assert number % 6 or code == 0
"""
    result = session(test, "--flowlog", "-n4", "--junitxml=junit.xml")
    result.assert_outcomes(passed=20, failed=4)
    for number in (0, 6, 12, 18):
        result.stdout.fnmatch_lines_random(
            [f"test_it.py::test_it[[]{number}[]]", f"  worker{number} (worker{number}-0) failed first: process_killed*"]
        )
    folders = list(pytester.path.glob("flowlog-results/2*"))
    assert len(folders) == 1
    assert {path.name for path in folders[0].glob("gw*")} == {"gw0", "gw1", "gw2", "gw3"}
    assert len([record for record in records(pytester) if record["event"] == "start"]) == 24


def test_retries_recover_a_test(session: Run, pytester: pytest.Pytester) -> None:
    test = """
tries = []
def test_it():
    tries.append(1)
    kill(start("prefill"))
    assert len(tries) == 3
def test_fails(): assert False
"""
    result = session(test, "--flowlog", "--reruns=2")
    result.assert_outcomes(passed=1, failed=1)
    names = {record["flow_id"]: record["test"] for record in records(pytester) if record["flow"] == "test" and record["event"] == "start"}
    said = [
        (record["flow"], record["event"], record.get("attempt"), record.get("attempts"))
        for record in records(pytester)
        if names[record["flow_id"]].endswith("test_it")
    ]
    assert [each for each in said if each[1] in ("fail", "end") or each[0] == "attempt"] == [
        ("attempt", "start", 1, None),
        ("attempt", "fail", None, None),
        ("attempt", "start", 2, None),
        ("attempt", "fail", None, None),
        ("test", "end", None, 3),
    ]
    logs = list(pytester.path.glob("flowlog-results/*/pytest-*"))
    flows = {flow.flow_id: flow.outcome for flow in flowlog.analyze(logs).flow_failures}
    assert {names[flow].split("::")[1]: outcome for flow, outcome in flows.items()} == {"test_it": "recovered", "test_fails": "failed"}


def test_each_attempt_is_analyzed_separately(session: Run, pytester: pytest.Pytester) -> None:
    test = """
tries = []
def test_fails():
    tries.append(1)
    assert kill(start("prefill" if len(tries) == 1 else "decode")) == 0
passes = []
def test_passes():
    passes.append(1)
    assert kill(start("router")) == 0 or len(passes) == 2
"""
    result = session(test, "--flowlog", "--reruns=1", "--junitxml=junit.xml")
    result.assert_outcomes(failed=1, passed=1)
    cases = {case.attrib["name"]: case for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")}
    failed, passed = cases["test_fails"], cases["test_passes"]
    assert [each.attrib["value"] for each in failed.iter("property") if each.attrib["name"] == "flowlog.component"] == ["decode"]
    assert list(passed.iter("property")) == []


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_timeouts(session: Run, pytester: pytest.Pytester, method: str) -> None:
    test = """
def test_hangs():
    process = start("decode")
    time.sleep(60)
"""
    result = session(test, "--flowlog", "--timeout=1", f"--timeout-method={method}")
    if method == "signal":
        result.assert_outcomes(failed=1)
        assert records(pytester)[-1]["event"] == "fail"
    else:
        # The whole session ends without a record: its flight file shows what was open.
        assert result.ret == 1
        (run,) = pytester.path.glob("flowlog-results/2*")
        failure = flowlog.analyze(run / "flight").failures[0]
        assert (failure.component, failure.error_type) == ("pytest", "process_killed")


def test_a_timeout_while_the_logs_are_read(session: Run, pytester: pytest.Pytester) -> None:
    slow = "import flowlog_pytest.triage\nflowlog_pytest.triage.find = lambda *args: time.sleep(3)\n"
    result = session(slow + "def test_fails(): assert False\ndef test_passes(): pass", "--flowlog", "--timeout=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["flowlog: _note: Failed: Timeout*"])


def test_an_interrupted_session(session: Run, pytester: pytest.Pytester) -> None:
    result = session("def test_it(): raise KeyboardInterrupt", "--flowlog")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert records(pytester)[-1]["event"] == "cancel"


def test_async_tests_and_fixtures_see_the_flow(session: Run, pytester: pytest.Pytester) -> None:
    test = """
import asyncio
@pytest.fixture
def flow():
    return flowlog.current()
def test_it(flow):
    async def see(): return flowlog.current()
    assert asyncio.run(see()) is flow
    with flowlog.current().child("step") as step:
        step.state("x")
"""
    session(test, "--flowlog").assert_outcomes(passed=1)
    assert ("step", "end") in [(record["flow"], record["event"]) for record in records(pytester)]


def test_plugin_errors_do_not_fail_tests(session: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "flowlog-results").write_text("a file where a folder should be")
    result = session("def test_passes(): pass\ndef test_fails(): assert False", "--flowlog", "-Werror")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["flowlog: _begin: *"])
    (pytester.path / "flowlog-results").unlink()
    (pytester.path / "owners.toml").write_text("[broken")
    result = session("def test_fails(): print('x'); assert False", "--flowlog", "--flowlog-owners=owners.toml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["flowlog: _note: ValueError: *owners.toml*"])
    result = session("def test_fails(): print('x'); assert False", "--flowlog", "--flowlog-owners=owners.toml", "-n2")
    result.stdout.fnmatch_lines(["flowlog: _note: ValueError: *owners.toml*"])


def test_existing_folders_are_unchanged(session: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / ".gitignore").write_text("mine\n")
    session("def test_it(): pass", "--flowlog", "--flowlog-dir=.").assert_outcomes(passed=1)
    assert (pytester.path / ".gitignore").read_text() == "mine\n"
    session("def test_it(): pass", "--flowlog", "--collect-only")
    assert not (pytester.path / "flowlog-results").exists()
    assert len(list(pytester.path.glob("2*Z*"))) == 1


class_words = """
class Bad(Exception):
    def __str__(self): raise RuntimeError("no words")
def test_it(): raise Bad
"""


def test_unprintable_exceptions(session: Run, pytester: pytest.Pytester) -> None:
    session(class_words, "--flowlog").assert_outcomes(failed=1)
    assert records(pytester)[-1]["error"] == {"type": "Bad", "message": "<unprintable Bad object>"}


def test_existing_sink_is_kept(session: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLOG_SINK", f"file:{pytester.path / 'own.jsonl'}")
    session("def test_it(): kill(start('prefill'))", "--flowlog").assert_outcomes(passed=1)
    assert (pytester.path / "own.jsonl").exists()
    assert json.loads((pytester.path / "own.jsonl").read_text().splitlines()[0])["component"] == "prefill"


def test_run_can_be_read_as_a_table(session: Run, pytester: pytest.Pytester) -> None:
    session(OUTCOMES, "--flowlog")
    (run,) = pytester.path.glob("flowlog-results/2*")
    events = polars.DataFrame(flowlog.events(list(run.glob("pytest-*"))))
    assert len(events.filter(polars.col("event") == "start")) == 8
