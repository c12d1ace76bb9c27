"""Rounding of half precision: the UNet under a high guidance scale, the VAE, and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import (
    CPU,
    FAMILIES,
    LATENT,
    NEGATIVE,
    PLAIN,
    PROMPT,
    folder,
    image_gradient,
    load_tiny,
    noise_like,
)
from torch import Tensor

from dfast.config import PriorConfig
from dfast.priors import load_prior
from dfast.priors.diffusion import classifier_free_guidance
from dfast.scene.cameras import orbit


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_of_the_encoder(precision: str, generator: torch.Generator) -> None:
    """fp16 keeps the gradient within 1e-2 of float32's; bf16 has 8 times the rounding."""
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    toward = torch.randn(1, 4, 8, 8, generator=generator)
    wanted = image_gradient(load_tiny("sd15"), image, toward)
    got = image_gradient(load_tiny("sd15", vae_precision=precision), image, toward)
    assert (got - wanted).norm() / wanted.norm() < {"fp16": 1e-2, "bf16": 8e-2}[precision]


def test_sdxls_encoder_is_read_in_float32(tmp_path: Path) -> None:
    """What it runs in is seen when it is loaded, see `test_half_vae.py`."""
    prior = load_tiny("sdxl", precision="fp16")
    assert (prior.dtype, prior.latents.dtype) == (torch.float16, torch.float32)
    assert load_tiny("sdxl", vae_precision="bf16").latents.dtype == torch.bfloat16


@pytest.mark.parametrize(("precision", "bound"), [("fp16", 0.2), ("bf16", 1.6)])
def test_rounding_at_a_high_guidance_scale(precision: str, bound: float) -> None:
    """A half-precision network whose last layer is float32, against one that rounds its output.

    Rounding inside the network remains; bf16 has 8 times that of fp16.
    """
    noisy = noise_like(load_tiny("sd15"), 2)
    t = torch.tensor([300, 700])

    def guided(precision: str, rounded: bool) -> Tensor:
        prior = load_tiny("sd15", precision=precision)
        condition = prior.encode_prompt(PROMPT, views="none", negative=NEGATIVE)
        prior.load()
        if rounded:
            prior.unet.conv_out.register_forward_hook(lambda *args: args[2].to(prior.dtype))
        text, negative = prior.predict_noise(
            noisy, t, condition, cameras=None, textureless=PLAIN, conditions=("text", "negative")
        )
        return classifier_free_guidance(text, negative, 100.0)

    exact = guided("fp32", False)
    kept = (guided(precision, False) - exact).square().mean().sqrt()
    rounded = (guided(precision, True) - exact).square().mean().sqrt()
    print(f"{precision}: rms of eps_hat's error {kept:.4f}, with a rounded output {rounded:.4f}")
    assert kept < min(bound, rounded)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"tuned": False}, {"vae_checkpointing": True}])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_on_a_gpu(
    family: str, options: dict[str, Any], needs_cuda: None, generator: torch.Generator
) -> None:
    """Noise and the encoder's gradient near float32's, and the same when recorded and replayed."""
    cuda = torch.device("cuda")
    exact = load_tiny(family)
    prior: Any = load_prior(str(folder(family)), cuda, options=PriorConfig(**options))
    noisy, t, cameras = noise_like(exact), torch.tensor([40, 800]), orbit(2)

    def predict(prior: Any, device: torch.device, condition: Any) -> Tensor:
        return prior.predict_noise(
            noisy.to(device), t.to(device), condition, cameras=cameras.to(device),
            textureless=PLAIN.to(device), conditions=("text", "negative"),
        )  # fmt: skip

    wanted = predict(exact, CPU, exact.encode_prompt(PROMPT))
    condition = prior.encode_prompt(PROMPT)
    got = predict(prior, cuda, condition)
    assert got.dtype == torch.float32
    assert (got.cpu() - wanted).norm() / wanted.norm() < 2e-2
    assert prior.cuda_graph_safe
    arguments = noisy.cuda(), t.cuda(), cameras.to(cuda), PLAIN.cuda()

    def recorded() -> Tensor:
        return prior.predict_noise(
            arguments[0], arguments[1], condition, cameras=arguments[2],
            textureless=arguments[3], conditions=("text", "negative"),
        )  # fmt: skip

    torch.testing.assert_close(replay(recorded), got, rtol=1e-3, atol=1e-3)
    if family in LATENT:
        image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
        toward = torch.randn(1, 4, 8, 8, generator=generator)
        slope = image_gradient(exact, image, toward)
        x, direction = image.cuda(), toward.cuda()
        eager = image_gradient(prior, x, direction)
        assert (eager.cpu() - slope).norm() / slope.norm() < 1e-2
        again = replay(lambda: image_gradient(prior, x, direction))
        torch.testing.assert_close(again, eager, rtol=1e-2, atol=1e-3 * float(eager.abs().max()))


def replay(function: Callable[[], Tensor]) -> Tensor:
    """Return what `function` returns when it is recorded in a CUDA graph and replayed."""
    from dfast.training.cuda_graphs import CudaGraphCache

    graphs = CudaGraphCache(torch.device("cuda"))
    for _ in range(CudaGraphCache.WARMUP + 2):
        made = graphs.run("once", function)
    assert graphs.captures == 1
    return made.clone()
