"""What a step of several runs side by side costs: what they share counts once, the rest each."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from dfast.config import Config
from dfast.priors import Prior
from dfast.runs.measurements import (
    NetworkCost,
    matmul_rate,
    network_costs,
    resident_bytes,
    text_on_device,
)
from dfast.runs.memory import available_bytes
from dfast.runs.silent_prior import SilentPrior
from dfast.runs.timed_steps import PLAIN_STEPS, StepTimes, extrapolated, time_steps
from dfast.training.build import guidance_of

EFFICIENCY = {"cuda": 0.6, "cpu": 0.5}
"""Fraction of the rate of a large matrix product that the networks reach in practice."""
OPERATOR_SECONDS = {"cuda": 3.2e-6, "cpu": 0.0}
"""Seconds that each operator of a network adds, replayed from a CUDA graph. With both constants and
747 TFLOP/s, UNet pairs on an H200 come out at 4.2 ms for IF-I-M (4.1 measured), 5.9 for IF-I-L
(5.8), 16.0 for IF-I-XL (15.6), 5.9 for Stable Diffusion 1.5 (6.3), 6.0 for 2.1 (6.1) and 36 for XL
(31), the encoder of 1.5 at 5.8 (6.5); see `benchmarks/results/guidance-nvidia-h200.json`. XL's
encoder, in float32, takes 94 ms, which is 0.15 of that rate."""
PLAIN_OPERATOR_SECONDS = 5e-5
"""Seconds of the host for an operator that is called by itself on CUDA: 41 us for IF-I-M, 58 for
Stable Diffusion 1.5 and 62 for its encoder (`dfast eager` in `benchmarks/results`)."""
TUNED_ENCODER = 0.72
"""Bytes that a tuned encoder keeps for its backward pass, of those that diffusers' modules keep. In
a group on an H200, Stable Diffusion 1.5's takes 1.0 to 1.1 GiB a run; counted are 1.48."""
OVERHEAD_BYTES = {"cuda": 0.8e9, "cpu": 0.3e9}
"""Bytes beside tensors: the context, kernels and workspaces of libraries. On an H200 621 MiB after
the first tensor, and 737 to 779 after two runs, one with IF-I-M and one with Stable Diffusion 1.5
(2026-11-29), between which 763 were taken; other priors and GPUs were not looked at. The 286 MiB of
a CPU were not measured by themselves: with `HEAP` they fit the runs that are named there."""
PIPELINE_BYTES = {"cuda": 0.0, "cpu": 0.2e9}
"""Bytes of diffusers and transformers as modules, which all but the embedded prior import: 194 MiB
(2026-11-29, commit 045ad72)."""
HEAP = {"cuda": 1.2, "cpu": 1.5}
"""Bytes that a process takes for each byte of its tensors, since a heap has holes. On an H200 torch
reserved 1.15 to 1.2 with Stable Diffusion 1.5 and 1.2 to 1.37 with IF-I-M, of 1 to 16 runs, without
weights (`benchmarks/results/at-once-nvidia-h200.json`): it was chosen by these two models, is too
small for many runs with the second, and was compared with no third. On a CPU it was chosen by runs
of the embedded prior: with it the default settings come out at 369, 437, 573 and 845 MiB for 1, 2,
4 and 8 runs, which took 368, 446, 597 and 892 (16 steps at 64 pixels, one core of an AMD EPYC,
2026-11-29, commit 045ad72; more in docs/runs.md)."""
SPARE = 0.5
"""Tensors that torch keeps beside those of a step where steps are recorded, over those of a step: a
CUDA graph has its tensors for itself, and torch keeps some of the plain steps before it. Six runs
on an H200 with 1 to 8 objects took between 0 and 0.94 (2026-11-30, commit 784a444; docs/runs.md
has what is estimated with this value)."""
EXPORT_MEMORY = {"cuda": 0.0, "cpu": 0.28e9}
"""Bytes that the export of a mesh of the usual size and its pictures takes on a CPU. A process that
was estimated at 360 MiB without them and without a step took 609 and 652 (2 cores of an AMD EPYC,
embedded prior, 2026-11-30, commit 041f02c). On a GPU they were not looked at."""
COUNTS = {"cuda": (1, 2, 4, 8), "cpu": (1, 2)}
"""Numbers of runs whose steps are made; on a CPU one run's work follows the other's."""
ROOM = 0.5
"""Fraction of the free memory that the steps of a measurement may take."""


@dataclass(frozen=True)
class StepCost:
    """What a step of some runs side by side costs, on one device."""

    seconds: float
    """A step of all, the mean over a run."""
    start: float
    """Seconds that the first steps at each resolution take beyond others, all of them together."""
    state: int
    """Bytes of fields, optimisers, occupancy grids and their copies."""
    working: dict[str, int]
    """Bytes that come and go in a step, by what they are for."""
    flops: dict[str, float]
    """Operations of each network in a step."""


class Model(NamedTuple):
    """A prior as a cost model needs it."""

    prior: Prior
    """It; its weights need not be there."""
    text_bytes: int
    """Bytes of its text encoders as stored."""


class CostModel:
    """The cost of runs of one configuration, for every number of them.

    Attributes:
        joined: whether runs of several prompts share the prior's evaluations.
        recorded: whether steps are replayed from CUDA graphs.
        weights: bytes of each network's weights, which all runs share.
        reading: bytes of the text encoders on the device, before the networks load.
        libraries: bytes beside tensors.
        checkpoint: bytes of a run's checkpoint.
        free: bytes free on the device when this was made; None where that is not known.
    """

    def __init__(
        self,
        model: Model,
        prompt: str,
        config: Config,
        device: torch.device,
        most: int,
        *,
        particles: bool = False,
        timed: bool = True,
    ) -> None:
        """Make a few steps, and count the operations of the networks.

        Args:
            model: the prior.
            prompt: of one of the runs.
            config: of all runs; `camera.views` is what one process renders.
            device: where they run.
            most: runs side by side, at most.
            particles: all are of one prompt and share one guidance.
            timed: False counts bytes alone, by fewer steps; times are then rough.
        """
        self.free = available_bytes(device)
        self._prior, self._config, self._device = model.prior, config, device
        own_copies = config.guidance.variant == "vsd" and not particles
        self.joined = particles or (model.prior.joins_prompts and not own_copies)
        self.recorded = (
            device.type == "cuda" and config.train.cuda_graphs and model.prior.cuda_graph_safe
        )
        self._parts = model.prior.cost_parts()
        self.libraries = int(OVERHEAD_BYTES[device.type])
        if self._parts:
            self.libraries += int(PIPELINE_BYTES[device.type])
        if not self._parts and model.prior.network is None:
            # Its weights are read now, so that they are no part of what a step takes.
            plain = config.replace(guidance={"variant": "sds"})
            guidance_of(plain, model.prior, prompt, device)
        counts = COUNTS[device.type] if timed else COUNTS[device.type][:2]
        self._known = self._measured(prompt, counts, most if self.joined else 1, timed)
        self.checkpoint = self._known[0][1].checkpoint_bytes
        self.weights = model.prior.weight_bytes()
        if self._parts:
            self.weights = {n: resident_bytes(p, n, config) for n, p in self._parts.items()}
            kinds = {n: next(p.parameters()).dtype for n, p in self._parts.items()}
            rates = {dtype: matmul_rate(device, dtype) for dtype in {*kinds.values()}}
            self._rates = {name: rates[dtype] for name, dtype in kinds.items()}
        self.reading = text_on_device(
            model.text_bytes, config.prior.text_encoder, device.type, self.free
        )

    def of(self, count: int) -> StepCost:
        """Return the cost of a step.

        Args:
            count: runs side by side.
        """
        if not self.joined and count > 1:
            one = self.of(1)
            flops = {name: count * n for name, n in one.flops.items()}
            each, start = count * one.seconds, count * one.start
            return StepCost(each, start, count * one.state, one.working, flops)
        times = extrapolated(self._known, count)
        if not self._parts:
            working = {"a step": times.peak_bytes}
            return StepCost(times.seconds, times.start_seconds, times.state_bytes, working, {})
        costs = network_costs(self._prior, self._parts, self._config, count)
        flops = {name: c.call.flops * c.calls for name, c in costs.items()}
        phases = len(self._config.camera.resolution)
        rates = self._rates
        at_rates = [(cost, rates.get(name, rates["unet"])) for name, cost in costs.items()]
        kind = self._device.type
        networks, start = network_seconds(at_rates, kind, phases, recorded=self.recorded)
        working = {"rendering": times.peak_bytes}
        working |= {f"{name} working set": self._bytes(name, c) for name, c in costs.items()}
        seconds, start = times.seconds + networks, times.start_seconds + start
        return StepCost(seconds, start, times.state_bytes, working, flops)

    def spare(self, cost: StepCost) -> int:
        """Return the bytes of tensors that torch keeps beside those of a step, where there is room.

        Args:
            cost: of a step, see `of`.
        """
        return round(SPARE * sum(cost.working.values())) if self.recorded else 0

    def peak(self, cost: StepCost) -> int:
        """Return the most bytes that a process needs on the device.

        Args:
            cost: of a step, see `of`.
        """
        tensors = cost.state + sum(cost.working.values())
        return peak_bytes(self._device.type, self.weights, tensors, self.reading, self.libraries)

    def _bytes(self, name: str, cost: NetworkCost) -> int:
        """Return the bytes that come and go in a network's calls."""
        options = self._config.prior
        whole = not (options.vae_checkpointing or options.vae_tiling)
        tuned = self._device.type == "cuda" and options.tuned and name == "vae" and whole
        tuned = tuned and type(self._parts[name]).__name__ == "AutoencoderKL"
        return round(cost.peak_bytes * (TUNED_ENCODER if tuned else 1.0))

    def _measured(
        self, prompt: str, counts: Sequence[int], most: int, timed: bool
    ) -> Sequence[tuple[int, StepTimes]]:
        """Return what steps take for a few numbers of runs, as far as there is room for them."""
        prior = SilentPrior(self._prior) if self._parts else self._prior
        known: list[tuple[int, StepTimes]] = []
        for count in sorted({min(most, n) for n in counts}):
            if known and self.free is not None:
                likely = extrapolated(known, count)
                if likely.peak_bytes + likely.state_bytes > ROOM * self.free:
                    break
            found = time_steps(prior, prompt, self._config, self._device, count, timed=timed)
            known.append((count, found))
        gc.collect()  # what was measured makes room for what is made
        return known


def network_seconds(
    costs: Iterable[tuple[NetworkCost, float]], kind: str, phases: int, *, recorded: bool
) -> tuple[float, float]:
    """Return the seconds of networks in a step, and what the first steps take beyond that.

    Args:
        costs: of the networks, each with the operations a second of a large matrix product.
        kind: of the device, "cpu" or "cuda".
        phases: resolutions of a run, at the start of each of which steps are not recorded yet.
        recorded: whether later steps are replayed from a CUDA graph.
    """
    each = list(costs)
    products = sum(c.calls * c.call.flops / rate for c, rate in each)
    operators = sum(c.calls * c.call.operators for c, _ in each)
    seconds = products / EFFICIENCY[kind] + operators * OPERATOR_SECONDS[kind]
    if kind == "cpu":
        return seconds, 0.0
    plain = max(seconds, operators * PLAIN_OPERATOR_SECONDS)  # the host may be slower
    return (seconds, phases * PLAIN_STEPS * (plain - seconds)) if recorded else (plain, 0.0)


def peak_bytes(
    kind: str, weights: Mapping[str, int], tensors: int, reading: int, libraries: int
) -> int:
    """Return the most bytes of a process on its device.

    Args:
        kind: of the device, "cpu" or "cuda".
        weights: of the networks, by name.
        tensors: other bytes of tensors at once.
        reading: of the text encoders, which are gone before the networks load.
        libraries: beside tensors.
    """
    return int(max(sum(weights.values()) + HEAP[kind] * tensors, reading) + libraries)
