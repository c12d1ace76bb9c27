"""Time steps of several objects side by side, which share each evaluation of a prior.

at_once            objects that step together
step_ms            a step of all of them on the host's clock, the mean over a run's resolutions
objects_per_hour   that follow from it and the length of a run: without loading, previews,
                   checkpoints and export
gain               objects_per_hour over those of one object at a time
peak_mib           most memory allocated; reserved_mib: kept by torch, with CUDA graphs' pools

A step is that of the given configuration in the middle of each of its resolutions, with views lit
as often as a run has them. Learning rates are nearly 0, so that the scene stays as it is whatever
the prior predicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch

from dfast.bench import priors, report
from dfast.bench.measurement import TIMES, error_line
from dfast.bench.priors import STILL, Options, Plan
from dfast.bench.stepping import free, seconds
from dfast.bench.timing import MIB, Record
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.priors import Prior, load_prior
from dfast.runs.timed_steps import settled
from dfast.training.build import build_trainer
from dfast.training.together import Together
from dfast.training.trainer import Trainer

COLUMNS = ("at_once", "step_ms", "objects_per_hour", "gain", "peak_mib", "reserved_mib")
"""Of the table."""
MOST = 256
"""Objects side by side, at most."""
THINGS = ("chair", "mug", "table", "car")
COLORS = ("red", "blue", "green", "yellow")
ATTEMPTS = 3
"""How often steps are timed again in which a CUDA graph was recorded."""


def run(names: Sequence[str], counts: Sequence[int], options: Options) -> list[Record]:
    """Measure priors with several numbers of objects. What fails leaves its message in "error".

    Args:
        names: of the priors.
        counts: numbers of objects side by side, rising; `gain` needs 1 among them.
        options: how they are measured; `steps` at each resolution.

    Returns:
        A record for each prior and number.

    Raises:
        ConfigError: if a name or a setting is not valid, before anything is measured.
        PriorError: if there is no such prior, before anything is measured.
    """

    def found(plan: Plan) -> Iterator[tuple[str, Record]]:
        alone = None
        for count, record in _each(plan, counts, options):
            rate = record.get("objects_per_hour")
            if isinstance(rate, float):
                alone = rate if count == 1 else alone
                record |= {"gain": round(rate / alone, 4)} if alone else {}
            yield f"{plan.name}, {count} at once", {"at_once": count} | record

    return priors.measure_each(priors.plans(names, options), options, found)


def _each(plan: Plan, counts: Sequence[int], options: Options) -> Iterator[tuple[int, Record]]:
    """Load a prior, and yield what is found with each number of objects."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(priors.weights(plan, options))
            prior = load_prior(folder, options.device, options=plan.config.prior)
        except Exception as error:  # any error of a prior is its result
            yield counts[0], {TIMES: error_line(error)}
            return
        for count in counts:
            try:
                record = measure(prior, options.device, plan.config, count, options.steps)
            except Exception as error:
                record = {TIMES: error_line(error)}
            yield count, record


def parse_counts(text: str) -> list[int]:
    """Return the numbers of a list such as "1,2,4", rising.

    Raises:
        ConfigError: for anything else.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= MOST for word in words):
        raise ConfigError(f"--at-once: expected numbers from 1 to {MOST} as 1,2,4, got {text!r}")
    return sorted({int(word) for word in words})


def measure(prior: Prior, device: torch.device, config: Config, count: int, steps: int) -> Record:
    """Measure a number of objects side by side.

    Args:
        prior: the prior; objects after the first find it loaded.
        device: where it is.
        config: of all objects.
        count: how many there are.
        steps: number of steps to time, at each resolution.

    Returns:
        Its record, without the machine.
    """
    starts = [start for start, _ in config.camera.resolution]
    phases: list[tuple[float, int, _Phase]] = []
    free(device)
    for (start, size), end in zip(config.camera.resolution, [*starts[1:], 1.0], strict=True):
        at = config.replace(camera={"resolution": [[0.0, size]]})
        found = _phase(prior, device, at, count, steps, (start + end) / 2)
        free(device)
        phases.append((end - start, size, found))
    mean = sum(part * found.seconds for part, _, found in phases)
    record: Record = {
        "variant": config.guidance.variant,
        "views": config.camera.views,
        "run_steps": config.train.steps,
        "steps": steps,
        "step_ms": round(1e3 * mean, 4),
        "phases": [
            {"resolution": size, "step_ms": round(1e3 * found.seconds, 4)}
            for _, size, found in phases
        ],
        "objects_per_hour": round(3600.0 * count / (mean * config.train.steps), 2),
        "captures": sum(found.captures for *_, found in phases),
    }
    if device.type == "cuda":
        record["peak_mib"] = round(max(found.peak for *_, found in phases) / MIB, 1)
        record["reserved_mib"] = round(max(found.reserved for *_, found in phases) / MIB, 1)
    return record


def table(records: Sequence[Record]) -> str:
    """Return the records as aligned text."""

    def cells(record: Mapping[str, object], shown: list[str]) -> list[str]:
        return [*shown, str(record["error"])] if "error" in record else shown

    return report.model_table(COLUMNS, records, cells, digits=5)


class _Phase(NamedTuple):
    """What steps at one resolution take."""

    seconds: float
    captures: int
    """CUDA graphs that were recorded."""
    peak: int
    """Bytes allocated, at most."""
    reserved: int
    """Bytes that torch keeps."""


def _phase(
    prior: Prior, device: torch.device, config: Config, count: int, steps: int, progress: float
) -> _Phase:
    """Take steps at one resolution, at some fraction of a run."""
    settle = settled(config) if device.type == "cuda" else 1
    # So long a run that its progress stays about what it is.
    total = 20 * (settle + ATTEMPTS * steps)
    config = config.replace(optimizer=STILL["optimizer"], train={"steps": total})
    begin = int(progress * total)
    begin -= begin % config.train.log_every
    trainers: list[Trainer] = []
    for i in range(count):
        prompt = f"a {COLORS[i // len(THINGS) % len(COLORS)]} {THINGS[i % len(THINGS)]}"
        trainer = build_trainer(config, prior, prompt, i, device)
        trainer.step = begin
        trainer.scene.rebuild_occupancy(torch.Generator(device).manual_seed(i))
        trainers.append(trainer)
    together = Together(trainers) if count > 1 else None
    step = trainers[0].train_step if together is None else together.train_step

    def captured() -> int:
        joint = 0 if together is None else together.graphs.captures
        return joint + sum(trainer.graphs.captures for trainer in trainers)

    def checked() -> None:
        ends = step()
        for end in ends if isinstance(ends, list) else ():
            if isinstance(end, Exception):
                raise end

    free(device)
    if device.type == "cuda":  # not what loading took
        torch.cuda.reset_peak_memory_stats(device)
    seconds(checked, settle, device)
    for _ in range(ATTEMPTS):
        before = captured()
        taken = seconds(checked, steps, device) / steps
        if captured() == before:
            break
    if device.type != "cuda":
        return _Phase(taken, captured(), 0, 0)
    peak, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.memory_reserved(device)
    return _Phase(taken, captured(), peak, reserved)
