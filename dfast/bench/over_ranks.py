"""Time steps of one object whose views several processes share, under torchrun.

step_ms          a step of all processes, with the question that a run asks them all: go on?
views_per_second that follow from it, of all processes
alone_ms         a step of the first process with all views, while the others wait
speedup          alone_ms over step_ms; efficiency: over the number of processes
reduce_ms        the exchange of gradients alone: as many numbers as a step averages, queued
apart_ms         a step in which each process keeps its own gradients, nothing is exchanged
communication    the part of a step that goes with the exchange: 1 - apart_ms / step_ms

All are those of the slowest process. The scene stays as it is, see `STILL` of `priors`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dfast.bench import priors, report
from dfast.bench.at_once import ATTEMPTS
from dfast.bench.priors import PROMPT, STILL, Options, Plan
from dfast.bench.step_parts import milliseconds
from dfast.bench.stepping import free, seconds
from dfast.bench.timing import MIB, Record
from dfast.config import Config
from dfast.priors import Prior, load_prior
from dfast.runs.group import joined
from dfast.runs.timed_steps import settled
from dfast.training.build import build_trainer
from dfast.training.ranks import Ranks
from dfast.training.trainer import Trainer

COLUMNS = (
    "views",
    "processes",
    "step_ms",
    "views_per_second",
    "alone_ms",
    "speedup",
    "efficiency",
    "reduce_ms",
    "apart_ms",
    "communication",
    "peak_mib",
)
"""Of the table."""


class Apart(Ranks):
    """Processes that share the views and exchange nothing, to see what the exchange costs."""

    def average(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the tensors, after the copies that an exchange makes."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        flat /= self.size
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def any(self, flag: bool) -> bool:
        """Return this process's flag."""
        return flag


def run(names: Sequence[str], options: Options) -> list[Record]:
    """Measure priors in all processes of torchrun; an error in one ends them all.

    Args:
        names: of the priors.
        options: how they are measured, on the device of this process. One process of each machine
            writes random weights, and the first one says and writes what is found.

    Returns:
        A record for each prior, the same in all processes.

    Raises:
        ConfigError: if a name or a setting is not valid, or the views cannot be shared.
        PriorError: if there is no such prior.
    """
    plans = priors.plans(names, options)
    size = int(os.environ["WORLD_SIZE"])
    for plan in plans:
        Ranks(0, size).check_views(plan.config.camera.views, plan.config.camera.ring)
    with joined(options.device) as ranks:
        if not ranks.is_first:
            options = replace(options, out=None, say=lambda line: None)

        def found(plan: Plan) -> Iterator[tuple[str, Record]]:
            with _weights(plan, options, ranks) as folder:
                prior = load_prior(folder, options.device, options=plan.config.prior)
                record = measure(prior, options.device, plan.config, ranks, options.steps)
            yield f"{plan.name}, {ranks.size} processes", record

        return priors.measure_each(plans, options, found)


def measure(
    prior: Prior,
    device: torch.device,
    config: Config,
    ranks: Ranks,
    steps: int,
    *,
    alone: bool = True,
) -> Record:
    """Measure one prior; all processes call it.

    Args:
        prior: the prior, on this process's device.
        device: of this process.
        config: the run's configuration, of which `STILL` replaces a part.
        ranks: the processes, of which this is one.
        steps: number of steps to time.
        alone: measure the first process with all views, too.

    Returns:
        The record without the machine, the same in all processes.

    Raises:
        ConfigError: if the views cannot be shared.
    """
    settle = settled(config) if device.type == "cuda" else 1
    total = 20 * (settle + ATTEMPTS * steps)
    config = config.replace(**STILL, train={"steps": total})
    step_ms, peak, trainer = _step(prior, device, config, ranks, settle, steps)
    numbers = sum(p.numel() for p in trainer.optimizer.parameters.values())
    captures = trainer.graphs.captures
    del trainer
    apart = Apart(ranks.rank, ranks.size, ranks.host)
    times = {
        "step_ms": step_ms,
        "reduce_ms": _reduction(numbers, device, max(3, min(steps, 50))),
        "apart_ms": _step(prior, device, config, apart, settle, steps)[0],
    }
    if alone:
        mine = _step(prior, device, config, Ranks(), settle, steps) if ranks.is_first else (0.0,)
        times["alone_ms"] = mine[0]
    slowest = torch.tensor([peak, *times.values()], dtype=torch.float64)
    # By the hosts' group, since processes that waited on their GPUs would disturb the first one's.
    dist.all_reduce(slowest, dist.ReduceOp.MAX, group=ranks.host)
    peak, *most = slowest.tolist()
    times = dict(zip(times, most, strict=True))
    found: dict[str, Any] = {
        "variant": config.guidance.variant,
        "views": config.camera.views,
        "resolution": config.camera.resolution[-1][1],
        "processes": ranks.size,
        "steps": steps,
        "captures": captures,
        **times,
        "views_per_second": 1e3 * config.camera.views / times["step_ms"],
        "communication": 1.0 - times["apart_ms"] / times["step_ms"],
        "gradient_mib": 4 * numbers / MIB,
    }
    if alone:
        found["speedup"] = times["alone_ms"] / times["step_ms"]
        found["efficiency"] = found["speedup"] / ranks.size
    if device.type == "cuda":
        found["peak_mib"] = peak
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in found.items()}


def table(records: Sequence[Record]) -> str:
    """Return the records as aligned text."""
    return report.model_table(COLUMNS, records)


def _step(
    prior: Prior, device: torch.device, config: Config, group: Ranks, settle: int, steps: int
) -> tuple[float, float, Trainer]:
    """Return the milliseconds of a step, its peak memory in MiB, and its trainer."""
    free(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trainer = build_trainer(config, prior, PROMPT, 0, device, ranks=group)
    trainer.step = config.train.steps // 2
    trainer.step -= trainer.step % config.train.log_every
    trainer.scene.rebuild_occupancy(torch.Generator(device).manual_seed(0))
    _seconds(trainer, settle)
    for _ in range(ATTEMPTS):
        before = trainer.graphs.captures
        taken = _seconds(trainer, steps)
        if not group.any(trainer.graphs.captures > before):  # all repeat, or none
            break
    peak = torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else 0.0
    trainer.graphs.drop()  # a group of processes cannot end while graphs hold its exchanges
    return 1e3 * taken / steps, peak, trainer


def _seconds(trainer: Trainer, count: int) -> float:
    """Return the seconds that `count` steps take, with what a run asks all processes in each."""

    def step() -> None:
        trainer.ranks.any(False)
        trainer.train_step()

    return seconds(step, count, trainer.device)


def _reduction(numbers: int, device: torch.device, runs: int) -> float:
    """Return the milliseconds of one exchange of as many numbers."""
    gradients = torch.zeros(numbers, device=device)
    return milliseconds(lambda: dist.all_reduce(gradients), device, runs, [])


@contextmanager
def _weights(plan: Plan, options: Options, ranks: Ranks) -> Iterator[str]:
    """Yield what `load_prior` opens; random weights are written once on each machine."""
    local = int(os.environ["LOCAL_RANK"])
    with nullcontext("") if local else priors.weights(plan, options) as own:
        folders = [""] * ranks.size
        dist.all_gather_object(folders, own, group=ranks.host)
        yield folders[ranks.rank - local]  # torchrun numbers the processes of a machine in a row
        ranks.any(False)  # all have read it
