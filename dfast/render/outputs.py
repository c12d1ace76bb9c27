"""What a renderer returns: values of rays, and images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dfast.ops.march import Samples


@dataclass(frozen=True)
class RayRender:
    """R rendered rays, and the samples they are made of. w is the weight of a sample."""

    color: Tensor
    """[R, 3] premultiplied by the opacity, or complete if a background was given"""
    opacity: Tensor
    """[R] in [0, 1]"""
    depth: Tensor
    """[R] sum of w t, t the distance along the ray"""
    normal: Tensor | None
    """[R, 3] sum of w n in world coordinates, or None unless normals were wanted as an image"""
    orientation: Tensor
    """[R] sum of stop(w) max(0, n . v)^2, v the direction of the ray; 0 without normals. See
    `dfast.training.regularizers.orientation`."""
    samples: Samples


@dataclass(frozen=True)
class Rendering:
    """B rendered images, and what the losses on them need."""

    image: Tensor
    """[B, 3, H, W] in [0, 1], background included"""
    opacity: Tensor
    """[B, 1, H, W] in [0, 1]"""
    depth: Tensor
    """[B, 1, H, W] sum of w t"""
    normal: Tensor | None
    """[B, 3, H, W] sum of w n in world coordinates, or None unless normals were wanted as an
    image"""
    rays: RayRender

    @property
    def fill(self) -> Tensor:
        """Scalar: mean opacity of the rays that meet the bounding sphere, without gradient."""
        return self.opacity.detach().sum() / self.rays.samples.num_rays_hit[0].clamp(min=1)

    @property
    def num_samples(self) -> Tensor:
        """Scalar int64: samples that the rays have, more than were reserved on overflow."""
        return self.rays.samples.num_samples[0]
