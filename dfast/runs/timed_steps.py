"""A few steps of runs side by side, made to see how long they take and how much memory.

On a CPU the memory is counted, not read from the system: the same settings give the same bytes,
whatever heap an earlier run has left, but for some hundred bytes that a process makes once.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from dfast.config import Config
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.priors.base import Prior
from dfast.runs.cost_model import live_bytes
from dfast.runs.recording import read_metrics
from dfast.runs.scaled_down import scaled_down
from dfast.training.build import build_trainer
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.sample_budget import SampleBudget
from dfast.training.together import Together
from dfast.training.trainer import Trainer

TIMED = {"cuda": 16, "cpu": 2}
"""Steps to time, after the first ones."""
SETTLED = 64
"""Steps before those at most, where the occupancy is refreshed seldom."""
PLAIN_STEPS = SampleBudget.EXACT_STEPS + CudaGraphCache.WARMUP + 1
"""Steps at the start of each resolution that call all operators one by one, the last of them to
record a CUDA graph."""
LENGTH = 1024
"""Steps of the run that stands for one of any length: schedules are fractions of it."""
COPIES = {"cuda": 2, "cpu": 1}
"""Copies of a run's state that its health check keeps, of which the steps here make one."""
GRADIENT_BYTES, NUMBER_BYTES = 4, 12
"""Bytes of a number of the hash grid's table that come and go in a step, and of the number with
Adam's two moments."""
UPDATE_SECONDS = {"cuda": 2e-11, "cpu": 5e-9}
"""Seconds that Adam takes for such a number: it moves 28 bytes."""


class StepTimes(NamedTuple):
    """What steps of some runs side by side take."""

    seconds: float
    """A step of all of them, the mean over a run."""
    peak_bytes: int
    """Most bytes that come and go in a step."""
    state_bytes: int
    """Bytes of field, optimiser and occupancy grid, and of the copies that a rewind needs."""
    checkpoint_bytes: int
    """Bytes of one run's checkpoint."""
    start_seconds: float = 0.0
    """What the first steps at each resolution take beyond others: their operators are called one by
    one, and CUDA graphs are recorded. Without the very first step, where libraries load."""


@dataclass(frozen=True)
class _Runs:
    """Runs whose steps are made with one configuration or another."""

    prior: Prior
    prompt: str
    device: torch.device
    count: int
    """How many there are side by side."""
    timed: bool
    """False takes one step on a CPU, whose time says little."""


def settled(config: Config) -> int:
    """Return after how many steps in the middle of a run its CUDA graphs are recorded.

    Args:
        config: of the run.
    """
    warm = CudaGraphCache.WARMUP + 2
    return max(SampleBudget.EXACT_STEPS + 2 * warm, warm * config.occupancy.every)


def time_steps(
    prior: Prior,
    prompt: str,
    config: Config,
    device: torch.device,
    count: int = 1,
    *,
    timed: bool = True,
) -> StepTimes:
    """Train for a few steps at each resolution of a run's schedule, in the middle of that phase.

    Huge runs are timed at a smaller size, so that nothing huge is made.

    Args:
        prior: the prior, or a `SilentPrior` to time all but the prior.
        prompt: the prompt of the runs.
        config: their configuration.
        device: their device.
        count: how many there are side by side.
        timed: False takes one step on a CPU, whose time says little.
    """
    runs = _Runs(prior, prompt, device, count, timed)
    starts = [start for start, _ in config.camera.resolution]
    phases = []
    for (start, size), end in zip(config.camera.resolution, [*starts[1:], 1.0], strict=True):
        at = config.replace(camera={"resolution": [[0.0, size]]})
        phases.append((end - start, _time(runs, at, (start + end) / 2)))
    return StepTimes(
        sum(fraction * found.seconds for fraction, found in phases),
        max(found.peak_bytes for _, found in phases),
        max(found.state_bytes for _, found in phases),
        max(found.checkpoint_bytes for _, found in phases),
        sum(found.start_seconds for _, found in phases),
    )


def extrapolated(known: Sequence[tuple[int, StepTimes]], count: int) -> StepTimes:
    """Return what steps of some runs take, on the line through the nearest numbers of runs.

    Args:
        known: what steps of other numbers of runs take, by rising number. One alone is taken as
            the cost of each run.
        count: number of runs.
    """
    if len(known) == 1:
        one, share = known[0][1], count / known[0][0]
        peak, state = round(share * one.peak_bytes), round(share * one.state_bytes)
        start = share * one.start_seconds
        return StepTimes(share * one.seconds, peak, state, one.checkpoint_bytes, start)
    above = next((i for i, (runs, _) in enumerate(known) if i and runs >= count), len(known) - 1)
    (low, a), (high, b) = known[above - 1], known[above]

    def on_the_line(one: float, two: float) -> float:
        return one + (two - one) * (count - low) / (high - low)

    return StepTimes(
        on_the_line(a.seconds, b.seconds),
        round(on_the_line(a.peak_bytes, b.peak_bytes)),
        round(on_the_line(a.state_bytes, b.state_bytes)),
        a.checkpoint_bytes,
        max(0.0, on_the_line(a.start_seconds, b.start_seconds)),
    )


def _time(runs: _Runs, config: Config, progress: float) -> StepTimes:
    """Train for a few steps at one resolution, in the middle of some fraction of a run.

    What huge runs take is on the line through smaller ones, by the number of rays.
    """
    kind = runs.device.type
    small = scaled_down(config, kind)
    found = _steps(runs, small.config, progress)
    if small.rays > 1.0:
        pixels = small.config.camera.resolution[0][1]
        fewer = small.config.replace(camera={"resolution": [[0.0, max(4, pixels // 2)]]})
        less = _steps(runs, fewer, progress)
        more = (small.rays - 1.0) / (1.0 - (max(4, pixels // 2) / pixels) ** 2)
        found = found._replace(
            seconds=found.seconds + more * max(0.0, found.seconds - less.seconds),
            peak_bytes=found.peak_bytes + int(more * max(0, found.peak_bytes - less.peak_bytes)),
        )
    numbers, kept = runs.count * small.numbers, NUMBER_BYTES * (1 + COPIES[kind])
    return found._replace(
        seconds=found.seconds + numbers * UPDATE_SECONDS[kind],
        peak_bytes=found.peak_bytes + numbers * GRADIENT_BYTES,
        state_bytes=found.state_bytes + numbers * kept,
        checkpoint_bytes=found.checkpoint_bytes + small.numbers * NUMBER_BYTES,
    )


def _steps(runs: _Runs, config: Config, progress: float) -> StepTimes:
    """Train for a few steps, at some fraction of a run."""
    start, prior, device = time.perf_counter(), runs.prior, runs.device
    config = config.replace(train={"steps": LENGTH})
    if prior.untrainable and config.guidance.variant == "vsd":
        # Without weights there is no copy to train; what it costs is counted with the networks.
        config = config.replace(guidance={"variant": "sds"})
    begin = min(int(progress * LENGTH), LENGTH - 2 * SETTLED)
    begin -= begin % config.train.log_every  # the health check makes its copy after the first step
    gc.collect()  # trainers refer to themselves, and those before would be freed in the middle
    trainers: list[Trainer] = []
    kept: list[Callable[[], object]] = []

    def build_and_step() -> object:
        for seed in range(runs.count):
            shared = trainers[0].guidance if trainers else None
            assert shared is None or isinstance(shared, DiffusionGuidance)
            trainer = build_trainer(config, prior, runs.prompt, seed, device, guidance=shared)
            trainer.step = begin
            trainer.scene.rebuild_occupancy(torch.Generator(device).manual_seed(seed))
            trainers.append(trainer)
        kept.append(Together(trainers).train_step if runs.count > 1 else trainers[0].train_step)
        return kept[0]()

    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        build_and_step()
        seconds, begun = _settled_and_timed(kept[0], trainers[0], device)
        most = torch.cuda.max_memory_allocated(device) - before
    else:
        loaded = [] if prior.network is None else list(prior.network.parameters())
        most = live_bytes(build_and_step, loaded)
        seconds, begun = _timed(kept[0]) if runs.timed else time.perf_counter() - start, 0.0
    own, copied = _state(trainers, device), _copied(trainers, device)
    checkpoint = sum(tensor.nbytes for tensor in trainers[0].state_dict().values())
    working = max(0, most - own - copied)
    return StepTimes(seconds, working, own + COPIES[device.type] * copied, checkpoint, begun)


def _timed(step: Callable[[], object]) -> float:
    """Take steps on a CPU; return their mean time in seconds."""
    times = []
    for _ in range(TIMED["cpu"]):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.fmean(times)


def _settled_and_timed(
    step: Callable[[], Any], trainer: Trainer, device: torch.device
) -> tuple[float, float]:
    """Take steps after the first one on a GPU, reading metrics as often as a run does.

    Args:
        step: takes one; returns its metrics, or those of each run.
        trainer: one of the runs.
        device: their device.

    Returns:
        The seconds of a step, one queued behind the other, once CUDA graphs are recorded; and what
        the steps until then took beyond that.
    """

    def take(number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            found = step()
            if trainer.step % trainer.config.train.log_every == 0:
                for end in found if isinstance(found, list) else [found]:
                    if isinstance(end, dict):
                        read_metrics(end)
        torch.cuda.synchronize(device)
        return time.perf_counter() - start

    before = min(settled(trainer.config), SETTLED)
    torch.cuda.synchronize(device)
    first, later = take(before), take(TIMED["cuda"])
    seconds = later / TIMED["cuda"]
    return seconds, max(0.0, first - before * seconds)


def _state(trainers: Sequence[Trainer], device: torch.device) -> int:
    """Return the bytes of what runs keep on a device, what they share once."""
    tensors = [t for trainer in trainers for t in trainer.state_dict().values()]
    for trainer in trainers:
        tensors += [copy for copy in trainer.scene.half_copies().values() if copy is not None]
    here = {
        t.untyped_storage().data_ptr(): t.nbytes for t in tensors if t.device.type == device.type
    }
    return sum(here.values())


def _copied(trainers: Sequence[Trainer], device: torch.device) -> int:
    """Return the bytes of what the health checks of runs copy."""
    each = [t for trainer in trainers for t in trainer.model.state().values()]
    return sum(t.nbytes for t in each if t.device.type == device.type)
