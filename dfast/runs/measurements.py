"""Measurements behind an estimate: costs of networks, the device's speed."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from dfast.config import Config
from dfast.guidance.variants import VARIANTS, conditions_of
from dfast.priors.base import Prior
from dfast.priors.loading.text_encoders import fits
from dfast.priors.loading.weights import size_of
from dfast.priors.pipelines.probe import call_unet, call_vae_encoder, train_unet
from dfast.runs.cost_model import Cost, cost

MATMUL_SIZE = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the matrices whose product measures the device's speed."""
MATMUL_REPEATS = 5
"""Products to time, of which the fastest counts."""


class NetworkCost(NamedTuple):
    """A network's part in a training step."""

    call: Cost
    """The cost of one call."""
    calls: float
    """Calls in a step, the mean over a run."""
    kept: int = 1
    """Calls whose tensors are there at once."""

    @property
    def peak_bytes(self) -> int:
        """Most bytes that its calls take at once."""
        return self.call.peak_bytes * self.kept


def network_costs(
    prior: Prior, parts: dict[str, nn.Module], config: Config, runs: int = 1
) -> dict[str, NetworkCost]:
    """Return what each network costs in a training step of some runs side by side.

    The UNet takes the images of all runs in one call; each run has its own encoded, and all keep
    what they need to differentiate that until the UNet has answered.

    Args:
        prior: the prior that the networks belong to.
        parts: its networks on the meta device, see `Prior.cost_parts`.
        config: the configuration of the runs.
        runs: how many there are.

    Returns:
        Costs by name: "unet", "inversion" for calls of the UNet outside the guided one, or
        "copy" for those of the copy of VSD, "vae".
    """
    unet, guidance = parts["unet"], config.guidance
    views, conditions = config.camera.views, len(conditions_of(guidance, prior.largest_scale))

    everything = list(unet.parameters())

    def unet_cost(batch: int) -> Cost:
        return cost(partial(call_unet, unet, batch, prior.latent_size), everything)

    costs = {"unet": NetworkCost(unet_cost(runs * views * conditions), 1.0)}
    if calls := VARIANTS[guidance.variant].calls_alone(guidance):
        alone = unet_cost(runs * views)
        name = "inversion"
        if guidance.variant == "vsd":  # the backward pass is among the calls; it keeps more
            trained = cost(partial(train_unet, unet, runs * views, prior.latent_size), everything)
            name, alone = "copy", alone._replace(peak_bytes=trained.peak_bytes)
        costs[name] = NetworkCost(alone, float(calls))
    if (vae := parts.get("vae")) is not None:
        encoded = cost(partial(call_vae_encoder, vae, views, prior, config), vae.parameters())
        costs["vae"] = NetworkCost(encoded, runs * (1.0 - guidance.linear_until), runs)
    return costs


def resident_bytes(part: nn.Module, name: str, config: Config) -> int:
    """Return the bytes of a network's weights on the device.

    Args:
        part: the network.
        name: its name in `Prior.cost_parts`.
        config: the configuration; an offloaded UNet keeps two of its largest layers there.
    """
    if name == "unet" and config.prior.offload == "model":
        return 2 * max(size_of(m) for m in part.modules() if not list(m.children()))
    return size_of(part)


def text_on_device(stored: int, setting: str, kind: str, free: int | None) -> int:
    """Return the bytes that the text encoders take on the device.

    Args:
        stored: their bytes on disk.
        setting: prior.text_encoder, whose choices `dfast.priors.loading.text_encoders` makes.
        kind: "cpu" or "cuda".
        free: bytes free on the device, where that is known.
    """
    if kind != "cuda":
        return stored
    if setting == "cpu" or (setting == "auto" and free is not None and not fits(stored, free)):
        return 0
    return stored // 2 if setting == "8bit" else stored


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of a large matrix product on the device, now.

    Args:
        device: the device.
        dtype: of the matrices; float32 is rounded to TF32 on CUDA, as convolutions are.
    """
    size = MATMUL_SIZE[device.type]
    a = torch.randn(size, size, device=device, dtype=dtype)
    best, precision = float("inf"), torch.get_float32_matmul_precision()
    try:
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        for _ in range(MATMUL_REPEATS):
            start = time.perf_counter()
            product = a @ a
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
            del product
    finally:
        torch.set_float32_matmul_precision(precision)
    return 2.0 * size**3 / best
