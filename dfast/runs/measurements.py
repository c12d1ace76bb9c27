"""Measurements behind an estimate: timed steps, costs of networks, the device's speed."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfast.config import Config
from dfast.guidance.variants import VARIANTS, conditions_of
from dfast.priors.base import Approximation, Condition, Prior
from dfast.priors.loading.text_encoders import fits
from dfast.priors.loading.weights import size_of
from dfast.priors.pipelines.probe import call_unet, call_vae_encoder
from dfast.runs.cost_model import Cost, cost
from dfast.runs.scaled_down import scaled_down
from dfast.training.build import build_trainer

SAMPLE_BYTES = 400
"""Bytes that rendering needs for a sample along a ray. Used on CPUs, where torch does not record
the peak."""
TIMED_STEPS = {"cuda": 16, "cpu": 3}
"""Number of training steps to time. On CUDA the last ones are CUDA graph replays."""
MATMUL_SIZE = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the matrices whose product measures the device's speed."""
MATMUL_REPEATS = 5
"""Products to time, of which the fastest counts."""
GRADIENT_BYTES, STATE_BYTES = 4, 12
"""Bytes of a number of the hash grid's table that come and go in a step, and that stay: the number
and Adam's two moments."""
UPDATE_SECONDS = {"cuda": 2e-11, "cpu": 5e-9}
"""Seconds that Adam takes for such a number: it moves 28 bytes."""


class StepTimes(NamedTuple):
    """Training steps as they were timed."""

    seconds: float
    """Of the fastest step."""
    peak_bytes: int
    """Most bytes that come and go in a step."""
    state_bytes: int
    """Bytes of field, optimiser and occupancy grid."""


class NetworkCost(NamedTuple):
    """A network's part in a training step."""

    call: Cost
    """The cost of one call."""
    calls: float
    """Calls in a step, the mean over a run."""


class SilentPrior(Prior):
    """Stands in for a prior: the same shapes, at no cost and without weights."""

    cuda_graph_safe = True

    def __init__(self, prior: Prior) -> None:
        """Take the shapes of a prior.

        Args:
            prior: the prior; its `check_text` is used as well.
        """
        self._prior, self.name, self.image_size = prior, prior.name, prior.image_size
        self.conditions, self.is_latent = prior.conditions, prior.is_latent
        self.joint_views = prior.joint_views

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the prior's own noise schedule."""
        return self._prior.noise_schedule(device)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> None:
        """Raise what the prior would raise for the text."""
        self._prior.check_text(prompt, negative)

    def encode_images(self, images: Tensor, *, approximate: Approximation = False) -> Tensor:
        """Return the mean of the pixels under each latent, if the prior is latent."""
        if not self.is_latent:
            return images
        return torch.nn.functional.adaptive_avg_pool2d(images, self._prior.latent_size)

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: None,
        *,
        cameras: Any,
        textureless: Tensor,
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:
        """Return what is given, once for each condition."""
        return noisy.expand(len(conditions), *noisy.shape)


def time_steps(prior: Prior, prompt: str, config: Config, device: torch.device) -> StepTimes:
    """Train for a few steps; huge runs are timed at a smaller size, so that nothing huge is made.

    Args:
        prior: the prior, or a `SilentPrior` to time all but the prior.
        prompt: the prompt of the run.
        config: its configuration.
        device: its device.
    """
    small = scaled_down(config, device.type)
    config = small.config
    if prior.untrainable and config.guidance.variant == "vsd":
        # Without weights there is no copy to train; what it costs is counted with the networks.
        config = config.replace(guidance={"variant": "sds"})
    trainer = build_trainer(config, prior, prompt, 0, device)
    cuda = device.type == "cuda"
    state = sum(t.nbytes for t in trainer.state_dict().values() if t.device.type == device.type)
    allocated = torch.cuda.memory_allocated(device) if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds, samples = [], 0
    for _ in range(min(TIMED_STEPS[device.type], config.train.steps)):
        start = time.perf_counter()
        metrics = trainer.train_step()
        samples = max(samples, int(metrics["samples"]))  # reading it waits for the step
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) - allocated if cuda else samples * SAMPLE_BYTES
    return StepTimes(
        min(seconds) * small.rays + small.numbers * UPDATE_SECONDS[device.type],
        int(peak * small.rays) + small.numbers * GRADIENT_BYTES,
        state + small.numbers * STATE_BYTES,
    )


def network_costs(
    prior: Prior, parts: dict[str, nn.Module], config: Config
) -> dict[str, NetworkCost]:
    """Return what each network costs in a training step.

    Args:
        prior: the prior that the networks belong to.
        parts: its networks on the meta device, see `Prior.cost_parts`.
        config: the configuration of the run.

    Returns:
        Costs by name: "unet", "inversion" for calls of the UNet outside the guided one, or
        "copy" for those of the copy of VSD, "vae".
    """
    unet, guidance = parts["unet"], config.guidance
    views, conditions = config.camera.views, len(conditions_of(guidance, prior.largest_scale))

    def unet_cost(batch: int) -> Cost:
        return cost(partial(call_unet, unet, batch, prior.latent_size), unet.parameters())

    costs = {"unet": NetworkCost(unet_cost(views * conditions), 1.0)}
    if calls := VARIANTS[guidance.variant].calls_alone(guidance):
        name = "copy" if guidance.variant == "vsd" else "inversion"
        costs[name] = NetworkCost(unet_cost(views), float(calls))
    if (vae := parts.get("vae")) is not None:
        encoded = cost(partial(call_vae_encoder, vae, views, prior, config), vae.parameters())
        costs["vae"] = NetworkCost(encoded, 1.0 - guidance.linear_until)
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
        dtype: of the matrices.
    """
    size = MATMUL_SIZE[device.type]
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(MATMUL_REPEATS):
        start = time.perf_counter()
        product = a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
        del product
    return 2.0 * size**3 / best
