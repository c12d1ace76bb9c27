"""From where, in which light and before what an object is seen for scores by a CLIP: as data.

Scores of two programs can be compared only if all of this is equal, so a report repeats it. Where
a paper leaves something open, what was chosen is said in `Views.open`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dfast.config import MarchConfig
from dfast.render.picture import picture
from dfast.scene.cameras import CameraBatch, aimed
from dfast.scene.loop_scene import LoopScene
from dfast.scene.scene import Scene
from dfast.scene.tree import map_tensors

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
TOGETHER = 8
"""Images rendered at once."""


@dataclass(frozen=True)
class Views:
    """C cameras that look at the origin, each with F fields of view, and what they see."""

    name: str
    source: str
    """where the protocol is published"""
    azimuths: tuple[float, ...]
    """[C] degrees around the object; 0 is its front"""
    elevations: tuple[float, ...]
    """[C] degrees above the horizon"""
    fovs: tuple[float, ...] = (40.0,)
    """[F] degrees of the whole image"""
    distance: float = 3.0
    """of the cameras from the origin, world units; objects are in the unit sphere"""
    resolution: int = 224
    """pixels a side"""
    shading: str = "albedo"
    """one of `dfast.config.views.SHADING`"""
    background: tuple[float, float, float] = WHITE
    """display RGB in [0, 1]"""
    fit: str = "sphere"
    """where meshes are put: "sphere" has the middle of their extent at the origin and fills the
    unit sphere, "coordinate" has their mean corner there and a largest coordinate of 1; fields
    stay"""
    open: str = ""
    """what the source leaves open and is chosen here"""

    def __len__(self) -> int:
        return len(self.azimuths) * len(self.fovs)

    def cameras(self) -> CameraBatch:
        """Return C F cameras, those of one field of view after those of another."""
        count = len(self.azimuths)
        azimuth = torch.tensor(self.azimuths * len(self.fovs))
        elevation = torch.tensor(self.elevations * len(self.fovs))
        fov = torch.tensor(self.fovs).repeat_interleave(count)
        return aimed(azimuth, elevation, torch.full_like(azimuth, self.distance), fov)

    def about(self) -> dict[str, Any]:
        """Return what a report says of the views, as JSON can hold it."""
        if len(self.azimuths) < 24:
            return asdict(self)
        return asdict(self) | {"azimuths": "of an icosphere", "elevations": "of an icosphere"}


def _around(count: int) -> tuple[float, ...]:
    return tuple(360.0 * i / count for i in range(count))


DREAM_FIELDS = Views(
    "dream-fields",
    "Jain et al. 2022 (arXiv 2112.01455), config_base.py: one held-out view",
    azimuths=(30.0,),
    elevations=(45.0,),
    fovs=(math.degrees(2 * math.atan(0.5 * 800 / 1111.11)),),
    distance=4.0,
)
_DREAMFUSION = "Poole et al. 2022 (arXiv 2209.14988), appendix A.3: elevation 30, several azimuths"
_OPEN = "8 azimuths, distance 3, 40 degrees, white"
DREAMFUSION_COLOR = Views(
    "dreamfusion-color",
    _DREAMFUSION,
    azimuths=_around(8),
    elevations=(30.0,) * 8,
    open=f"{_OPEN}, no light",
)
DREAMFUSION_GEOMETRY = Views(
    "dreamfusion-geometry",
    _DREAMFUSION,
    azimuths=_around(8),
    elevations=(30.0,) * 8,
    shading="textureless",
    background=BLACK,
    open="8 azimuths, distance 3, 40 degrees, white surfaces before black, light beside the camera",
)
JANUS = Views(
    "janus",
    "dfast: a proxy, to be calibrated by counting",
    azimuths=_around(12),
    elevations=(15.0,) * 12,
)


@lru_cache(maxsize=1)
def icosphere() -> tuple[Tensor, Tensor]:
    """Return the 162 directions of a twice subdivided icosahedron, and which are neighbours.

    Returns:
        [162, 3] unit vectors, and bool [162, 162].
    """
    golden = (1 + math.sqrt(5)) / 2
    corners = [(a, b * golden) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    points = torch.tensor(
        [(0.0, a, b) for a, b in corners]
        + [(a, b, 0.0) for a, b in corners]
        + [(b, 0.0, a) for a, b in corners],
        dtype=torch.float64,
    )
    joined = _joined(points)
    for _ in range(2):
        first, second = torch.triu(joined).nonzero().unbind(1)
        middles = (points[first] + points[second]) / 2
        points = torch.cat([points, middles])
        points = points / points.norm(dim=1, keepdim=True)
        joined = _joined(points)
    return points.float(), joined


def _joined(points: Tensor) -> Tensor:
    """Return which points of an icosphere share an edge, bool [N, N].

    Of an icosphere, edges are 1.14 times as long as the shortest at most, other distances 1.6.
    """
    distance = torch.cdist(points, points)
    shortest = distance[distance > 1e-6].min()
    return (distance > 1e-6) & (distance < 1.35 * shortest)


@lru_cache(maxsize=1)
def t3bench() -> Views:
    """Return the views of T3Bench's quality."""
    directions, _ = icosphere()
    x, y, z = directions.unbind(1)
    return Views(
        "t3bench",
        "He et al. 2023 (arXiv 2310.02977), run_eval_quality.py, with CLIP for ImageReward: not "
        "comparable with its numbers",
        azimuths=tuple(torch.rad2deg(torch.atan2(y, x)).tolist()),
        elevations=tuple(torch.rad2deg(torch.asin(z.clamp(-1, 1))).tolist()),
        fovs=(60.0, 45.0, 36.0, 30.0, 24.0),
        distance=2.2,
        resolution=512,
        background=BLACK,
        fit="coordinate",
        open="runs keep their place in the unit sphere",
    )


def views_of_scene(scene: Scene | LoopScene, march: MarchConfig, views: Views) -> Tensor:
    """Render a finished scene.

    Args:
        scene: what is rendered.
        march: where the samples are.
        views: from where, and how.

    Returns:
        [C F, 3, H, W] display RGB in [0, 1].
    """
    images, cameras = [], views.cameras()
    background = torch.tensor(views.background)
    for i in range(0, len(views), TOGETHER):
        some: CameraBatch = map_tensors(lambda values: values[i : i + TOGETHER], cameras)  # noqa: B023
        images.append(
            picture(
                scene,
                some.to(scene.device),
                march,
                resolution=views.resolution,
                shading=views.shading,
                background=background,
            )
        )
    return torch.cat(images).permute(0, 3, 1, 2)
