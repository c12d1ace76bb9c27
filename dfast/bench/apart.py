"""Run the cases of one peer in a process of its own, which may crash or hang.

`python -m dfast.bench.apart REQUEST` measures cases and prints each `Finding` as a line of JSON,
and null at the end. What the peer itself prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import torch

from dfast.bench.case import Case
from dfast.bench.measurement import COUNTS, TIMES, TRACE, Finding, findings
from dfast.bench.process import same_imports, started
from dfast.bench.sizes import sizes

LIMIT_S = 600.0
"""Seconds that a phase of a case may take. The first case of a peer may include the compilation of
its kernels, which takes minutes."""
UNDONE = {TIMES: "run", COUNTS: "counted", TRACE: "traced"}
"""What did not happen to the cases after one that crashed."""


def findings_apart(
    todo: Sequence[Case], device: torch.device, *, quick: bool, profile: Path | None
) -> Iterator[Finding]:
    """Yield what `findings` yields, from another process.

    Where that process crashes, hangs or ends early, the last finding says so, about the case that
    was being measured.

    Args:
        todo: cases of one variant and of one module, `Case.apart`.
        device: where they run.
        quick: use the quick sizes.
        profile: a folder for one Chrome trace a case.
    """
    names = [case.workload for case in todo]
    request = {
        "module": todo[0].apart,
        "variant": todo[0].variant,
        "workloads": names,
        "device": str(device),
        "quick": quick,
        "profile": None if profile is None else str(profile),
    }
    command = (sys.executable, "-P", "-m", __name__, json.dumps(request))
    last = Finding(names[0], todo[0].variant, TIMES, None)
    with started(command, same_imports(), LIMIT_S) as process:
        for answer in map(json.loads, process.lines()):
            if answer is None:
                return
            last = Finding(*answer)
            yield last
    others = names.index(last.workload) + 1 < len(names)
    rest = f"; its other cases were not {UNDONE[last.phase]}" if others else ""
    yield last._replace(found={last.phase: f"{process.fault or 'ended early'}{rest}"})


def main() -> None:
    """Measure the cases of the request in the arguments."""
    request = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    device = torch.device(request["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    made = import_module(request["module"]).cases(device.type, sizes(device.type, request["quick"]))
    todo = [
        case
        for case in made
        if case.variant == request["variant"] and case.workload in request["workloads"]
    ]
    profile = request["profile"] and Path(request["profile"])
    for finding in findings(todo, device, quick=request["quick"], profile=profile):
        print(json.dumps(finding), file=answers, flush=True)
    print("null", file=answers, flush=True)


if __name__ == "__main__":
    main()
