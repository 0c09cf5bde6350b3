#!/usr/bin/env python3
"""Print line coverage by crate and of the critical paths; exit with 1 if a floor is not reached.

Usage: coverage.py BUILD_MESSAGES.json PROFILE_FOLDER FLOOR_ALL FLOOR_CRITICAL

BUILD_MESSAGES.json is the output of `cargo test --no-run --message-format json`. Lines of unit tests
(from `#[cfg(test)]` on) do not count.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

#: Source folders that count. Benchmarks, examples and test support do not.
CRATES = ("schema/src", "dynamo-flowlog/src", "flowlog-analyze/src", "flowlog-py/src")

#: The paths that a wrong answer would come from: the record, the emitter, reading, the flow table, the diagnosis.
CRITICAL = (
    "schema/src",
    "dynamo-flowlog/src",
    *(f"flowlog-analyze/src/{module}" for module in ("envelope", "format", "multiline", "timestamp_inference", "flow", "diagnose", "ingest")),
)


def tool(name: str) -> str:
    return subprocess.check_output([ROOT / "scripts/llvm-tool", name], text=True).strip()


def binaries(messages: pathlib.Path) -> list[str]:
    """Every instrumented executable and library of the build."""
    found: dict[str, None] = {}
    for line in messages.read_text().splitlines():
        artifact = json.loads(line)
        if artifact.get("reason") == "compiler-artifact" and str(ROOT) in artifact["manifest_path"]:
            for name in (artifact.get("executable"), *artifact["filenames"]):
                if name and (name == artifact.get("executable") or name.endswith(".so")):
                    found[name] = None
    return list(found)


def tests_begin(path: pathlib.Path) -> int:
    """Number of the line on which a file's unit tests begin."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if line == "#[cfg(test)]" and number < len(lines) and lines[number].startswith("mod tests"):
            return number
    return len(lines) + 1


def line_counts(messages: pathlib.Path, profiles: pathlib.Path) -> dict[str, dict[int, int]]:
    """How often each line ran, by file."""
    merged = profiles / "merged.profdata"
    raw = sorted(str(path) for path in profiles.glob("*.profraw"))
    # A killed process may leave a file that it did not finish.
    subprocess.run([tool("profdata"), "merge", "-sparse", "-failure-mode=all", "-o", merged, *raw], check=True)
    first, *others = binaries(messages)
    export = [tool("cov"), "export", "-format=lcov", "-skip-functions", "-skip-expansions", f"-instr-profile={merged}", first]
    export += [f"-object={name}" for name in others]
    lcov = subprocess.check_output(export, text=True, stderr=subprocess.DEVNULL)
    counts: dict[str, dict[int, int]] = {}
    lines: dict[int, int] = {}
    for entry in lcov.splitlines():
        if entry.startswith("SF:"):
            path = pathlib.Path(entry[3:])
            name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
            lines = counts.setdefault(name, {}) if name.startswith(CRATES) else {}
        elif entry.startswith("DA:"):
            number, count = map(int, entry[3:].split(",")[:2])
            lines[number] = max(lines.get(number, 0), count)
    return counts


def main() -> int:
    messages, profiles = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    floors = {"all": float(sys.argv[3]), "critical paths": float(sys.argv[4])}
    totals: dict[str, list[int]] = {}
    for name, lines in line_counts(messages, profiles).items():
        end = tests_begin(ROOT / name)
        kept = [count for number, count in lines.items() if number < end]
        for group in {"all", name.split("/")[0], *(["critical paths"] if name.startswith(CRITICAL) else [])}:
            total = totals.setdefault(group, [0, 0])
            total[0] += sum(count > 0 for count in kept)
            total[1] += len(kept)
    failed = False
    for group, (covered, lines) in sorted(totals.items()):
        percent = 100 * covered / max(lines, 1)
        floor = floors.get(group)
        failed |= floor is not None and percent < floor
        print(f"{group:20} {percent:6.2f}%  ({covered} of {lines} lines{f', floor {floor:g}%' if floor else ''})")
    return 1 if failed or not totals else 0


if __name__ == "__main__":
    sys.exit(main())
