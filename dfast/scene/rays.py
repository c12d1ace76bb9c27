"""Rays to render, in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.scene.tree import map_tensors


@dataclass(frozen=True)
class RayBatch:
    """R rays of B cameras; nothing here is differentiable."""

    origins: Tensor
    """[R, 3] in world coordinates"""
    directions: Tensor
    """[R, 3] unit vectors"""
    camera_ids: Tensor | None = None
    """int32 [R] in [0, B): the camera, and so the light and the background, of each ray. None gives
    each camera R / B neighbouring rays."""
    jitter: Tensor | None = None
    """[R] in [0, 1): where in its interval each sample of a ray lies. None: in the middle."""

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index: slice | Tensor) -> RayBatch:
        """Return some of the rays.

        Args:
            index: a slice, or an int64 [K] or bool [R] tensor.
        """
        return map_tensors(lambda values: values[index], self)

    def split(self, size: int) -> Iterator[RayBatch]:
        """Yield the rays in batches of at most `size`; the batches are views of this one."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def to(self, device: torch.device | str) -> RayBatch:
        """Return the same rays on `device`."""
        return map_tensors(lambda values: values.to(device, non_blocking=True), self)
