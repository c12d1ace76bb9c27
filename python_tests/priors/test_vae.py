"""Images to latents: agreement with diffusers, gradients, memory options, approximation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import (
    CPU,
    LATENT,
    copied,
    image_gradient,
    load_tiny,
    pipeline,
)

from dfast.errors import PriorError
from dfast.priors import load_prior


@pytest.mark.parametrize("family", LATENT)
def test_latents_are_the_posterior_mean(family: str, generator: torch.Generator) -> None:
    prior, pipe = load_tiny(family), pipeline(family)
    image = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    with torch.no_grad():
        wanted = pipe.vae.encode(image).latent_dist.mean * pipe.vae.config.scaling_factor
    x = image.clone().requires_grad_(True)
    latents = prior.encode_images(x)
    torch.testing.assert_close(latents, wanted, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(latents.square().sum(), x)
    assert gradient.abs().max() > 0
    assert not any(p.requires_grad for p in prior.latents.vae.parameters())
    assert prior.latents.vae.decoder is None


def test_latents_are_normalised_as_the_folder_says(tmp_path: Path) -> None:
    path = copied("sdxl", tmp_path)
    file = path / "vae/config.json"
    config = json.loads(file.read_text())
    mean, spread = [-1.6, 0.7, 2.6, 4.2], [8.4, 5.3, 6.5, 4.3]
    file.write_text(json.dumps(config | {"latents_mean": mean, "latents_std": spread}))
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    plain, prior = load_tiny("sdxl"), load_prior(str(path), CPU)
    raw = plain.encode_images(image) / config["scaling_factor"]
    around, by = (torch.tensor(v).view(1, 4, 1, 1) for v in (mean, spread))
    wanted = (raw - around) * config["scaling_factor"] / by
    torch.testing.assert_close(prior.encode_images(image), wanted)


@pytest.mark.parametrize(
    ("family", "size", "pixels"),
    [("sd15", None, 512), ("sdxl", None, 1024), ("if-m", None, 64), ("sd15", [8, 16], 128)],
)
def test_the_size_a_folder_was_made_for(
    family: str, size: list[int] | None, pixels: int, tmp_path: Path
) -> None:
    path = copied(family, tmp_path)
    file = path / "unet/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": size}))
    assert load_prior(str(path), CPU).image_size == pixels


def test_an_image_size_that_latents_cannot_have() -> None:
    with pytest.raises(PriorError, match=r"prior\.image_size: expected a multiple of 8, got 100"):
        load_tiny("sd15", image_size=100)
    with pytest.raises(PriorError, match=r"prior\.image_size: expected a multiple of 2, got 17"):
        load_tiny("if-m", image_size=17)


def test_checkpointing_the_encoder_is_exact_and_tiles_are_close(
    generator: torch.Generator,
) -> None:
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    toward = torch.randn(1, 4, 8, 8, generator=generator)
    plain = load_tiny("sd15")
    wanted = image_gradient(plain, image, toward)
    checkpointed = load_tiny("sd15", vae_checkpointing=True)
    assert torch.equal(image_gradient(checkpointed, image, toward), wanted)
    tiled = load_tiny("sd15", vae_tiling=True)
    assert image_gradient(tiled, image, toward).shape == wanted.shape
    latents = tiled.encode_images(image)
    assert latents.shape == (1, 4, 8, 8)
    assert (image_gradient(tiled, image, toward) != 0).float().mean() > 0.99
    assert tiled.encode_images(torch.zeros(1, 3, 96, 96)).shape == (1, 4, 12, 12)


def test_checkpointing_keeps_fewer_activations() -> None:
    kept = {}
    for name in (False, True):
        prior = load_tiny("sd15", vae_checkpointing=name)
        prior.load()
        sizes: list[int] = []
        image = torch.zeros(1, 3, 64, 64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            prior.encode_images(image)
        kept[name] = sum(sizes)
    assert kept[True] < 0.5 * kept[False]


def test_the_linear_map_is_the_best_of_its_kind(generator: torch.Generator) -> None:
    prior = load_tiny("sd15")
    image = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    image.requires_grad_(True)
    latents = prior.encode_images(image, approximate=True)
    assert latents.shape == (2, 4, 8, 8)
    assert torch.autograd.grad(latents.sum(), image)[0].abs().min() > 0
    small = torch.nn.functional.avg_pool2d(image, 8)
    torch.testing.assert_close(prior.encode_images(small, approximate=True), latents)
    assert 0 < prior.linear_residual < 1
    matrix, offset, residual = prior.latents.linear_map()
    assert (matrix.shape, offset.shape) == ((4, 3), (4,))
    assert torch.equal(matrix, load_tiny("sd15").latents.linear_map()[0])  # nothing in it is random
    assert residual == prior.linear_residual
