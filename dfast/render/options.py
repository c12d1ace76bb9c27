"""How to render: everything but the scene, the cameras and the lighting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from dfast.config import MarchConfig

Normals = Literal["none", "shading", "image"]
NORMALS: tuple[Normals, ...] = ("none", "shading", "image")
"""From the least to the most."""


@dataclass(frozen=True)
class RenderOptions:
    """Settings of the volume renderer.

    Example:
        >>> RenderOptions(MarchConfig(), normals="image").with_normals
        True
    """

    march: MarchConfig = field(default_factory=MarchConfig)
    """Where along a ray the samples are, and when a ray ends."""
    normals: Normals = "shading"
    """What normals are computed for. They cost a gradient of the density at each sample.

    - "none": no normals; the lighting must not be lit.
    - "shading": diffuse light, and the orientation penalty of each ray.
    - "image": as "shading", and they are returned as an image.
    """
    level_weights: Tensor | None = None
    """[L] in [0, 1], weights of the encoding's levels; None stands for all ones."""
    max_samples: int | None = None
    """Number of samples to reserve memory for. None counts them first, which is exact and costs a
    synchronisation on CUDA. Samples beyond it are left out: see `dfast.ops.march`."""

    @property
    def with_normals(self) -> bool:
        """Whether normals are computed."""
        return self.normals != "none"
