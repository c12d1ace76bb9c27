"""Run a VAE's encoder in float16 although its activations are too large for it.

The encoder of an AutoencoderKL adds the results of its blocks to one stream, which each block reads
through a group normalisation: it does not matter how large the stream is. So everything that is
added to it, and what a block normalises inside, is divided by a power of two, and the epsilon of
the normalisations by its square. In exact arithmetic the latents and the gradient of the image stay
what they were. What the power is, and whether float16 is then as good as float32, a few images that
never change decide when the weights are loaded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

RANGE = torch.finfo(torch.float16).max
HEADROOM = 16
"""How much larger the activations of other images may be than those of the images here."""
MAX_ERROR = 1e-2
"""Largest error of float16's latents, and gradients, in parts of the norm of float32's."""


@torch.enable_grad()
def halved(vae: Any, images: Tensor, encode: Callable[[Any, Tensor], Tensor]) -> Any | None:
    """Return a copy of a VAE in float16, None if it would not do what it does in float32.

    Args:
        vae: an AutoencoderKL or its like in float32 with frozen parameters, not tuned.
        images: [B, 3, H, W] float32, in its layout; encoded one by one.
        encode: from a VAE and images to what its encoder gives.
    """
    if not _is_known(vae.encoder):
        return None
    largest, wanted = _largest_activation(vae.encoder, lambda: _answers(vae, images, encode))
    if not math.isfinite(largest):
        return None
    half = copy.deepcopy(vae)
    excess = largest * HEADROOM / RANGE
    if excess > 1:
        _divide_stream(half.encoder, 2.0 ** math.ceil(math.log2(excess)))
    for part in (half.encoder, getattr(half, "quant_conv", None)):  # statistics stay in float32
        if part is not None:
            part.half()
    largest, found = _largest_activation(half.encoder, lambda: _answers(half, images, encode))
    if not largest * HEADROOM <= 2 * RANGE:  # what is not on the stream may be too large, too
        return None
    pairs = zip(found, wanted, strict=True)
    return half if all(error(a, b) <= MAX_ERROR for a, b in pairs) else None


def _answers(
    vae: Any, images: Tensor, encode: Callable[[Any, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the latents of images, and the gradient of the images for a fixed one of theirs."""
    latents, gradients = [], []
    dtype = next(vae.encoder.parameters()).dtype
    for image in images.split(1):
        pixels = image.detach().to(dtype).requires_grad_()
        z = encode(vae, pixels)
        toward = torch.cos(2.4 * torch.arange(z.numel(), device=z.device)).view(z.shape)
        # A scalar: for a gradient that it is given, torch's autograd imports sympy first.
        gradients.append(torch.autograd.grad((z * toward.to(dtype)).sum(), pixels)[0])
        latents.append(z.detach())
    return torch.cat(latents), torch.cat(gradients)


def error(a: Tensor, b: Tensor) -> float:
    """Return the norm of a - b over that of b, NaN if a is not finite."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def _largest_activation(
    encoder: nn.Module, call: Callable[[], tuple[Tensor, Tensor]]
) -> tuple[float, tuple[Tensor, Tensor]]:
    """Return the largest size of any module's output during a call, and what it returns."""
    sizes: list[Tensor] = []

    def watch(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.detach().abs().amax().double())

    hooks = [module.register_forward_hook(watch) for module in encoder.modules()]
    try:
        found = call()
    finally:
        for hook in hooks:
            hook.remove()
    return float(torch.stack(sizes).amax()), found  # NaN if any is


def _is_known(encoder: Any) -> bool:
    """Return whether `_divide_stream` knows every block of an encoder, by its exact class."""
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0
    from diffusers.models.autoencoders.vae import Encoder
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D

    def known(part: Any) -> bool:
        if isinstance(part, ResnetBlock2D):
            plain = part.time_emb_proj is None and part.upsample is None and part.downsample is None
            return plain and all(type(n) is nn.GroupNorm for n in (part.norm1, part.norm2))
        if isinstance(part, Attention):
            ends = type(part.group_norm) is nn.GroupNorm and type(part.to_out[0]) is nn.Linear
            return ends and part.residual_connection and type(part.processor) is AttnProcessor2_0
        return not isinstance(part, Downsample2D) or (part.norm is None and part.use_conv)

    return type(encoder) is Encoder and all(map(known, encoder.modules()))


def _divide_stream(encoder: Any, by: float) -> None:
    """Divide the stream of an encoder, and what its blocks normalise, in place."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D

    def divide(layer: Any, *, weight: bool = True) -> None:
        for tensor in (layer.weight if weight else None, layer.bias):
            if tensor is not None:
                tensor.data.div_(by)

    norms = [encoder.conv_norm_out]
    divide(encoder.conv_in)
    for part in encoder.modules():
        if isinstance(part, ResnetBlock2D):
            divide(part.conv1)
            divide(part.conv2)
            if part.conv_shortcut is not None:  # it reads the stream
                divide(part.conv_shortcut, weight=False)
            norms += [part.norm1, part.norm2]
        elif isinstance(part, Downsample2D):
            divide(part.conv, weight=False)
        elif isinstance(part, Attention):
            divide(part.to_out[0])
            norms.append(part.group_norm)
    for norm in norms:
        norm.eps /= by**2
