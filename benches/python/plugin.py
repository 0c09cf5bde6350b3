"""Cost of the pytest plugin for a session of 1000 passing tests.

    python benches/python/plugin.py [--rounds N]

Sessions run in turn, without and with the plugin, each in a process of its own; the median of the
ratios is reported. Finally, the flows are counted: a test without a flow fails the benchmark.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

import flowlog

TESTS = 1000
SESSIONS = {
    "empty tests": "def test_it(number): pass",
    "tests of 2 ms": "def test_it(number): time.sleep(0.002)",
}


def session(folder: Path, *arguments: str) -> float:
    """Run a session, and return its duration in seconds."""
    load = [] if any(entry.name == "flowlog" for entry in entry_points(group="pytest11")) else ["-p", "flowlog_pytest"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *load, *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    if f"{TESTS} passed" not in done.stdout:
        sys.exit(done.stdout)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    print("| 1000 passing tests | without, s | with, s | with / without, paired | overhead per test, us |\n|---|---:|---:|---:|---:|")
    for name, test in SESSIONS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            text = f"import pytest, time\n@pytest.mark.parametrize('number', range({TESTS}))\n{test}\n"
            (folder / "test_it.py").write_text(text)
            pairs = [(session(folder), session(folder, "--flowlog")) for _ in range(args.rounds + 1)][1:]
            runs = sorted((folder / "flowlog-results").iterdir())
            for run in runs:
                report = flowlog.analyze(list(run.glob("pytest-*")))
                if report.flows.ok != TESTS:
                    sys.exit(f"{run}: {report.flows}")
            without, with_it = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
            ratio = statistics.median(b / a for a, b in pairs)
            more = statistics.median(b - a for a, b in pairs) / TESTS * 1e6
            print(f"| {name} | {without:.2f} | {with_it:.2f} | {ratio:.3f} | {more:.0f} |")


if __name__ == "__main__":
    main()
