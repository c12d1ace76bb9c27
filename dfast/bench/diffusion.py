"""Workload F: the networks of a diffusion prior, tuned and as diffusers has them.

A guided pair through the UNets of Stable Diffusion 1.5 and of DeepFloyd IF's first stage, and one
picture through Stable Diffusion's encoder. The shapes are the published ones, the weights random
and made on the device: what they are takes no part in the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dfast.bench import counts, scenes
from dfast.bench.case import UNTOUCHED, Case, Sizes, Work, dfast_cases
from dfast.priors.loading._quiet import quiet
from dfast.testing.model_sizes import Networks, Size, networks
from dfast.testing.random_models import WORDS, builders, materialize

NAMES = ("sd15", "if-m", "if-xl")


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """F where it makes sense: on CUDA, or in miniature; nothing where diffusers is missing."""
    if find_spec("diffusers") is None or (device_type == "cpu" and not sizes.quick):
        return
    size: Size = "full" if device_type == "cuda" else "tiny"
    for name in NAMES[: 1 if sizes.quick else None]:
        workload = f"F-unet-{name}" if size == "full" else "F-unet-tiny"
        yield from _both(device_type, workload, partial(unet, name, size))
    pixels = networks("sd15", size).image_size
    for what in ("encode", "encode-backward"):
        yield from _both(device_type, f"F-vae-{what}-{pixels}", partial(encoder, what, size))


def _both(device_type: str, workload: str, build: Callable[..., Work]) -> Iterator[Case]:
    yield from dfast_cases(device_type, workload, partial(build, tuned=True))
    plain = partial(build, tuned=False)
    yield Case(workload, UNTOUCHED, plain, captured=device_type == "cuda")


def unet(name: str, size: Size, device: torch.device, *, tuned: bool) -> Work:
    """One guided prediction, a batch of two."""
    made = networks(name, size)
    model = _random(made, "unet", device)
    side, like = model.config.sample_size, model.conv_in.weight
    noisy = scenes.normal(device, 2, model.config.in_channels, side, side).to(like)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    text = scenes.normal(device, 2, WORDS, sum(made.text_widths), seed=1).to(like)
    t = torch.tensor([500, 500], device=device)

    @torch.no_grad()
    def run() -> Tensor:
        out: Tensor = model(noisy, t, text, return_dict=False)[0]
        return out

    return _work(model, run, _flops(run), tuned)


def encoder(what: str, size: Size, device: torch.device, *, tuned: bool) -> Work:
    """Latents of one picture, and the gradient of the picture."""
    model = _random(networks("sd15", size), "vae", device)
    side = model.config.sample_size
    picture = scenes.normal(device, 1, 3, side, side).to(model.quant_conv.weight)
    picture = picture.contiguous(memory_format=torch.channels_last)

    def encode(image: Tensor) -> Tensor:
        latents: Tensor = model.quant_conv(model.encoder(image))[:, :4]
        return latents

    @torch.no_grad()
    def forward() -> Tensor:
        return encode(picture)

    def backward() -> Tensor:
        image = picture.detach().requires_grad_()
        latents = encode(image)
        return torch.autograd.grad(latents, image, torch.ones_like(latents))[0]

    flops = _flops(forward)
    if what == "encode":
        return _work(model.encoder, forward, flops, tuned)
    return _work(model.encoder, backward, 2 * flops, tuned)  # every product once more, transposed


def _random(made: Networks, part: str, device: torch.device) -> Any:
    """The network with random weights: half on CUDA, channels-last, frozen."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    with quiet():
        model = materialize(builders(made)[part], device, dtype, scenes.SEED)
    return model.to(memory_format=torch.channels_last)


def _flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _work(model: Any, run: Callable[[], Tensor], flops: int, tuned: bool) -> Work:
    from dfast.priors.fused.tune import tune

    numbers = list(model.parameters())
    weights = sum(p.numel() * p.element_size() for p in numbers)
    if tuned:
        tune(model)
    return Work(run, counts.Cost(weights, flops), {"parameters": sum(p.numel() for p in numbers)})
