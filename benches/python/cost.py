"""Cost of one record for the thread that emits it, compared with other loggers in one run.

    python benches/python/cost.py [--records N] [--rounds N]

Needs the packages in flowlog-py/tests/requirements.txt, and flowlog itself. All contenders write
the same: a state, two fields and an ID. Each round measures all contenders in turn, and the median
of the rounds is reported, so that drifts in the machine's speed affect all of them alike. Finally,
the written records are counted: a missing record fails the benchmark, as it would have cost nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flowlog
import loguru
import structlog
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from pythonjsonlogger.json import JsonFormatter

FLOW = "019aaaac-a5da-7347-bb80-1089c1876100"

#: Emits the given number of records.
Say = Callable[[int], None]


class Contender:
    """A logger under test, with a function that counts its readable records afterwards."""

    def __init__(self, name: str, say: Say, count: Callable[[], int], close: Callable[[], None]) -> None:
        self.name, self.say, self.count, self.close = name, say, count, close
        self.costs: list[float] = []


def lines(folder: Path, pattern: str, mark: bytes) -> Callable[[], int]:
    return lambda: sum(path.read_bytes().count(mark) for path in folder.glob(pattern))


def ours(name: str, sink: flowlog.Sink, count: Callable[[], int]) -> Contender:
    emitter = flowlog.Emitter("backend", "backend-0", {"dynamo": "1.6.1"}, sink, encoding="json")
    flow = emitter.flow("chat_completion").start()

    def say(records: int) -> None:
        state = flow.state
        for number in range(records):
            state("prefill", tokens=number, model="tiny")

    return Contender(name, say, count, emitter.close)


def ours_by_handler(folder: Path) -> Contender:
    emitter = flowlog.Emitter("backend", sink=flowlog.Sink.mapped(folder / "handler"), encoding="json")
    flow = emitter.flow("chat_completion").start()
    logger = logging.Logger("handler")
    logger.addHandler(flowlog.FlowHandler())

    def say(records: int) -> None:
        with flow.scope():
            for number in range(records):
                logger.info("prefill", extra={"tokens": number, "model": "tiny"})

    return Contender("flowlog's handler for logging, mapped", say, lines(folder, "handler.*", b'"tokens":'), emitter.close)


def stdlib(name: str, folder: Path, formatter: logging.Formatter) -> Contender:
    path = folder / f"{name.replace(' ', '-')}.log"
    logger = logging.Logger(name)
    handler = logging.FileHandler(path)
    handler.setFormatter(formatter)
    logger.addHandler(handler)

    def say(records: int) -> None:
        for number in range(records):
            logger.info("prefill", extra={"flow_id": FLOW, "tokens": number, "model": "tiny"})

    return Contender(name, say, lines(folder, path.name, b"prefill"), handler.close)


def by_structlog(folder: Path) -> Contender:
    file = (folder / "structlog.log").open("wb")
    renderer = structlog.processors.JSONRenderer(serializer=lambda event, **options: json.dumps(event, **options).encode())
    processors = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso"), renderer]
    logger = structlog.wrap_logger(structlog.BytesLogger(file), processors=processors, cache_logger_on_first_use=True).bind(flow_id=FLOW)

    def say(records: int) -> None:
        for number in range(records):
            logger.info("prefill", tokens=number, model="tiny")

    return Contender("structlog, JSON", say, lines(folder, "structlog.log", b"prefill"), file.close)


def by_loguru(folder: Path) -> Contender:
    loguru.logger.remove()
    loguru.logger.add(folder / "loguru.log", serialize=True)
    logger = loguru.logger.bind(flow_id=FLOW)

    def say(records: int) -> None:
        for number in range(records):
            logger.info("prefill", tokens=number, model="tiny")

    return Contender("loguru, JSON", say, lines(folder, "loguru.log", b'"message": "prefill"'), loguru.logger.remove)


class Count:
    """Exporter that counts records without sending them."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, batch: Any) -> Any:
        self.count += len(batch)
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, _timeout_millis: int = 0) -> bool:
        return True


def by_opentelemetry() -> Contender:
    exporter = Count()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=1 << 20))  # type: ignore[arg-type]
    logger = provider.get_logger("backend")

    def say(records: int) -> None:
        for number in range(records):
            logger.emit(timestamp=time.time_ns(), body="prefill", attributes={"flow_id": FLOW, "tokens": number, "model": "tiny"})

    def count() -> int:
        provider.force_flush()
        return exporter.count

    return Contender("OpenTelemetry logs, batches discarded", say, count, provider.shutdown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = b'"state":"prefill"'
        contenders = [
            ours("flowlog, mapped", flowlog.Sink.mapped(folder / "mapped"), lines(folder, "mapped.*", own)),
            ours("flowlog, file", flowlog.Sink.file(folder / "file.log"), lines(folder, "file.log", own)),
            ours_by_handler(folder),
            stdlib("logging, text", folder, logging.Formatter("%(asctime)s %(levelname)s %(flow_id)s %(message)s %(tokens)s %(model)s")),
            stdlib("logging, JSON", folder, JsonFormatter("{asctime}{levelname}{message}", style="{")),
            by_structlog(folder),
            by_loguru(folder),
            by_opentelemetry(),
        ]
        gc.disable()
        for _ in range(args.rounds):
            for contender in contenders:
                began = time.perf_counter()
                contender.say(args.records)
                contender.costs.append((time.perf_counter() - began) / args.records * 1e6)
                gc.collect()
        said = args.records * args.rounds
        for contender in contenders:
            found = contender.count()
            contender.close()
            if found != said:
                sys.exit(f"{contender.name}: {found} of {said} records can be read")
        peer = next(contender for contender in contenders if contender.name == "logging, JSON")
        print("| | us/record, median | minimum | relative to logging with JSON, paired |\n|---|---:|---:|---:|")
        for contender in contenders:
            ratio = statistics.median(cost / other for cost, other in zip(contender.costs, peer.costs, strict=True))
            print(f"| {contender.name} | {statistics.median(contender.costs):.2f} | {min(contender.costs):.2f} | 1/{1 / ratio:.1f} |")


if __name__ == "__main__":
    main()
