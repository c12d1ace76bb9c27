"""The interface of guidance: from images of a scene to the gradient that improves them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting


@dataclass(frozen=True)
class GuidanceBatch:
    """What a guidance may know of the B images of one step; all tensors are on the device."""

    cameras: CameraBatch
    lighting: Lighting
    t: Tensor
    """[B] int64 timesteps"""
    alpha: Tensor
    """[B] signal level at t"""
    sigma: Tensor
    """[B] noise level at t"""
    negative_weight: Tensor
    """[1] how much of the pull away from the negative prompt applies in this step, or one for each
    image, [B, 1, 1, 1]"""
    share: tuple[int, int] = (0, 1)
    """(r, n): these are the r-th of n equal shares of the images, for all of which noise is
    drawn"""


class Seen(Protocol):
    """What a guidance reads of a step's rendering, of whatever kind."""

    @property
    def image(self) -> Tensor:
        """[B, 3, H, W] in [0, 1], background included"""

    @property
    def opacity(self) -> Tensor:
        """[B, 1, H, W] in [0, 1]"""


class Guidance(ABC):
    """A loss on images, given by its gradient.

    The trainer renders images, calls `encode_images`, then `gradient`, and backpropagates the
    gradient through the encoding and the renderer. A guidance may own parameters and an optimizer
    (as VSD does): it trains them inside `gradient` and saves them with `state_dict`.

    Attributes:
        cuda_graph_safe: whether `encode_images` and `gradient` may be recorded in a CUDA graph:
            equal shapes launch equal work, and nothing is read back from the device.
    """

    cuda_graph_safe: bool = False

    @property
    def noise_schedule(self) -> tuple[Tensor, Tensor]:
        """Return (alpha [T], sigma [T]) from clean to noise, see `Prior.noise_schedule`.

        The default, for guidance that adds no noise, is one clean level.
        """
        return torch.ones(1), torch.zeros(1)

    def approximate_at(self, progress: float) -> bool:
        """Return whether `encode_images` should be approximate at this fraction of the run."""
        return False

    @abstractmethod
    def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
        """Map images to the space in which the gradient lives; differentiable.

        Args:
            images: [B, 3, H, W] in [0, 1].
            approximate: use a cheap approximation of the encoder, if there is one.

        Returns:
            [B, C, h, w] float32.
        """

    def encode(
        self,
        seen: Seen,
        colors: Tensor,
        generator: torch.Generator,
        *,
        approximate: bool = False,
    ) -> Tensor:
        """Map a step's rendering to what `gradient` takes; the default encodes its images.

        Args:
            seen: the rendering. Differentiable.
            colors: [B, 3] in [0, 1], the colours behind the object.
            generator: source of randomness, on the device.
            approximate: as of `encode_images`.

        Returns:
            [N, C, h, w] float32.
        """
        return self.encode_images(seen.image, approximate=approximate)

    @abstractmethod
    def gradient(self, encoded: Tensor, batch: GuidanceBatch, generator: torch.Generator) -> Tensor:
        """Return the gradient at `encoded`, [B, C, h, w] float32, without a graph.

        Args:
            encoded: [B, C, h, w], what `encode_images` returned; its graph is not used.
            batch: cameras, lighting and noise levels of the B images.
            generator: source of noise, on the device of `encoded`.
        """

    def joins(self, other: Guidance) -> bool:
        """Return whether one evaluation of a prior can serve this guidance and another one."""
        return False

    def metrics(self) -> dict[str, Tensor]:
        """Return scalars of the last `gradient`, on the device, that the step's metrics include."""
        return {}

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters that this guidance trains; none by default."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold to continue this guidance exactly."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned.

        Args:
            state: tensors by name.
        """
        return
