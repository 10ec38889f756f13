"""Nodes that are only supposed, as Client.explain and Client.plan take them."""

from __future__ import annotations

from typing import Any, Mapping

from cyxwiz.job_file import memory_bytes
from cyxwiz.protocol import control_pb2

#: ``{"nodes": 1, "cpus": 16, "memory": "32GiB", "gpus": 2, "gpu_memory": "80GiB"}``; all keys may be left out.
WhatIf = Mapping[str, Any]

_KEYS = ("nodes", "cpus", "memory", "gpus", "gpu_memory")


def to_wire(what_if: WhatIf) -> control_pb2.WhatIf:
    """The wire's message. One node is meant where only what it has is said. Raises ValueError for another form."""
    wire = control_pb2.WhatIf()
    for key, value in what_if.items():
        if key not in _KEYS:
            raise ValueError(f"what_if: unknown key {key!r}; the keys are {', '.join(_KEYS)}")
        if key in ("memory", "gpu_memory"):
            setattr(wire.resources, f"{key}_bytes", memory_bytes(f"what_if: {key}", value))
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or value < 0 or (key != "cpus" and value != int(value)):
            raise ValueError(f"what_if: {key}: expected a number, found {value!r}")
        if key == "nodes":
            wire.more_nodes = int(value)
        elif key == "cpus":
            wire.resources.cpu_millis = round(value * 1000)
        else:
            wire.resources.gpus = int(value)
    if wire.HasField("resources") and wire.more_nodes == 0:
        wire.more_nodes = 1
    return wire
