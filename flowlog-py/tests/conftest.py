from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flowlog
import pytest

pytest_plugins = ["pytester"]

# A shell that runs the tests in the background has them ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)

Record = dict[str, Any]


def read(*paths: Path) -> list[Record]:
    """Returns the records of logs, including mapped files, which are zero where not yet written."""
    lines = [line for path in paths for line in path.read_bytes().strip(b"\0").splitlines()]
    return [json.loads(line) for line in lines if line.strip(b"\0")]


class Log:
    """A separate emitter, and the records that it wrote."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "flow.jsonl"
        self.emitter = flowlog.Emitter("backend", "backend-0", {"dynamo": "1.6.1"}, self.path, encoding="json", level="trace")

    def flow(self, kind: str = "chat_completion", /, **fields: object) -> flowlog.Flow:
        return self.emitter.flow(kind, **fields)

    def records(self) -> list[Record]:
        return [record for record in read(self.path) if record["event"] != "process"]

    def said(self) -> list[tuple[str, str]]:
        """Returns the kind and event of each record."""
        return [(record["flow"], record["event"]) for record in self.records()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path)
    with log.emitter:
        yield log


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a separate process and folder."""

    def run(program: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)

    return run
