"""About how long a run takes, told before its first step at no cost.

An estimate (`dfast.runs.estimate`) times steps; a forecast times one small matrix product, and
counts the operations of a step. It is for priors that tell theirs, on a CPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import torch

from dfast.config import Config
from dfast.config.schedules import resolution
from dfast.guidance.clip import Guide
from dfast.guidance.variants import VARIANTS, conditions_of
from dfast.priors import Prior

EFFICIENCY = 0.5
"""Fraction of the rate of a matrix product that a step reaches, as in `dfast.runs.estimate`."""
RAY_OPERATIONS = 5.5e5
"""Operations of a network that take as long as a ray, forward and backward, at the default length
of the march's steps. One core of an Intel Xeon: 0.15 s for 16384 rays, beside 0.52 s for 2.9e10
operations of the embedded prior (2026-11-28, commit 4a47d4e)."""
BFLOAT16_SPEED = 2.5
"""How many times as fast a network is in bfloat16 where a CPU has the instructions, cautiously: 3.1
times on one core of an Intel Xeon with AMX (2026-11-28, commit 97c65aa)."""
SIZE, REPEATS = 512, 5
"""Rows and columns of the product, and how often it is timed: some 10 ms on one core."""


def seconds_left(
    config: Config,
    prior: Guide,
    device: torch.device,
    *,
    done: int = 0,
    metrics: Sequence[Mapping[str, float]] = (),
) -> float | None:
    """Return about how many seconds a run has before it, None where that is not known.

    Args:
        config: its settings.
        prior: its prior; of a CLIP no operations are known.
        device: its device.
        done: steps done before.
        metrics: what the run recorded until then; its own speed is the best there is to know.
    """
    left = config.train.steps - done
    if metrics and "seconds_per_step" in metrics[-1]:
        return left * metrics[-1]["seconds_per_step"]
    if device.type != "cpu" or not isinstance(prior, Prior) or not prior.image_flops:
        return None
    return left * _step_operations(config, prior) / (EFFICIENCY * _rate())


def _step_operations(config: Config, prior: Prior) -> float:
    """Return the operations of a step, the mean over a run."""
    guidance, views = config.guidance, config.camera.views
    calls = len(conditions_of(guidance, prior.largest_scale))
    calls += VARIANTS[guidance.variant].calls_alone(guidance)
    sizes = [resolution((i + 0.5) / 100, config.camera.resolution) for i in range(100)]
    finer = Config().march.step_size / config.march.step_size
    a_ray = RAY_OPERATIONS * finer * statistics.mean(size**2 for size in sizes)
    an_image = prior.image_flops / (BFLOAT16_SPEED if prior.dtype == torch.bfloat16 else 1.0)
    return views * (calls * an_image + a_ray)


def _rate() -> float:
    """Return the operations a second of a matrix product as it is now, other processes included."""
    square = torch.ones(SIZE, SIZE)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        square @ square
        times.append(time.perf_counter() - start)
    return 2.0 * SIZE**3 / statistics.median(times)
