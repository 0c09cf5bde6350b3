"""A worker that fails, and the analysis of its log.

Run `pip install ./flowlog-py`, then `python examples/ten_lines.py LOG`.
"""

import contextlib
import sys

import flowlog

flowlog.init("worker", "worker-0", {"engine": "1.0"}, sink=sys.argv[1])
with contextlib.suppress(MemoryError), flowlog.flow("chat_completion", model="tiny") as flow:
    flow.state("prefill", tokens=12)
    with flow.child("kv_transfer", blocks=4):
        raise MemoryError("no block left")
print(flowlog.analyze(sys.argv[1]).verdict.summary)
