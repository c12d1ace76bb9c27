"""Workload F: the networks of a diffusion prior, tuned and as diffusers has them.

The UNets of Stable Diffusion 1.5 and of DeepFloyd IF's first stage predict the noise of a
conditional and an unconditional image, and Stable Diffusion's encoder takes one image, also one of
twice as many pixels a side, as models of 1024 pixels see. The shapes are the published ones. The
weights are random and made on the device, because their values have no influence on the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dfast.bench import counts, inputs
from dfast.bench.case import DIFFUSERS, Case, Work, dfast_cases
from dfast.bench.sizes import Sizes
from dfast.priors.loading.quiet import quiet
from dfast.testing.model_sizes import Networks, Size, networks
from dfast.testing.random_models import WORDS, builders, materialize

NAMES = ("sd15", "if-m", "if-xl")
"""Families whose UNets are timed."""


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """Yield the cases of workload F: full size on CUDA, tiny ones on a CPU if quick.

    There are none where diffusers is not installed.
    """
    if find_spec("diffusers") is None or (device_type == "cpu" and not sizes.quick):
        return
    size: Size = "full" if device_type == "cuda" else "tiny"
    for name in NAMES[: 1 if sizes.quick else None]:
        workload = f"F-unet-{name}" if size == "full" else "F-unet-tiny"
        yield from _both(device_type, workload, partial(unet, name, size))
    pixels = networks("sd15", size).image_size
    for passes, side in (
        ("encode", pixels), ("encode-backward", pixels), ("encode-backward", 2 * pixels)
    ):  # fmt: skip
        build = partial(encoder, passes, size, side)
        yield from _both(device_type, f"F-vae-{passes}-{side}", build)


def _both(device_type: str, workload: str, build: Callable[..., Work]) -> Iterator[Case]:
    """Yield a network tuned and as diffusers has it."""
    yield from dfast_cases(device_type, workload, partial(build, tuned=True))
    plain = partial(build, tuned=False)
    yield Case(workload, DIFFUSERS, plain, cuda_graph=device_type == "cuda")


def unet(name: str, size: Size, device: torch.device, *, tuned: bool) -> Work:
    """Return the work of one prediction for classifier-free guidance, a batch of two."""
    made = networks(name, size)
    model = _random(made, "unet", device)
    side, like = model.config.sample_size, model.conv_in.weight
    noisy = inputs.normal(device, 2, model.config.in_channels, side, side).to(like)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    text = inputs.normal(device, 2, WORDS, sum(made.text_widths), seed=1).to(like)
    t = torch.tensor([500, 500], device=device)

    @torch.no_grad()
    def run() -> Tensor:
        out: Tensor = model(noisy, t, text, return_dict=False)[0]
        return out

    return _work(model, run, _flops(run), tuned)


def encoder(passes: str, size: Size, side: int, device: torch.device, *, tuned: bool) -> Work:
    """Return the work of encoding one image.

    Args:
        passes: "encode", or "encode-backward" for the gradient by the image as well.
        size: of the network.
        side: pixels a side.
        device: where it runs.
        tuned: use the fused blocks of dfast.
    """
    model = _random(networks("sd15", size), "vae", device)
    image = inputs.normal(device, 1, 3, side, side).to(model.quant_conv.weight)
    image = image.contiguous(memory_format=torch.channels_last)

    def encode(x: Tensor) -> Tensor:
        latents: Tensor = model.quant_conv(model.encoder(x))[:, :4]
        return latents

    @torch.no_grad()
    def forward() -> Tensor:
        return encode(image)

    def backward() -> Tensor:
        x = image.detach().requires_grad_()
        latents = encode(x)
        return torch.autograd.grad(latents, x, torch.ones_like(latents))[0]

    flops = _flops(forward)
    if passes == "encode":
        return _work(model.encoder, forward, flops, tuned)
    # The backward pass repeats every product, transposed.
    return _work(model.encoder, backward, 2 * flops, tuned)


def _random(made: Networks, part: str, device: torch.device) -> Any:
    """Return a network with random weights: half on CUDA, channels-last, frozen."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    with quiet():
        model = materialize(builders(made)[part], device, dtype, inputs.SEED)
    return model.to(memory_format=torch.channels_last)


def _flops(run: Callable[[], object]) -> int:
    """Return the operations of a call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _work(model: Any, run: Callable[[], Tensor], flops: int, tuned: bool) -> Work:
    """Return the work of a network whose weights are read once, tuned if `tuned` is set."""
    from dfast.priors.fused.tune import tune

    numbers = list(model.parameters())
    weights = sum(p.numel() * p.element_size() for p in numbers)
    if tuned:
        tune(model)
    return Work(run, counts.Cost(weights, flops), {"parameters": sum(p.numel() for p in numbers)})
