"""Random crops and random backgrounds, before which a CLIP sees an object.

A CLIP accepts much that no one would: what it is shown changes from step to step, so that an object
has to look right wherever it is and whatever is behind it. Sources: Dream Fields (Jain et al. 2022,
arXiv 2112.01455, augment.py), whose Fourier textures are those of Mordvintsev et al. 2018
(distill.pub/2018/differentiable-parameterizations, lucid); CLIP-Mesh (Khalid et al. 2022, arXiv
2203.13333, camera.py), which has plain colours in place of the textures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from dfast.scene.blur import blurred

Kind = Literal["noise", "checker", "fourier", "plain"]
DREAM_FIELDS: tuple[Kind, ...] = ("noise", "checker", "fourier")
CLIP_MESH: tuple[Kind, ...] = ("noise", "checker", "plain")
"""Backgrounds of a method, with even odds."""
SQUARES = 8
"""Squares a side of a checkerboard."""
DECAY, CONTRAST = 1.5, 0.2
"""Power of the frequency by which a Fourier texture fades, and standard deviation of its
coefficients."""
REACH = 7
"""Pixels of an image of `BLUR_SIZE` at which the kernel of a blur ends, on each side."""
BLUR_SIZE = 224
"""Pixels a side of the image in which blurs are measured."""
COLORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Root of the covariance of the colours of photographs, by which Fourier textures are coloured; its
longest column gets the length 1/4."""


def crop_matrices(first: Tensor, crop: int, size: int, source: int) -> Tensor:
    """Return matrices that cut a part out of rows and resize it, antialiased and bilinear.

    Products with them, on both sides, crop images: the work is the same whatever the place, and the
    gradient needs no scatter.

    Args:
        first: [N] first pixel of each part, in [0, source - crop].
        crop: pixels of a part.
        size: pixels after the resize.
        source: pixels of a row.

    Returns:
        [N, size, source], rows that add up to 1.
    """
    scale = crop / size
    place = (torch.arange(size, device=first.device) + 0.5) * scale - 0.5
    centre = first[:, None].float() + place.clamp(0.0, crop - 1.0)
    pixel = torch.arange(source, device=first.device)
    distance = (pixel - centre[..., None]).abs() / max(scale, 1.0)
    weight = (1.0 - distance).clamp(min=0.0)
    inside = (pixel >= first[:, None]) & (pixel < first[:, None] + crop)
    weight = weight * inside[:, None]
    return weight / weight.sum(-1, keepdim=True)


def random_crops(
    images: Tensor, count: int, crop: int, size: int, generator: torch.Generator
) -> Tensor:
    """Cut random squares out of images and resize them; differentiable in the images.

    Args:
        images: [B, C, H, H].
        count: crops of each image, K.
        crop: pixels a side of a crop, at most H.
        size: pixels a side after the resize.
        generator: of the places, on the device of the images.

    Returns:
        [B K, C, size, size], the crops of an image side by side.
    """
    n, source = len(images) * count, images.shape[-1]
    free = source - crop + 1
    corner = torch.randint(free, (2, n), generator=generator, device=images.device)
    rows, columns = (crop_matrices(first, crop, size, source) for first in corner)
    cut = rows[:, None] @ images.repeat_interleave(count, 0) @ columns[:, None].mT
    return cut


def random_backgrounds(
    n: int,
    size: int,
    kinds: Sequence[Kind],
    blur: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Draw backgrounds, each of one of several kinds with even odds.

    "noise" is uniform in every pixel, "checker" has squares of two colours, "fourier" is smooth,
    and "plain" one colour, which alone is not blurred: it would not change.

    Args:
        n: how many.
        size: pixels a side.
        kinds: to choose from.
        blur: (low, high) of the standard deviation of the blur, in pixels of `BLUR_SIZE`.
        generator: source of randomness; the images are on its device.

    Returns:
        [n, 3, size, size] in [0, 1].
    """
    device = generator.device
    makers = {"noise": _noise, "checker": _checker, "fourier": _fourier, "plain": _plain}
    drawn = torch.stack([makers[kind](n, size, generator) for kind in kinds])  # [K, n, 3, S, S]
    which = torch.randint(len(kinds), (n,), generator=generator, device=device)
    images = drawn[which, torch.arange(n, device=device)]
    std = blur[0] + (blur[1] - blur[0]) * torch.rand(n, generator=generator, device=device)
    return blurred(images, std * (size / BLUR_SIZE), max(1, round(REACH * size / BLUR_SIZE)))


def _uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _noise(n: int, size: int, generator: torch.Generator) -> Tensor:
    return _uniform(n, 3, size, size, generator=generator)


def _plain(n: int, size: int, generator: torch.Generator) -> Tensor:
    return _uniform(n, 3, 1, 1, generator=generator).expand(n, 3, size, size)


def _checker(n: int, size: int, generator: torch.Generator) -> Tensor:
    one, other = _uniform(2, n, 3, 1, 1, generator=generator)
    square = torch.arange(size, device=generator.device) * SQUARES // size
    return torch.where((square[:, None] + square) % 2 == 0, one, other)


def _fourier(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Return smooth random textures: Gaussian coefficients that fade with the frequency."""
    device = generator.device
    shape = (n, 3, size, size // 2 + 1)
    real, imaginary = (
        torch.randn(shape, generator=generator, device=device) * CONTRAST for _ in range(2)
    )
    high, wide = torch.fft.fftfreq(size, device=device), torch.fft.rfftfreq(size, device=device)
    frequency = torch.hypot(high[:, None], wide).clamp(min=1.0 / size)
    # Without the second factor, larger images would have more contrast.
    fade = frequency**-DECAY * (size / BLUR_SIZE) ** (1 - DECAY)
    waves = torch.fft.irfft2(torch.complex(real, imaginary) * fade, (size, size), norm="ortho")
    return torch.sigmoid(torch.einsum("nchw,dc->ndhw", waves, _colors(device)))


@lru_cache(maxsize=8)
def _colors(device: torch.device) -> Tensor:
    """Return `COLORS` scaled, on a device; once, since the copy would wait for it in every step."""
    colors = torch.tensor(COLORS)
    return (colors / (4 * colors.norm(dim=0).max())).to(device)
