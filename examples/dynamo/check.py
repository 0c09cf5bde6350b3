"""Make real runs of Dynamo with injected faults, and check the analyzer's verdict on each.

    PYTHON_OF_THE_DYNAMO_VENV check.py --out DIR [--fault FAULT ...]

Exits with 1 if an answer is wrong. DIR/FAULT/run.json has the fault, the affected process, and the
instance ID under which the frontend knew it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import flowlog
import make_run
from make_run import Run

#: Outcome, component, instance and kind of failure; None matches anything.
Expected = tuple[str, str | None, str | None, str | None]


def is_healthy(_: Run) -> Expected:
    return "healthy", None, None, None


def is_left(_: Run) -> Expected:
    return "cancelled", None, None, None


def failed(component: str, process: str, kind: str) -> Callable[[Run], Expected]:
    return lambda run: ("failed", component, run.instances[process], kind)


#: Expected answer for each fault.
EXPECTED: dict[str, Callable[[Run], Expected]] = {
    "healthy": is_healthy,
    "worker-kill": failed("backend", "worker-0", "crash"),
    "worker-kill-migrated": lambda run: ("recovered", "backend", run.instances["worker-0"], "crash"),
    "worker-hang": failed("backend", "worker-0", "hang"),
    "client-abort": is_left,
    "split-prefill-kill": failed("prefill", "prefill-0", "crash"),
    "etcd-lost": lambda _: ("failed", "etcd", None, None),
    "python-worker": is_healthy,
    "python-worker-fails": failed("backend", "python-0", "error"),
}


def joined(report: flowlog.Report, folder: Path) -> bool:
    """Whether the flow ID of each failure of our worker occurs in the frontend's log, too."""
    frontend = (folder / "frontend.log").read_text(errors="replace")
    flows = [flow for flow in report.flow_failures if flow.component == "backend"]
    return bool(flows) and all(flow.flow_id.replace("-", "") in frontend for flow in flows)


def check(fault: str, out: Path) -> bool:
    """Make one run, and check the analyzer's answer."""
    arguments = ["--fault", fault, "--out", str(out / fault), "--grace", "10"]
    run = make_run.make(make_run.parse(arguments))
    expected = EXPECTED[fault](run)
    report = flowlog.analyze(out / fault)
    kind = report.failures[0].kind if len(report.failures) else None
    found = (report.verdict.outcome, report.verdict.component, report.verdict.instance, kind)
    right = all(want is None or want == got for want, got in zip(expected, found, strict=True))
    if fault == "python-worker-fails":
        right = right and joined(report, out / fault) and report.failures[0].error_type == "OutOfBlocksError"
    print(f"{'right' if right else 'WRONG'}  {fault}: {report.verdict.summary}", flush=True)
    if not right:
        print(f"       expected {expected}, found {found}\n{report}", flush=True)
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--fault", action="append", choices=EXPECTED, help="may be repeated; default: all faults")
    args = parser.parse_args()
    faults = args.fault or list(EXPECTED)
    if "etcd-lost" in faults and shutil.which("etcd") is None:
        print("SKIPPED  etcd-lost: etcd not found (Debian: apt install etcd-server)")
        faults.remove("etcd-lost")
    right = [check(fault, args.out) for fault in faults]
    print(f"{sum(right)} of {len(right)} right")
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
