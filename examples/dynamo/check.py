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
Answer = tuple[str, str | None, str | None, str | None]
#: All right answers to a run: mostly one.
Expected = Callable[[Run], list[Answer]]


def healthy(_: Run) -> list[Answer]:
    return [("healthy", None, None, None)]


def cancelled(_: Run) -> list[Answer]:
    return [("cancelled", None, None, None)]


def recovered(component: str, process: str, kind: str) -> Expected:
    return lambda run: [("recovered", component, run.instances[process], kind)]


def failed(component: str, *processes: str, kind: str | None = None) -> Expected:
    """Expect the failure of any of the processes, or of a component without instances."""
    return lambda run: [("failed", component, run.instances[p], kind) for p in processes] or [("failed", component, None, kind)]


#: Expected answers for each fault.
EXPECTED: dict[str, Expected] = {
    "healthy": healthy,
    "worker-kill": failed("backend", "worker-0", kind="crash"),
    "worker-kill-migrated": recovered("backend", "worker-0", "crash"),
    "worker-segfault": failed("backend", "worker-0", kind="crash"),
    "two-workers-killed": failed("backend", "worker-0", "worker-1", kind="crash"),
    "skewed-worker-kill": failed("backend", "worker-0", kind="crash"),
    "overloaded-worker-kill": failed("backend", "worker-0", kind="crash"),
    "worker-hang": failed("backend", "worker-0", kind="hang"),
    "worker-freeze": failed("backend", "worker-0", kind="hang"),
    "frontend-freeze": failed("frontend", kind="hang"),
    "short-freezes": healthy,
    "bad-requests": healthy,
    "client-abort": cancelled,
    "client-abort-late": cancelled,
    "client-abort-then-kill": failed("backend", "worker-0", kind="crash"),
    "split-prefill-kill": failed("prefill", "prefill-0", kind="crash"),
    "split-decode-kill": failed("backend", "decode-0", kind="crash"),
    "etcd-lost": failed("etcd"),
    "etcd-restart": lambda _: [("recovered", "etcd", None, None)],
    "nats-lost": failed("nats"),
    "python-worker": healthy,
    "python-worker-fails": failed("backend", "python-0", kind="error"),
}

#: Programs and libraries that only some faults need: Debian package, whether it is installed, faults.
NEEDS: list[tuple[str, bool, set[str]]] = [
    ("etcd-server", shutil.which("etcd") is not None, {"etcd-lost", "etcd-restart", "skewed-worker-kill"}),
    ("nats-server", make_run.nats_server() is not None, {"nats-lost"}),
    ("faketime", make_run.faketime() is not None, {"skewed-worker-kill"}),
]


def as_intended(run: Run, answers: list[Answer]) -> bool:
    """Whether requests failed at their clients exactly if the fault is to fail the run."""
    harmed = any(chat.info["outcome"] not in ("ok", "rejected", "left") for chat in run.chats)
    return harmed == (answers[0][0] == "failed")


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
    if not as_intended(run, expected):
        print(f"WRONG  {fault}: the run did not go as intended: {[chat.info['outcome'] for chat in run.chats]}", flush=True)
        return False
    report = flowlog.analyze(out / fault)
    kind = report.failures[0].kind if len(report.failures) else None
    found = (report.verdict.outcome, report.verdict.component, report.verdict.instance, kind)
    right = any(all(want is None or want == got for want, got in zip(answer, found, strict=True)) for answer in expected)
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
    for package, installed, users in NEEDS:
        for fault in [] if installed else [f for f in faults if f in users]:
            print(f"SKIPPED  {fault}: {package} not found (Debian: apt install {package})")
            faults.remove(fault)
    right = [check(fault, args.out) for fault in faults]
    print(f"{sum(right)} of {len(right)} right")
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
