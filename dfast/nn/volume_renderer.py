"""Volume rendering of any density and colour function through an occupancy grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfast._native import vectors
from dfast.nn.occupancy import OccupancyGrid
from dfast.ops.composite import composite
from dfast.ops.march import Samples, march


class RayColors(NamedTuple):
    """What rays with leading dimensions [...] see."""

    color: Tensor
    """[..., C], in front of the background if there is one, else premultiplied by the opacity"""
    opacity: Tensor
    """[...] in [0, 1]"""
    depth: Tensor
    """[...] sum of weight times distance; divide by the opacity for the mean distance"""
    samples: Samples
    """where the function was evaluated; `samples.offsets` says for which ray"""


class VolumeRenderer(nn.Module):
    """Emission and absorption along rays (Max 1995, as in NeRF, arXiv 2003.08934).

    Rays are cut to the grid's sphere and sampled where its cells are occupied. The density and
    colour function may be anything that maps points to ``(density, color, ...)``: a
    `dfast.nn.Field`, a `torch.nn.Module`, a closure. Gradients reach whatever it computes with;
    rays, distances and points are constants. The result is float32 (float64 for float64 rays), also
    under autocast, where the function may return 16-bit values.

    >>> from dfast.nn import Field, OccupancyGrid
    >>> render = VolumeRenderer(OccupancyGrid(), background=(1.0, 1.0, 1.0))
    >>> origins = torch.tensor([0.0, 0.0, 2.0]).expand(4, 5, 3)
    >>> rays = render(Field(), origins, torch.tensor([0.0, 0.0, -1.0]).expand(4, 5, 3))
    >>> list(rays.color.shape), list(rays.opacity.shape)
    ([4, 5, 3], [4, 5])
    """

    def __init__(
        self,
        occupancy: OccupancyGrid,
        *,
        step_size: float | None = None,
        cone_angle: float = 0.0,
        early_stop_eps: float = 1e-4,
        view_dependent: bool = False,
        background: Sequence[float] | Tensor | None = None,
        max_samples: int | None = None,
    ) -> None:
        """Make a renderer for the scene in `occupancy`.

        Args:
            occupancy: which cells are sampled; a part of this module, but it is the caller who
                updates it.
            step_size: distance between samples in world units; None for half a cell.
            cone_angle: growth of the steps with the distance; see `dfast.ops.march`.
            early_stop_eps: transmittance in [0, 1) below which a ray ends.
            view_dependent: whether the function takes directions: ``f(points, directions)``.
            background: [C] colour behind everything, or None.
            max_samples: slots for samples, so that nothing waits for the device; those beyond are
                left out. None for as many as there are.
        """
        super().__init__()
        self.occupancy = occupancy
        self.step_size = occupancy.radius / occupancy.resolution if step_size is None else step_size
        self.cone_angle, self.early_stop_eps = cone_angle, early_stop_eps
        self.view_dependent, self.max_samples = view_dependent, max_samples
        value = None if background is None else torch.as_tensor(background, dtype=torch.float32)
        self.register_buffer("background", value, persistent=False)
        self.background: Tensor | None

    def forward(
        self,
        field: Callable[..., Any],
        origins: Tensor,
        directions: Tensor,
        *,
        background: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> RayColors:
        """Render rays.

        In training mode each ray's samples are shifted by a random fraction of a step, in
        evaluation mode they lie in the middle of their steps.

        Args:
            field: from points [M, 3] in world units, and their rays' unit directions [M, 3] if
                `view_dependent`, to density [M] or [M, 1] per unit length, >= 0, and colour [M, C];
                further results are not looked at.
            origins: [..., 3] world.
            directions: [..., 3] of any length but zero.
            background: colours behind the rays that broadcast to [..., C], in place of the
                module's own.
            generator: source of the random shifts, on any device.

        Returns:
            colours, opacities and depths, see `RayColors`.
        """
        vectors("origins", origins, 3), vectors("directions", directions, 3)
        shape = torch.broadcast_shapes(origins.shape, directions.shape)
        origins = origins.expand(shape).reshape(-1, 3)
        directions = _unit(directions).expand(shape).reshape(-1, 3)
        samples = self._march(origins, directions, generator)
        points, ray = samples.x, samples.ray.long()
        if self.max_samples is not None:  # slots past the last sample hold anything
            real = torch.arange(len(points), device=points.device) < samples.num_samples
            points = torch.where(real[:, None], points, 0.0)
            ray = torch.where(real, ray, 0)
        given = (points, directions[ray]) if self.view_dependent else (points,)
        density, color = field(*given)[:2]
        color, depth, opacity, _ = composite(
            density.reshape(len(points)),
            samples.dt,
            color,
            samples.t,
            samples.offsets,
            early_stop_eps=self.early_stop_eps,
        )
        color = color.view(*shape[:-1], color.shape[-1])
        opacity, depth = opacity.view(shape[:-1]), depth.view(shape[:-1])
        behind = self.background if background is None else background
        if behind is not None:
            color = color + (1.0 - opacity)[..., None] * behind.to(color)
        return RayColors(color, opacity, depth, samples)

    def _march(
        self, origins: Tensor, directions: Tensor, generator: torch.Generator | None
    ) -> Samples:
        """Return the samples of rays [R, 3]."""
        jitter = None
        if self.training:
            source = origins.device if generator is None else generator.device
            jitter = torch.rand(
                len(origins), dtype=origins.dtype, generator=generator, device=source
            ).to(origins.device)
        grid = self.occupancy
        return march(
            origins,
            directions,
            grid.bits,
            resolution=grid.resolution,
            radius=grid.radius,
            step_size=self.step_size,
            cone_angle=self.cone_angle,
            jitter=jitter,
            max_samples=self.max_samples,
        )


def _unit(directions: Tensor) -> Tensor:
    """Return vectors [..., 3] of unit length; squares of theirs may be too large or too small."""
    largest = directions.detach().abs().amax(-1, keepdim=True)
    return F.normalize(directions / largest.clamp(min=torch.finfo(largest.dtype).tiny), dim=-1)
