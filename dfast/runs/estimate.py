"""How much memory and time a run would take, before any weights are loaded.

The networks of a pretrained model are run on the meta device, which counts their operations and the
bytes they keep; matrix products measure the speed of the device; rendering, optimiser and the rest
are timed as they are, with a stand-in for the model that costs nothing. A prior without
`Prior.cost_parts`, such as the embedded one, is timed as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dfast._device import pick_device
from dfast.config import Config, Layout
from dfast.errors import ConfigError
from dfast.host.threads import threads_within_quota
from dfast.ops.ambient import neutral_torch_state
from dfast.priors import Prior
from dfast.runs.announce import duration
from dfast.runs.arguments import RunArguments, resolve_arguments, resolve_config
from dfast.runs.layouts import laid_out, prompt_of
from dfast.runs.measurements import (
    SilentPrior,
    matmul_rate,
    network_costs,
    resident_bytes,
    text_on_device,
    time_steps,
)
from dfast.runs.memory import available_bytes
from dfast.runs.out_of_memory import memory_suggestions
from dfast.runs.unfetched import entry_to_fetch, unfetched

EFFICIENCY = 0.5
"""Fraction of the rate of a large matrix product that the networks reach in practice."""
CALL_SECONDS = {"cuda": 2e-3, "cpu": 0.0}
"""Seconds that the several hundred small kernels of a network's call add. With both constants, UNet
pairs on an H200 come out at 6.2 ms (6.3 measured) for Stable Diffusion 1.5, 3.2 (4.1) for IF-I-M
and 17 (15.5) for IF-I-XL, the VAE at 8 (6.6); see `benchmarks/results`."""
OVERHEAD_BYTES = {"cuda": 0.9e9, "cpu": 0.3e9}
"""Bytes beside tensors: the context, kernels and workspaces of libraries."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take; `str` makes a table of it."""

    prior: str
    """Name of the prior."""
    device: str
    """Where the run would be."""
    weights: dict[str, int]
    """Bytes on the device of each network of a step."""
    working: dict[str, int]
    """Bytes that come and go in a step, by what they are for."""
    reading: int
    """Bytes of the text encoders on the device, before the networks load."""
    state: int
    """Bytes of field, optimiser and occupancy grid."""
    flops: dict[str, float]
    """Operations of each network in a step."""
    seconds_per_step: float
    """Mean over the run."""
    steps: int
    """Steps of the run."""
    free: int | None
    """Bytes free on the device now, where that is known."""
    suggestions: tuple[str, ...]
    """Settings that would lower the memory, the cheapest first."""
    note: str = ""
    """What else to know."""

    @property
    def peak(self) -> int:
        """Most bytes on the device at once."""
        kind = torch.device(self.device).type
        step = sum(self.weights.values()) + self.state + sum(self.working.values())
        return int(max(step, self.reading) + OVERHEAD_BYTES[kind])

    def __str__(self) -> str:
        rows = [(f"{name} weights", _size(n)) for name, n in self.weights.items()]
        rows += [("field, optimiser, occupancy", _size(self.state))]
        rows += [(name, _size(n)) for name, n in self.working.items()]
        rows += [("text encoders, before the rest", _size(self.reading))] if self.reading else []
        rows += [("at most together", _size(self.peak))]
        rows += [(f"{name}, a step", f"{n / 1e12:.2f} TFLOP") for name, n in self.flops.items()]
        rows += [("a step", duration(self.seconds_per_step))]
        rows += [(f"{self.steps} steps", duration(self.seconds_per_step * self.steps))]
        lines = [f"estimate for {self.prior} on {self.device}; a run may differ by a third"]
        lines += [f"  {name:32}{value:>14}" for name, value in rows]
        if self.free is not None and self.peak > self.free:
            advice = "; ".join(self.suggestions)
            lines.append(f"warning: {_size(self.free)} are free on {self.device}. {advice}")
        return "\n".join([*lines, self.note] if self.note else lines)


@neutral_torch_state()
@threads_within_quota()
def estimate(
    prompt: str | None = None,
    *,
    layout: Layout | Mapping[str, Any] | str | Path | None = None,
    prior: str | Prior = "shapes",
    device: str | torch.device | None = None,
    config: Config | Mapping[str, Any] | None = None,
    steps: int | None = None,
) -> Estimate:
    """Estimate the memory and the time of `dfast.train` with the same arguments.

    No weights of a pretrained model are read. One of the catalogue need not be on this machine:
    the sizes of its networks are known. Folders and other models must be.

    Args:
        prompt: what to make; by default the prompt of the layout, without one "a red chair".
        layout: as in `dfast.train`.
        prior: as in `dfast.train`.
        device: as in `dfast.train`.
        config: as in `dfast.train`.
        steps: as in `dfast.train`.

    Raises:
        DfastError: what `dfast.train` raises for its arguments.
    """
    if layout is None and prompt is None:
        prompt = prompt_of(config) or "a red chair"
    text, config = laid_out(layout, prompt, config)
    if (entry := entry_to_fetch(prior)) is not None:
        settings = resolve_config(entry.alias, device, config=config, steps=steps)
        with unfetched(entry, pick_device(device), settings.prior) as model:
            arguments = resolve_arguments(
                text, prior=model.prior, device=device, config=settings, steps=None
            )
            return replace(_estimate(arguments, model.text_bytes), note=model.note)
    arguments = resolve_arguments(text, prior=prior, device=device, config=config, steps=steps)
    return _estimate(arguments, _prior(arguments).text_bytes())


def _prior(arguments: RunArguments) -> Prior:
    """Return the prior of a run; raise ConfigError for one that a CLIP guides."""
    if not isinstance(arguments.prior, Prior):
        name = arguments.config.method.name
        raise ConfigError(f"method: expected one that a prior guides, to estimate it, got {name!r}")
    return arguments.prior


def _estimate(arguments: RunArguments, text_bytes: int) -> Estimate:
    """Return the estimate for checked arguments.

    Args:
        arguments: those of the run.
        text_bytes: bytes of the prior's text encoders as stored.
    """
    prompt, where, config, _ = arguments
    model = _prior(arguments)
    parts = model.cost_parts()
    timed = time_steps(SilentPrior(model) if parts else model, prompt, config, where)
    weights, seconds = model.weight_bytes(), timed.seconds
    working = {"rendering" if parts else "a step": timed.peak_bytes}
    flops: dict[str, float] = {}
    if parts:
        weights = {name: resident_bytes(part, name, config) for name, part in parts.items()}
        costs = network_costs(model, parts, config)
        working |= {f"{name} working set": c.call.peak_bytes for name, c in costs.items()}
        flops = {name: c.call.flops * c.calls for name, c in costs.items()}
        seconds += sum(flops.values()) / (matmul_rate(where, model.dtype) * EFFICIENCY)
        seconds += sum(c.calls for c in costs.values()) * CALL_SECONDS[where.type]
    free = available_bytes(where)
    return Estimate(
        prior=model.name,
        device=str(where),
        weights=weights,
        working=working,
        reading=text_on_device(text_bytes, config.prior.text_encoder, where.type, free),
        state=timed.state_bytes,
        flops=flops,
        seconds_per_step=seconds,
        steps=config.train.steps,
        free=free,
        suggestions=tuple(memory_suggestions(config, model)),
    )


def _size(count: float) -> str:
    """Return a number of bytes as text."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
