"""Peers that misbehave, for tests: each has three cases and does what its name says in the second.

They are imported by the process that measures them, as `dfast.bench.peers` is.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial

import torch

from dfast.bench import counts
from dfast.bench.case import Case, Work
from dfast.bench.sizes import Sizes

NAMES = ("works", "crashes", "hangs", "raises", "leaves", "crashes in its trace")
WORKLOADS = ("A-1k", "B-march-8", "C-composite-8")


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """Yield the cases of all of them."""
    assert device_type == "cpu" and sizes.quick
    for name in NAMES:
        for workload in WORKLOADS:
            yield Case(workload, name, partial(build, name, workload), apart=__name__)


def build(name: str, workload: str, device: torch.device) -> Work:
    """Return work of known costs."""
    print(f"{name} prints while it is built")
    return Work(partial(act, name, workload), counts.Cost(2_000_000, 3_000_000), {"points": 7})


def act(name: str, workload: str) -> None:
    """Do what the peer does in its second case."""
    if workload != WORKLOADS[1] or name == "works":
        return
    if name == "hangs":
        time.sleep(600)
    if name == "raises":
        raise RuntimeError("out of luck")
    if name == "leaves":
        os._exit(0)
    if name == "crashes" or torch.autograd.profiler._is_profiler_enabled:
        os.kill(os.getpid(), signal.SIGSEGV)
