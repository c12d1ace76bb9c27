"""How much memory and time a run would take, before any weights are loaded.

The networks of a real model are run on the meta device, which counts their operations and the bytes
they keep; the device's rate is measured with matrix products; rendering, optimiser and all are
timed as they are, with a silent model in the place of the real one. The embedded prior is simply
timed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dfast.config import Config
from dfast.guidance.diffusion import conditions_of
from dfast.priors import Prior
from dfast.priors.base import Condition
from dfast.priors.loading.text_encoders import fits
from dfast.priors.loading.weights import size_of
from dfast.priors.pipelines.probe import _ask, _encode
from dfast.runs.arguments import resolve_arguments
from dfast.runs.cost_model import Cost, cost
from dfast.runs.out_of_memory import memory_suggestions
from dfast.training.trainer import Trainer

EFFICIENCY = 0.5
"""Share of a large matrix product's rate that these networks' large layers reach."""
CALL_SECONDS = {"cuda": 2e-3, "cpu": 0.0}
"""Of several hundred small kernels in a row, a call. With both, an H200's UNet pairs come out at
6.2 ms (6.3 measured) for Stable Diffusion 1.5, 3.2 (4.1) for IF-I-M and 17 (15.5) for IF-I-XL, its
VAE at 8 (6.6); see `benchmarks/results`."""
OVERHEAD = {"cuda": 0.9e9, "cpu": 0.3e9}
"""Bytes beside tensors: context, kernels and workspaces of libraries."""
SAMPLE_BYTES = 400
"""Of rendering, a sample along a ray: CPUs do not tell their peak."""
STEPS = {"cuda": 16, "cpu": 3}
"""That are tried; on CUDA the last are recorded ones."""


@dataclass(frozen=True)
class Estimate:
    """Bytes, seconds and operations; all of it estimated, see the module."""

    prior: str
    device: str
    weights: dict[str, int]
    """bytes of each network of a step on the device"""
    working: dict[str, int]
    """bytes that come and go in a step, by what they are for"""
    reading: int
    """bytes of the text encoders on the device, before the networks load"""
    state: int
    """bytes of field, optimiser and occupancy"""
    flops: dict[str, float]
    """operations a step by network"""
    seconds_per_step: float
    steps: int
    free: int | None
    """bytes on the device now, where that is known"""
    turns: tuple[str, ...]
    """settings that would lower the memory, what costs least first"""

    @property
    def peak(self) -> int:
        """Most bytes on the device at once."""
        kind = torch.device(self.device).type
        step = sum(self.weights.values()) + self.state + sum(self.working.values())
        return int(max(step, self.reading) + OVERHEAD[kind])

    def __str__(self) -> str:
        """A table with the warning, if there is one."""
        rows = [(f"{name} weights", _size(n)) for name, n in self.weights.items()]
        rows += [("field, optimiser, occupancy", _size(self.state))]
        rows += [(name, _size(n)) for name, n in self.working.items()]
        rows += [("text encoders, before the rest", _size(self.reading))] if self.reading else []
        rows += [("at most together", _size(self.peak))]
        rows += [(f"{name}, a step", f"{n / 1e12:.2f} TFLOP") for name, n in self.flops.items()]
        total = self.seconds_per_step * self.steps
        rows += [("a step", _duration(self.seconds_per_step))]
        rows += [(f"{self.steps} steps", _duration(total))]
        lines = [f"estimate for {self.prior} on {self.device}; a run may differ by a third"]
        lines += [f"  {name:32}{value:>14}" for name, value in rows]
        if self.free is not None and self.peak > self.free:
            what = "; ".join(self.turns)
            lines.append(f"warning: {_size(self.free)} are free on {self.device}. {what}")
        return "\n".join(lines)


def estimate(
    prompt: str = "a red chair",
    *,
    prior: str | Prior = "shapes",
    device: str | torch.device | None = None,
    config: Config | None = None,
    steps: int | None = None,
) -> Estimate:
    """What `dfast.train` with the same arguments would take.

    No weights of a named model are read; its folder must be on this machine. Raises what
    `dfast.train` raises at the door.
    """
    prompt, where, config, model = resolve_arguments(
        prompt, prior=prior, device=device, config=config, steps=steps
    )
    real = hasattr(model, "meta_parts")
    seconds, rendering, state = _timed(_Silent(model) if real else model, prompt, config, where)
    weights: dict[str, int] = {}
    working = {"rendering" if real else "a step": rendering}
    flops: dict[str, float] = {}
    if real:
        parts = model.meta_parts()
        weights = {name: _resident(part, name, config) for name, part in parts.items()}
        costs = _costs(model, parts, config)
        working |= {f"{name} working set": found.peak_bytes for name, (found, _) in costs.items()}
        flops = {name: found.flops * times for name, (found, times) in costs.items()}
        seconds += sum(flops.values()) / (_rate(where, model.dtype) * EFFICIENCY)
        seconds += sum(times for _, times in costs.values()) * CALL_SECONDS[where.type]
    elif isinstance(network := getattr(model, "unet", None), nn.Module):
        weights = {"unet": size_of(network)}
    free = torch.cuda.mem_get_info(where)[0] if where.type == "cuda" else None
    stored = model.text_bytes() if real else 0
    reading = text_on_device(stored, config.prior.text_encoder, where.type, free)
    return Estimate(
        model.name, str(where), weights, working, reading, state, flops, seconds,
        config.train.steps, free, tuple(memory_suggestions(config, model)),
    )  # fmt: skip


class _Silent:
    """In a real prior's place: of the same shapes, and free."""

    cuda_graph_safe = True

    def __init__(self, prior: Any) -> None:
        self._prior, self.name, self.image_size = prior, prior.name, prior.image_size
        self.conditions = prior.conditions
        self._alphas = prior.noise_schedule
        self._latents = getattr(prior, "latent_size", 0)
        if self._latents:
            self.encode = self._encode

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self._alphas(device)
        return found

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> None:
        self._prior.check_text(prompt, negative)

    def _encode(self, image: Tensor, *, linear: bool = False) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(image, self._latents)

    def predict_noise(
        self, noisy: Tensor, t: Tensor, condition: None, *, cameras: Any, textureless: Tensor,
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:  # fmt: skip
        return noisy.expand(len(conditions), *noisy.shape)


def _timed(prior: Any, prompt: str, config: Config, device: torch.device) -> tuple[float, int, int]:
    """(seconds a step, bytes that rendering needs at once, bytes of the state)."""
    trainer = Trainer(config, prior, prompt, 0, device)
    cuda = device.type == "cuda"
    state = sum(t.nbytes for t in trainer.state_dict().values() if t.device.type == device.type)
    held = torch.cuda.memory_allocated(device) if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds, samples = [], 0
    for _ in range(min(STEPS[device.type], config.train.steps)):
        began = time.perf_counter()
        metrics = trainer.train_step()
        samples = max(samples, int(metrics["samples"]))  # waits for the step
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) - held if cuda else samples * SAMPLE_BYTES
    return min(seconds), peak, state


def _resident(part: nn.Module, name: str, config: Config) -> int:
    """Bytes of a network on the device; of a streamed one, two of its largest layers."""
    if name == "unet" and config.prior.offload == "model":
        return 2 * max(size_of(m) for m in part.modules() if not list(m.children()))
    return size_of(part)


def text_on_device(stored: int, setting: str, kind: str, free: int | None) -> int:
    """Bytes that text encoders, `stored` on disk, take on a device of this kind.

    setting: prior.text_encoder; see `priors.text_encoders`, whose choices these are.
    """
    if kind != "cuda":
        return stored
    if setting == "cpu" or (setting == "auto" and free is not None and not fits(stored, free)):
        return 0
    return stored // 2 if setting == "8bit" else stored


def _costs(
    prior: Any, parts: dict[str, nn.Module], config: Config
) -> dict[str, tuple[Cost, float]]:
    """The cost of a call of each network, and how many calls a step makes."""
    unet, guidance = parts["unet"], config.guidance
    views, conditions = config.camera.views, len(conditions_of(guidance))
    side = getattr(prior, "latent_size", prior.image_size)
    costs = {"unet": (cost(partial(_ask, unet, views * conditions, side), unet.parameters()), 1.0)}
    if guidance.variant == "ism":
        alone = cost(partial(_ask, unet, views, side), unet.parameters())
        costs["inversion"] = alone, guidance.inversion_steps + 1.0
    if "vae" in parts:
        vae = parts["vae"]
        encoded = cost(partial(_encode, vae, views, prior, config), vae.parameters())
        costs["vae"] = encoded, 1.0 - guidance.linear_until
    return costs


def _rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, now."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        product = a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
        del product
    return 2.0 * size**3 / best


def _size(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 1.0:
        return f"{1e3 * seconds:.3g} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
