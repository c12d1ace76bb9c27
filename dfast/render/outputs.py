"""What a renderer returns: values of rays, and images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dfast.ops.march import Samples


@dataclass(frozen=True)
class RayRender:
    """R rays and the samples they were made of."""

    color: Tensor
    """[R,3] premultiplied, or complete if a background was given"""
    opacity: Tensor
    """[R]"""
    depth: Tensor
    """[R] sum of w t"""
    normal: Tensor | None
    """[R,3] sum of w n, world axes"""
    orientation: Tensor
    """[R] sum of stop(w) max(0, n . v)^2, 0 without normals; see `regularizers.orientation`"""
    samples: Samples


@dataclass(frozen=True)
class Rendered:
    """B pictures, and what the regularisers need."""

    image: Tensor
    """[B,3,H,W] in [0, 1], background included"""
    opacity: Tensor
    """[B,1,H,W]"""
    depth: Tensor
    """[B,1,H,W] sum of w t"""
    normal: Tensor | None
    """[B,3,H,W] sum of w n, world axes"""
    rays: RayRender

    @property
    def fill(self) -> Tensor:
        """Scalar: mean opacity of the rays that meet the bounding sphere, without gradient."""
        return self.opacity.detach().sum() / self.rays.samples.met[0].clamp(min=1)
