#!/usr/bin/env python3
"""Prints line coverage by crate and of the critical paths; exits 1 where these fall below the floor.

Usage: coverage.py TARPAULIN_REPORT.json FLOOR
"""
import json
import pathlib
import sys

# What a wrong answer would come from: the record, the emitter, reading, the flow table, the diagnosis.
CRITICAL = (
    "schema/src",
    "dynamo-flowlog/src",
    *(f"flowlog-analyze/src/{module}" for module in ("envelope", "format", "events", "timeline", "flow", "diagnose", "ingest")),
)


def main() -> int:
    report, floor = json.loads(pathlib.Path(sys.argv[1]).read_text()), float(sys.argv[2])
    root = pathlib.Path.cwd()
    totals: dict[str, list[int]] = {}
    for file in report["files"]:
        path = pathlib.Path(*file["path"])
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        for group in {name.split("/")[0], *(["critical paths"] if name.startswith(CRITICAL) else [])}:
            total = totals.setdefault(group, [0, 0])
            total[0] += file["covered"]
            total[1] += file["coverable"]
    for group, (covered, coverable) in sorted(totals.items()):
        print(f"{group:20} {100 * covered / max(coverable, 1):6.2f} %  ({covered} of {coverable} lines)")
    covered, coverable = totals.get("critical paths", [0, 0])
    return 0 if coverable and 100 * covered / coverable >= floor else 1


if __name__ == "__main__":
    sys.exit(main())
