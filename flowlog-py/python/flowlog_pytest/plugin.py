"""The plugin itself, loaded only with ``--flowlog``."""

from __future__ import annotations

import functools
import os
import platform
import re
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import flowlog
import pytest

from . import markers

if TYPE_CHECKING:
    from .triage import Finding

P = ParamSpec("P")
R = TypeVar("R")

#: Characters that are not used in folder names.
_UNSAFE = re.compile(r"[^\w.\[\]=,+-]+")

#: Size in bytes of each file for the records of the tests themselves.
_SEGMENT = 1 << 20

#: Environment variables that processes started by a test inherit.
_VARIABLES = ("TRACEPARENT", "TRACESTATE", "FLOWLOG_SINK", "FLOWLOG_FLIGHT")


class Test:
    """A running test: its flow, and the outcome of its phases."""

    __slots__ = ("attempt", "began", "duration", "error", "flow", "left", "outcome")
    __test__ = False

    def __init__(self, flow: flowlog.Flow) -> None:
        self.flow = flow
        self.began = time.time()
        self.attempt = 1
        self.duration = 0.0
        self.outcome = "passed"
        self.error: BaseException | None = None
        self.left: BaseException | None = None


def _never_fails(hook: Callable[P, R]) -> Callable[P, R | None]:
    """Keeps errors of the plugin from failing tests; the summary lists them instead."""

    @functools.wraps(hook)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return hook(*args, **kwargs)
        except (Exception, pytest.fail.Exception) as error:  # pytest-timeout raises the latter, which is not an Exception
            plugin: Any = args[0]
            plugin.trouble.append(f"{hook.__name__}: {type(error).__name__}: {error}")
            return None

    return guarded


class Plugin:
    """Makes each test a flow.

    In an xdist worker, it observes the worker's tests; in the controller, it writes the summary.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.trouble: list[str] = []
        self.test: Test | None = None
        self.emitter: flowlog.Emitter | None = None
        self.owners: list[Path] = []
        self.patterns: list[str] = []
        self.chosen: list[str] = []
        self.run = self.own = Path()
        self.logs: list[Path] = []
        self.before = {name: os.environ.get(name) for name in _VARIABLES}
        self._begin()

    @_never_fails
    def _begin(self) -> None:
        config = self.config
        workerinput: dict[str, Any] = getattr(config, "workerinput", {})
        worker = workerinput.get("workerid", "main")
        folder = config.invocation_params.dir / (config.getoption("--flowlog-dir") or "flowlog-results")
        self.run = Path(workerinput["flowlog_run"]) if "flowlog_run" in workerinput else _new_folder(folder)
        self.owners = [config.invocation_params.dir / path for path in config.getoption("--flowlog-owners") or ()]
        self.owners += [config.rootpath / path for path in config.getini("flowlog_owners")]
        self.chosen = workerinput.get("flowlog_chosen", [name for name, value in self.before.items() if value is not None])
        self.patterns = [*(config.getoption("--flowlog-logs") or ()), *config.getini("flowlog_logs")]
        versions = {"pytest": pytest.__version__, "python": platform.python_version()}
        self.own = self.run / worker
        # All tests share these files: a process may be started by one test, or by the session, and
        # fail during another test.
        self.logs = [self.own / "flow.jsonl", self.own / "flight"]
        for name, value in (("FLOWLOG_SINK", f"file:{self.logs[0]}"), ("FLOWLOG_FLIGHT", str(self.logs[1]))):
            # Keep the user's choice. Any other value in a worker comes from the controller.
            if name not in self.chosen:
                os.environ[name] = value
        sink = flowlog.Sink.mapped(self.run / f"pytest-{worker}", max_bytes=_SEGMENT)
        self.emitter = flowlog.Emitter("pytest", worker, versions, sink, flight=self.run / "flight", encoding="json")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Makes workers write to the same folder as this process."""
        node.workerinput["flowlog_run"] = str(self.run)
        node.workerinput["flowlog_chosen"] = self.chosen

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Wraps all attempts of a test, including setup and teardown."""
        scope = self._start(item)
        try:
            return (yield)
        except BaseException as error:
            # Ctrl-C or `pytest.exit` ends the session, and the test with it.
            if self.test is not None:
                self.test.left = error
            raise
        finally:
            self._end()
            if scope is not None:
                scope.__exit__(None, None, None)

    @_never_fails
    def _start(self, item: pytest.Item) -> Any:
        if self.emitter is None:
            return None
        flow = self.emitter.flow("test", test=item.nodeid, **markers.fields(item.iter_markers()))
        self.test = Test(flow)
        scope = flow.scope()
        scope.__enter__()
        # Not reset after the test: nothing starts before the next test overwrites the values.
        headers = flow.inject({})
        os.environ["TRACEPARENT"] = headers["traceparent"]
        os.environ["TRACESTATE"] = headers["tracestate"]
        return scope

    @_never_fails
    def _end(self) -> None:
        test, self.test = self.test, None
        if test is None:
            return
        outcome = {"outcome": test.outcome, "duration_s": round(test.duration, 6), "attempts": test.attempt}
        if test.error is not None:
            test.flow.fail(test.error, **outcome)
        elif test.left is not None:
            test.flow.cancel(type(test.left).__name__)
        else:
            test.flow.end(**outcome)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self._note(item, call, report)
        return report

    @_never_fails
    def _note(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        test = self.test
        if test is None:
            return
        if call.when == "setup" and (attempt := getattr(item, "execution_count", 1)) > test.attempt:
            self._try_again(item, test, attempt)
        test.duration += call.duration
        if not report.failed:
            if report.skipped and test.error is None:
                test.outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            # After a failure, keep the state in which the test failed.
            if test.error is None and call.when != "teardown":
                test.flow.state("call" if call.when == "setup" else "teardown")
            return
        if test.error is None:
            test.outcome = "failed" if report.when == "call" else "error"
            test.error = call.excinfo.value if call.excinfo else AssertionError(str(report.longrepr))
        finding = self._triage(item, test, report)
        properties: list[tuple[str, object]] = [("flowlog.flow_id", test.flow.flow_id or "")]
        if finding is not None:
            report.sections.append(("flowlog", finding.text()))
            properties += finding.properties()
            test.flow.record(first_failure=finding.component)
        # JUnit XML takes them from the teardown's report, the summary from this one.
        report.user_properties += properties
        item.user_properties += properties

    def _try_again(self, item: pytest.Item, test: Test, attempt: int) -> None:
        """Records a failed attempt as a failed child, so that a retry can recover the test's flow.

        Findings of the failed attempt are removed; later ones belong to the retry.
        """
        if test.error is not None:
            test.flow.child("attempt", attempt=test.attempt).fail(test.error)
        item.user_properties[:] = [(name, value) for name, value in item.user_properties if not name.startswith("flowlog.")]
        test.attempt, test.outcome, test.error, test.began = attempt, "passed", None, time.time()
        test.flow.state("setup", attempt=attempt)

    def _triage(self, item: pytest.Item, test: Test, report: pytest.TestReport) -> Finding | None:
        # Loaded only when a test fails: most sessions do not need it.
        from .triage import expand, find

        root = self.config.invocation_params.dir
        paths = [*self.logs, *expand(self.patterns, item.name, root)]
        captured = "".join(text for name, text in report.sections if name.startswith("Captured"))
        if captured:
            # One file per attempt and phase: captured lines may have no timestamps, so those of
            # earlier attempts could not be excluded.
            path = self.own / "tests" / _folder_of(item.nodeid) / f"captured-{test.attempt}-{report.when}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(captured, errors="replace")
            paths.append(path)
        return find(paths, self.owners, test.began, root)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        self._close()

    @_never_fails
    def _close(self) -> None:
        for name, value in self.before.items():
            if value is not None:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
        if self.emitter is not None:
            self.emitter.close()

    def pytest_sessionfinish(self) -> None:
        """Passes a worker's errors to the controller."""
        if (output := getattr(self.config, "workeroutput", None)) is not None:
            output["flowlog_trouble"] = self.trouble

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.trouble += getattr(node, "workeroutput", {}).get("flowlog_trouble", ())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self._sum_up(terminalreporter)
        for trouble in self.trouble[:3]:
            terminalreporter.write_line(f"flowlog: {trouble}", yellow=True)

    @_never_fails
    def _sum_up(self, terminal: pytest.TerminalReporter) -> None:
        found = []
        for report in [*terminal.stats.get("failed", ()), *terminal.stats.get("error", ())]:
            properties = dict(getattr(report, "user_properties", ()))
            if "flowlog.component" in properties:
                lines = [value for name, value in report.user_properties if name == "flowlog.evidence"]
                found.append((report.nodeid, properties, list(dict.fromkeys(lines))))
        if not found:
            return
        terminal.section("flowlog: first failures")
        for nodeid, properties, lines in found:
            pic = f"  [{properties['flowlog.pic']}]" if "flowlog.pic" in properties else ""
            terminal.write_line(f"{nodeid}{pic}")
            terminal.write_line(f"  {properties['flowlog.summary']}", red=True)
            for line in lines[:3]:
                terminal.write_line(f"  {line}")
        terminal.write_line(f"flows and logs of the run: {self.run}")


def _new_folder(folder: Path) -> Path:
    """Creates a folder for this session, which git ignores."""
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in range(1, 1000):
        run = folder / (name if number == 1 else f"{name}-{number}")
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            continue
        (run / ".gitignore").write_text("*\n")
        return run
    raise FileExistsError(f"too many runs in `{folder}` within one second")


def _folder_of(name: str) -> str:
    """Converts a test's name to a folder name, no longer than file systems allow."""
    return _UNSAFE.sub("_", name)[-180:].lstrip(".") or "_"
