"""From images to the pixels that a CLIP sees: resize, centre crop, normalise, all differentiable.

Pixels are those of transformers' image processor with Pillow, bit for bit, which is also how the
published models were trained and are compared. Its choices, which matter because one step of 8 bits
is 0.015 after normalisation:

- images are 8-bit before the resize, and rounded to 8 bits again after each of its two passes,
  first along rows, then along columns (Pillow 13 turns that order round for some tall images whose
  aspect changes, which no resize to a shorter side does);
- a pass is an antialiased filter (its support grows with the scale) with cubic parameter -0.5,
  whose weights are whole multiples of 2^-22;
- the shorter side gets the configured length, the longer one is rounded down;
- a crop of an odd margin takes the pixel nearer to the top left; one larger than the image is
  filled with black.

The gradient is that of the same filters without rounding (a straight-through estimator).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PRECISION = 22
"""Bits of a weight after the point."""
NAMES = {2: "bilinear", 3: "bicubic"}
"""Filters by their number in Pillow."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a CLIP sees it."""

    resize: int | tuple[int, int] | None
    """length of the shorter side, or (height, width); None leaves the size as it is"""
    resample: int
    """filter of the resize, a key of `NAMES`"""
    crop: tuple[int, int] | None
    """(height, width) of what is kept around the centre"""
    scale: float
    """by which 8-bit values are multiplied"""
    mean: tuple[float, ...] | None
    """subtracted from the three channels, then"""
    std: tuple[float, ...] | None
    """divided by"""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Return what the configuration of an image processor describes.

        Args:
            config: the content of preprocessor_config.json; missing keys have CLIP's defaults.

        Raises:
            ValueError: for a value that cannot be; its text is "key: expected ..., got ...".
        """
        size = config.get("size", {"shortest_edge": 224})
        resize = _size("size", size) if config.get("do_resize", True) else None
        crop = None
        if config.get("do_center_crop", True):
            found = _size("crop_size", config.get("crop_size", {"height": 224, "width": 224}))
            crop = (found, found) if isinstance(found, int) else found
        resample = config.get("resample", 3)
        if resize is not None and resample not in tuple(NAMES):
            raise ValueError(f"resample: expected 2 (bilinear) or 3 (bicubic), got {resample!r}")
        scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
        if type(scale) not in (int, float) or not 0.0 < scale < math.inf:
            raise ValueError(f"rescale_factor: expected a positive number, got {scale!r}")
        mean = std = None
        if config.get("do_normalize", True):
            mean = _channels(config, "image_mean", MEAN)
            std = _channels(config, "image_std", STD)
            if min(std) <= 0.0:
                raise ValueError(f"image_std: expected positive numbers, got {list(std)}")
        return cls(resize, int(resample), crop, float(scale), mean, std)

    def __call__(self, images: Tensor) -> Tensor:
        """Return pixels as the CLIP takes them.

        Args:
            images: [B, 3, H, W] display RGB in [0, 1], rounded to 8 bits here.

        Returns:
            [B, 3, h, w] float32, differentiable in the images.
        """
        levels = images.float() * 255.0
        x = _straight_through(levels, levels.detach().round().clamp(0.0, 255.0))
        if self.resize is not None:
            height, width = self.resized(x.shape[-2], x.shape[-1])
            x = _resize_rows(x, width, self.resample)
            x = _resize_rows(x.mT, height, self.resample).mT
        if self.crop is not None:
            x = _center_crop(x, *self.crop)
        x = x * self.scale
        if self.mean is not None and self.std is not None:
            x = (x - _column(self.mean, x)) / _column(self.std, x)
        return x.contiguous()

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) after the resize.

        Args:
            height: before it, in pixels.
            width: before it, in pixels.
        """
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        longer = int(self.resize * max(height, width) / min(height, width))
        return (longer, self.resize) if width <= height else (self.resize, longer)

    @property
    def filter(self) -> str | None:
        """Name of the filter of the resize, None if there is no resize."""
        return None if self.resize is None else NAMES[self.resample]

    def result(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the pixels of an image; arguments as of `resized`."""
        return self.resized(height, width) if self.crop is None else self.crop


MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of the images that CLIP was trained on, display RGB in [0, 1]."""
STD = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation."""


def _size(key: str, value: Any) -> int | tuple[int, int]:
    """Return the length of the shorter side, or (height, width). Raises ValueError."""
    if isinstance(value, dict) and set(value) == {"shortest_edge"}:
        value = value["shortest_edge"]
    if isinstance(value, dict) and {"height", "width"} <= set(value):
        found = [value["height"], value["width"]]
        if all(type(v) is int and 0 < v <= 8192 for v in found):
            return found[0], found[1]
    elif type(value) is int and 0 < value <= 8192:
        return value
    raise ValueError(
        f"{key}: expected a whole number, shortest_edge, or height and width, up to 8192, got "
        f"{value!r}"
    )


def _channels(config: Mapping[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return three finite numbers. Raises ValueError."""
    value = config.get(key, default)
    found = list(value) if isinstance(value, list | tuple) else []
    if len(found) != 3 or not all(type(v) in (int, float) and math.isfinite(v) for v in found):
        raise ValueError(f"{key}: expected three numbers, got {value!r}")
    return tuple(float(v) for v in found)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(3, 1, 1)


def _straight_through(smooth: Tensor, rounded: Tensor) -> Tensor:
    """Return the rounded values with the gradient of the smooth ones."""
    return smooth + (rounded - smooth).detach() if smooth.requires_grad else rounded


def _resize_rows(x: Tensor, length: int, resample: int) -> Tensor:
    """Return images [B, 3, H, length] of whole numbers in 0 to 255, from [B, 3, H, W] of such."""
    if x.shape[-1] == length:
        return x
    weights = filter_weights(x.shape[-1], length, resample).to(x.device)
    whole = x.detach().round().double() @ weights.mT  # exact: below 2^53
    rounded = ((whole + 2 ** (PRECISION - 1)) / 2**PRECISION).floor().clamp(0.0, 255.0)
    if not x.requires_grad:
        return rounded.to(x.dtype)
    smooth = x @ (weights / 2**PRECISION).to(x.dtype).mT
    return _straight_through(smooth, rounded.to(x.dtype))


@lru_cache(maxsize=64)
def filter_weights(source: int, target: int, resample: int) -> Tensor:
    """Return the weights of a resize along one side, as Pillow rounds them.

    Args:
        source: pixels before it.
        target: pixels after it.
        resample: a key of `NAMES`.

    Returns:
        [target, source] float64, whole numbers in units of 2^-22.
    """
    scale = source / target
    widened = max(scale, 1.0)
    support = (2.0 if resample == 3 else 1.0) * widened
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    first = (centre - support + 0.5).trunc().clamp(min=0.0)[:, None]
    last = (centre + support + 0.5).trunc().clamp(max=float(source))[:, None]
    pixel = torch.arange(source, dtype=torch.float64)
    kernel = _cubic if resample == 3 else _triangle
    weight = kernel((pixel - centre[:, None] + 0.5) / widened)
    weight = torch.where((pixel >= first) & (pixel < last), weight, 0.0)
    weight = weight / weight.sum(1, keepdim=True) * 2**PRECISION
    return (weight + 0.5 * weight.sign()).trunc()


def _cubic(x: Tensor) -> Tensor:
    """Return the cubic convolution kernel (Keys 1981) with a = -0.5."""
    a, x = -0.5, x.abs()
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


def _triangle(x: Tensor) -> Tensor:
    return (1.0 - x.abs()).clamp(min=0.0)


def _center_crop(x: Tensor, height: int, width: int) -> Tensor:
    """Return the centre [B, 3, height, width] of images, filled with black where they end."""
    pads = []
    for have, want in ((x.shape[-1], width), (x.shape[-2], height)):
        missing = max(want - have, 0)
        pads += [math.ceil(missing / 2), missing // 2]
    x = F.pad(x, pads) if any(pads) else x
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]
