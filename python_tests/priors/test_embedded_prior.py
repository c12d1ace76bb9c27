"""The embedded prior: its weights, and how well it denoises true views."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from procedural import views
from torch import Tensor

from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.embedded.prior import WEIGHTS, ShapesPrior
from dfast.scene.cameras import CameraBatch
from dfast.world import parse, tracer


@cache
def prior() -> ShapesPrior:
    return ShapesPrior(torch.device("cpu"))


def test_weights_are_small_and_safe() -> None:
    files = [p for p in WEIGHTS.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".md", ".txt"}
    assert sum(p.stat().st_size for p in files) <= 15 * 2**20


def clean_estimate(caption: str, image: Tensor, camera: CameraBatch, t: int, w: float) -> Tensor:
    """Return the prior's estimate of the clean image, [B, 3, H, W] in [0, 1]."""
    p = prior()
    alpha, sigma = (table[t] for table in p.noise_schedule(torch.device("cpu")))
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    noisy = alpha * (2 * image - 1) + sigma * noise
    both = p.predict_noise(
        noisy,
        torch.full((len(image),), t),
        p.encode_prompt(caption),
        cameras=camera,
        textureless=torch.zeros(len(image), dtype=torch.bool),
        conditions=("text", "negative"),
    )
    eps = classifier_free_guidance(*both, w)
    return ((noisy - sigma * eps) / alpha / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("caption", ["a red chair", "a green cone on top of a yellow cube"])
def test_prior_denoises_true_views(caption: str) -> None:
    camera = views(30.0, 150.0)
    image = tracer.render_scene(parse(caption), camera, 64, ambient=0.5)
    error = (clean_estimate(caption, image, camera, 300, 0.0) - image).square().mean((1, 2, 3))
    assert error.max() < 1e-3  # 30 dB


def test_prior_depends_on_caption_and_camera() -> None:
    """Denoise at t = 850, where little of the image is left, under right and wrong conditions."""
    camera = views(20.0, 200.0)
    image = tracer.render_scene(parse("a red chair"), camera, 64, ambient=0.5)
    turned = views(110.0, 290.0)

    def error(caption: str, cameras: CameraBatch) -> float:
        return float((clean_estimate(caption, image, cameras, 850, 0.0) - image).square().mean())

    right = error("a red chair", camera)
    assert right < 0.6 * error("a blue chair", camera)
    assert right < 0.6 * error("a red cube", camera)
    assert right < 0.8 * error("a red chair", turned)
