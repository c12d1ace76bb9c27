"""What the runs of a batch would take: time with as many at once as there is room for, and memory.

Runs are processes of their own, so that nothing is shared but the device: each has its libraries,
its weights and its tensors.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from dfast.batches.job import Job
from dfast.batches.state import Status
from dfast.config import Config
from dfast.runs.announce import duration
from dfast.runs.estimate import Estimate, estimate
from dfast.runs.estimated import size

MEASURED = 6
"""Different settings that are measured at most; other rows are taken as their mean."""
BESIDE_SECONDS, EXPORT_SECONDS = 5.0, 9.0
"""Start of a process with the embedded prior, and its mesh, pictures and report: "a red chair" by
the default settings of a CPU, on one core of an AMD EPYC (2026-11-29, commit 045ad72)."""
UNTIMED = ("steps", "checkpoint_every", "log_every", "preview_every")
"""Settings of the section train that change no step."""


@dataclass(frozen=True)
class BatchEstimate:
    """What the runs that are left would take; `str` makes a table of it."""

    device: str
    runs: int
    """That are left to make."""
    at_once: int
    """Processes at once."""
    devices: int
    """GPUs that they share, or machines whose processors they use."""
    seconds: float
    """From the first start to the last end, if no process is lost."""
    peak: int
    """Bytes of all processes on one device, at most."""
    free: int | None
    """Bytes free on a device now, where that is known."""
    disk: int
    """Bytes of the files of all runs that are left."""
    again: float
    """Seconds that a lost process costs at most: what it did since its checkpoint, and a start."""
    retries: int
    """How often a run is started again."""
    note: str = ""
    """What else to know."""

    def __str__(self) -> str:
        where = f"{self.devices} x {self.device}" if self.devices > 1 else self.device
        rows = [
            ("all processes on a device, at most", size(self.peak)),
            ("all runs", duration(self.seconds)),
            ("files", size(self.disk)),
            (f"a lost process (at most {self.retries} a run)", f"+{duration(self.again)}"),
        ]
        lines = [
            f"estimate for {self.runs} runs, {self.at_once} at once on {where}; it may differ by a "
            "third"
        ]
        lines += [f"  {name:40}{value:>14}" for name, value in rows]
        if self.free is not None and self.peak > self.free:
            lines.append(f"warning: {size(self.free)} are free on a device; lower --jobs")
        return "\n".join([*lines, self.note] if self.note else lines)


def forecast(
    left: Sequence[tuple[Status, Job]], at_once: int, devices: int, retries: int
) -> BatchEstimate:
    """Return what runs would take.

    Args:
        left: those that are not finished, at least one.
        at_once: processes that there is room for at once.
        devices: GPUs that they share, or machines whose processors they use.
        retries: how often a run is started again.

    Raises:
        DfastError: it cannot be told here: a CLIP guides a run, or its device is elsewhere.
    """
    kinds = {_kind(job): job for _, job in left}
    chosen = list(kinds)[:: -(-len(kinds) // MEASURED)]
    found = {kind: _measured(kinds[kind]) for kind in chosen}
    at_once = min(at_once, len(left))
    share = -(-at_once // devices)
    slower = share if left[0][1].device == "cuda" else 1  # a GPU takes one process after the other
    costs = [_of_run(row, job, found, slower) for row, job in left]
    peaks = sorted((found.get(_kind(job), _largest(found)).peak for _, job in left), reverse=True)
    plain = [estimate.disk for estimate in found.values()]
    disk = sum(found[k].disk if (k := _kind(job)) in found else max(plain) for _, job in left)
    first = next(iter(found.values()))
    every = max(_steps_lost(job) for _, job in left)
    step = slower * max(one.seconds_per_step for one in found.values())
    more = len(kinds) - len(found)
    return BatchEstimate(
        device=first.device,
        runs=len(left),
        at_once=at_once,
        devices=devices,
        seconds=_last_end(costs, at_once),
        peak=sum(peaks[:share]),
        free=first.free,
        disk=disk,
        again=BESIDE_SECONDS + every * step,
        retries=retries,
        note=f"{more} other settings are taken as the mean of those measured" if more else "",
    )


def _kind(job: Job) -> str:
    """Return what two runs have in common whose steps cost the same."""
    config = Config.from_dict(job.config)
    same = {key: getattr(Config().train, key) for key in UNTIMED}
    return config.replace(train=same, optimizer=_plain("optimizer")).dumps() + job.prior


def _plain(section: str) -> Mapping[str, object]:
    """Return the defaults of a section."""
    values: Mapping[str, object] = Config().to_dict()[section]
    return values


def _measured(job: Job) -> Estimate:
    """Return the estimate of one run alone, with its threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    try:
        return estimate(
            job.prompt,
            prior=job.prior,
            device=job.device,
            config=Config.from_dict(job.config),
            export=job.export,
        )
    finally:
        torch.set_num_threads(before)


def _of_run(row: Status, job: Job, found: Mapping[str, Estimate], slower: int) -> float:
    """Return the seconds of the process of a run, from the step where it goes on."""
    kind = found.get(_kind(job))
    each = [one.seconds_per_step for one in found.values()]
    step = kind.seconds_per_step if kind else sum(each) / len(each)
    done = int(row.metrics.get("step", 0))
    left = max(0, job.config["train"]["steps"] - done)
    start = sum(one.starting for one in found.values()) / len(found)
    start = kind.starting if kind else start
    return BESIDE_SECONDS + slower * (step * left + start) + EXPORT_SECONDS * job.export


def _steps_lost(job: Job) -> int:
    """Return the steps that a run does again, at most, when its process is lost."""
    plan = job.config["train"]
    every = plan["checkpoint_every"] or plan["steps"]
    return min(every, plan["steps"])


def _largest(found: Mapping[str, Estimate]) -> Estimate:
    """Return the estimate of the most memory."""
    return max(found.values(), key=lambda one: one.peak)


def _last_end(costs: Sequence[float], at_once: int) -> float:
    """Return when the last run ends, if each begins where the first place is free."""
    ends = [0.0] * at_once
    for seconds in costs:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)
