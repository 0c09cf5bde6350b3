"""A Python worker on `dynamo.runtime` that joins the flow of a Dynamo request.

Frontend, router and this worker log under one ID.

    worker.py --model-path DIR --model-name NAME [--fail-after TOKENS]

The worker makes up its tokens. With `--fail-after`, a request for more tokens fails, as in an
engine without free blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import flowlog
from dynamo.llm import ModelInput, ModelType, register_model
from dynamo.llm import WorkerType as Stage
from dynamo.runtime import Context, DistributedRuntime

TOKENS_PER_SECOND = 50


class OutOfBlocksError(RuntimeError):
    """The cache has no free block."""


class Worker:
    """Engine that answers requests with made-up tokens."""

    def __init__(self, fail_after: int) -> None:
        self.fail_after = fail_after

    async def generate(self, request: dict[str, Any], context: Context) -> AsyncIterator[dict[str, Any]]:
        """Join the flow of the request. Its ID is the trace ID that Dynamo logs."""
        flow = flowlog.join(context.trace_headers() or {}, "generate", request_id=context.id())
        async for answer in flow(self.tokens)(request, context):
            yield answer

    async def tokens(self, request: dict[str, Any], context: Context) -> AsyncIterator[dict[str, Any]]:
        flow = flowlog.current()
        assert flow is not None
        count = request.get("stop_conditions", {}).get("max_tokens") or 16
        flow.state("prefill", tokens=len(request.get("token_ids", ())))
        await asyncio.sleep(0.05)
        flow.state("decode", max_tokens=count)
        for number in range(count):
            if context.is_stopped():
                flow.cancel("the client left")
                return
            if self.fail_after and number >= self.fail_after:
                raise OutOfBlocksError(f"no KV block left after {number} tokens")
            await asyncio.sleep(1 / TOKENS_PER_SECOND)
            yield {"token_ids": [10 + number % 20]}
        yield {"token_ids": [], "finish_reason": "length"}
        flow.record(generated=count)


async def serve(arguments: argparse.Namespace) -> None:
    # `dynamo_worker` ignores DYN_EVENT_PLANE, and waits for NATS.
    runtime = DistributedRuntime(
        asyncio.get_running_loop(),
        os.environ.get("DYN_DISCOVERY_BACKEND", "etcd"),
        os.environ.get("DYN_REQUEST_PLANE", "tcp"),
        event_plane=os.environ.get("DYN_EVENT_PLANE"),
    )
    endpoint = runtime.endpoint("dynamo.backend.generate")
    flowlog.init("backend", str(endpoint.connection_id()), {"dynamo": version("ai-dynamo-runtime")})
    # The start is a flow of its own, which records its duration, and its error if it fails.
    with flowlog.flow("worker_start", model=arguments.model_name):
        await register_model(
            ModelInput.Tokens,
            ModelType.Chat | ModelType.Completions,
            endpoint,
            arguments.model_path,
            arguments.model_name,
            worker_type=Stage.Aggregated,
        )
    await endpoint.serve_endpoint(Worker(arguments.fail_after).generate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--fail-after", type=int, default=0, metavar="TOKENS")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
