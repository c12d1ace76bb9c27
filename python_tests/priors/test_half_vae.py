"""Encoders whose activations are too large for float16, in float16."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import image_gradient, load_tiny
from torch import Tensor, nn

from dfast.priors.loading.networks import encode_images
from dfast.priors.pipelines import half_vae
from dfast.priors.pipelines.half_vae import halved

KINDS = ["AutoencoderKL", "AutoencoderKLFlux2"]


def images(size: int = 64) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def made(kind: str = "AutoencoderKL", seed: int = 0) -> Any:
    """Return a VAE of random weights with biases and norms that count."""
    import diffusers

    levels: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
    }
    options = levels if kind == "AutoencoderKL" else {}
    sizes = (16, 32, 32) if options else (16, 32, 32, 32)
    generator = torch.Generator().manual_seed(seed)
    vae = getattr(diffusers, kind)(block_out_channels=sizes, norm_num_groups=8, **options)
    for p in vae.parameters():
        scale = p[0].numel() ** -0.5 if p.ndim > 1 else 0.3
        p.data = scale * torch.randn(p.shape, generator=generator) + (p.ndim == 1) * 0.5
    return vae.eval().requires_grad_(False)


def overflowing(kind: str = "AutoencoderKL") -> Any:
    vae = made(kind)
    vae.encoder.conv_in.weight.data *= 1e5
    vae.encoder.down_blocks[1].resnets[0].conv2.weight.data *= 1e6
    return vae


def answers(vae: Any) -> tuple[Tensor, Tensor]:
    device = vae.encoder.conv_in.weight.device
    return half_vae._answers(vae, images().to(device), encode_images)


def worst(vae: Any, like: Any) -> float:
    return max(half_vae.error(a, b) for a, b in zip(answers(vae), answers(like), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_can_be_divided(kind: str) -> None:
    """By a power of two, in float64: not a bit of the result depends on it."""
    vae = overflowing(kind).double()
    largest, wanted = half_vae._largest_activation(vae.encoder, lambda: answers(vae))
    half_vae._divide_stream(vae.encoder, 1024.0)
    smaller, found = half_vae._largest_activation(vae.encoder, lambda: answers(vae))
    assert all(map(torch.equal, found, wanted))
    assert largest > half_vae.RANGE and smaller == largest / 1024


@pytest.mark.parametrize("kind", KINDS)
def test_what_overflows_is_halved_all_the_same(kind: str) -> None:
    vae = overflowing(kind)
    assert not any(plain.isfinite().any() for plain in answers(copy.deepcopy(vae).half()))
    kept = copy.deepcopy(vae.state_dict())
    half = halved(vae, images(), encode_images)
    assert half is not None and worst(half, vae) < half_vae.MAX_ERROR
    assert all(torch.equal(value, kept[name]) for name, value in vae.state_dict().items())
    assert {p.dtype for p in half.encoder.parameters()} == {torch.float16}
    assert half.encoder.conv_norm_out.eps < vae.encoder.conv_norm_out.eps
    if kind == "AutoencoderKLFlux2":
        assert half.bn.running_mean.dtype == torch.float32


def test_what_fits_is_only_rounded() -> None:
    vae = made()
    half = halved(vae, images(), encode_images)
    assert half is not None
    for name, value in half.encoder.state_dict().items():
        assert torch.equal(value, vae.encoder.state_dict()[name].half())


def test_a_halved_encoder_is_tuned_like_any(device: torch.device, needs_native: None) -> None:
    from dfast.priors.fused import tune

    vae = overflowing().to(device, memory_format=torch.channels_last)
    half = halved(vae, images().to(device), encode_images)
    assert half is not None
    tune(half.encoder)
    assert worst(half, vae) < half_vae.MAX_ERROR


def values_too_large(vae: Any) -> None:
    """Attention's values are read after a normalisation: they are on no stream."""
    vae.encoder.mid_block.attentions[0].to_v.weight.data *= 1e7


def infinite(vae: Any) -> None:
    vae.encoder.conv_in.weight.data[0, 0, 0, 0] = math.inf


def unknown_block(vae: Any) -> None:
    vae.encoder.mid_block.resnets[0].norm1 = nn.LayerNorm(8)


def unknown_attention(vae: Any) -> None:
    vae.encoder.mid_block.attentions[0].residual_connection = False


@pytest.mark.parametrize("change", [values_too_large, infinite, unknown_block, unknown_attention])
def test_what_cannot_be_halved_is_left(change: Callable[[Any], None]) -> None:
    vae = made()
    change(vae)
    assert halved(vae, images(), encode_images) is None


def test_an_error_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_vae, "MAX_ERROR", 1e-6)
    assert halved(made(), images(), encode_images) is None


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_a_prior_halves_its_encoder_when_it_loads(
    family: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a half-precision network, unless float32 is asked for.

    Layers of so few channels average less of their rounding away than those of a real encoder.
    """
    monkeypatch.setattr(half_vae, "MAX_ERROR", 3e-2)
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    exact = load_tiny(family)
    toward = torch.randn(exact.encode_images(image).shape, generator=generator)
    wanted = image_gradient(exact, image, toward)
    assert exact.latents.dtype == torch.float32
    for asked, dtype in (("auto", torch.float16), ("fp32", torch.float32)):
        prior = load_tiny(family, precision="fp16", vae_precision=asked)
        assert prior.latents.dtype == torch.float32
        found = image_gradient(prior, image, toward)
        assert prior.latents.dtype == dtype
        assert (found - wanted).norm() / wanted.norm() < 1e-2


def test_a_prior_keeps_float32_where_float16_cannot_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(half_vae, "MAX_ERROR", 1e-6)
    prior = load_tiny("sdxl", precision="fp16")
    prior.latents.load()
    assert prior.latents.dtype == torch.float32
    assert {p.dtype for p in prior.latents.vae.parameters()} == {torch.float32}
