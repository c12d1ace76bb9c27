"""The embedded prior: its weights, and how well it denoises true views."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from procedural import scene_of, views
from torch import Tensor

from dfast.errors import PromptError
from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.embedded.prior import WEIGHTS, ShapesPrior
from dfast.scene.cameras import CameraBatch
from dfast.world import tracer


@cache
def prior() -> ShapesPrior:
    return ShapesPrior(torch.device("cpu"))


def test_weights_are_small_and_safe() -> None:
    files = [p for p in WEIGHTS.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".md", ".txt"}
    assert sum(p.stat().st_size for p in files) <= 56 * 2**20


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


@pytest.mark.parametrize(
    "caption",
    [
        "a red chair",
        "a green cone on top of a yellow cube",
        "two blue mugs",
        "a red and white striped sphere",
        "a brown dog with a red hat",
    ],
)
def test_prior_denoises_true_views(caption: str) -> None:
    camera = views(30.0, 150.0)
    image = tracer.render_scene(scene_of(caption), camera, 64, ambient=0.5)
    error = (clean_estimate(caption, image, camera, 300, 0.0) - image).square().mean((1, 2, 3))
    assert error.max() < 2e-3  # 27 dB


@pytest.mark.parametrize(
    ("caption", "others"),
    [
        ("a red chair", ("a blue chair", "a red cube", "two red chairs")),
        ("a red and white striped sphere", ("a red sphere", "a blue and white striped sphere")),
        ("a yellow cube on top of a blue cylinder", ("a yellow cube next to a blue cylinder",)),
        ("a corgi", ("a red dog", "a brown fish")),
    ],
)
def test_prior_depends_on_the_caption(caption: str, others: tuple[str, ...]) -> None:
    """Denoise at t = 850, where little of the image is left, under right and wrong captions."""
    camera = views(20.0, 200.0)
    image = tracer.render_scene(scene_of(caption), camera, 64, ambient=0.5)

    def error(said: str) -> float:
        return float((clean_estimate(said, image, camera, 850, 0.0) - image).square().mean())

    for other in others:
        assert error(caption) < 0.85 * error(other)


def test_prior_depends_on_the_camera() -> None:
    camera = views(20.0, 200.0)
    image = tracer.render_scene(scene_of("a red chair"), camera, 64, ambient=0.5)

    def error(cameras: CameraBatch) -> float:
        return float(
            (clean_estimate("a red chair", image, cameras, 850, 0.0) - image).square().mean()
        )

    assert error(camera) < 0.8 * error(views(110.0, 290.0))


def test_a_prompt_has_a_normal_form_and_notes() -> None:
    for prompt, form, notes in (
        ("Two CORGIS!", "two brown dogs", ("corgis: made as dogs",)),
        ("a crimson couch", "a red sofa", ("crimson: made in red",)),
        ("a red dog", "a red dog", ()),
    ):
        assert (prior().normal_form(prompt), prior().notes(prompt)) == (form, notes)
        assert prior().normal_form(form) == form
    for method in (prior().normal_form, prior().notes, prior().encode_prompt):
        with pytest.raises(PromptError, match='"glorb" is not known'):
            method("a glorb")
