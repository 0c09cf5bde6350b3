"""Record fields derived from the markers of a test.

Some markers have two spellings in use: ``gpu_1`` and ``gpus_needed_1``, ``pre_merge`` and
``premerge``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

_FRAMEWORKS = {"vllm": "vllm", "trtllm": "trtllm", "tensorrtllm": "trtllm", "tensorrt_llm": "trtllm", "sglang": "sglang"}
_LIFECYCLES = ("pre_merge", "post_merge", "nightly", "weekly", "pre_release", "release")
_COMPONENTS = (
    *("frontend", "router", "planner", "prefill", "decode", "backend", "worker", "kvbm", "nixl", "operator", "runtime"),
    *("mocker", "etcd", "nats", "discovery", "profiler", "multimodal", "lora", "grove"),
)

_GPUS = re.compile(r"(?:gpus?|gpus?_needed|num_gpus)_(\d+)")
_BY_SPELLING = {name.replace("_", ""): name for name in _LIFECYCLES}


def fields(markers: Iterable[pytest.Mark]) -> dict[str, object]:
    """Returns the fields ``framework``, ``gpus``, ``lifecycle`` and ``test_component``.

    Fields that no marker defines are omitted; the marker closest to the test wins.
    """
    fields: dict[str, object] = {}
    for marker in markers:
        name = marker.name.lower()
        if name == "component" and marker.args:
            fields.setdefault("test_component", str(marker.args[0]))
        elif name in _FRAMEWORKS:
            fields.setdefault("framework", _FRAMEWORKS[name])
        elif name in _COMPONENTS:
            fields.setdefault("test_component", name)
        elif found := _GPUS.fullmatch(name):
            fields.setdefault("gpus", int(found[1]))
        elif (spelt := name.replace("_", "")) in _BY_SPELLING:
            fields.setdefault("lifecycle", _BY_SPELLING[spelt])
    return fields
