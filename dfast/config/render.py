"""Settings of rendering: marching, cameras, lights, shading modes.

Lengths are in world units: the object lives in the unit sphere at the origin. Angles are in
degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dfast.config.checks import Range, check, check_numbers, check_ranges


@dataclass(frozen=True)
class MarchConfig:
    """Samples along a ray."""

    step_size: float = 2.0 / 64
    """Length of the interval of a sample, >= 0.0001."""
    cone_angle: float = 0.0
    """Growth of the intervals with the distance t from the camera, 0 to 1: their length is
    max(step_size, cone_angle * t)."""
    early_stop_eps: float = 1e-4
    """Transmittance below which the rest of a ray is ignored, 0 to 0.99."""
    jitter: bool = True
    """Shift the samples of each training ray by a random part of an interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "march", ("step_size",), 1e-4)
        check_numbers(self, "march", ("cone_angle",), 0, 1)
        check_numbers(self, "march", ("early_stop_eps",), 0, 0.99)


@dataclass(frozen=True)
class CameraConfig:
    """The distribution of training cameras, which look at the object from around it."""

    views: int = 4
    """Cameras in a step, 1 to 256."""
    distance: Range = (2.8, 3.2)
    """(low, high) of the distance from the origin, uniform; 0.001 to 1000."""
    fov: Range = (38.0, 42.0)
    """(low, high) of the angle of view of the whole square image; 1 to 170 degrees."""
    fov_mode: Literal["angle", "focal"] = "angle"
    """Uniform in the angle of view, or in the focal length (DreamFusion)."""
    elevation: Range = (-30.0, 80.0)
    """(low, high) of the angle above the horizon, -90 to 90 degrees."""
    elevation_mode: Literal["angle", "area", "mixed", "beta"] = "mixed"
    """Uniform in angle, uniform in area, or one of the two with even odds (DreamFusion); or by
    Beta(1, 5) from the low end of the range to the high one (CLIP-Mesh)."""
    stratified: bool = True
    """Spread the azimuths of one step evenly around the object."""
    ring: int = 1
    """Cameras that stand in a ring, 1 to 64, of which `views` is a multiple: evenly around the
    object, with one elevation, distance, angle of view, timestep, background and shading. A prior
    that predicts views together needs rings of as many."""
    position_jitter: float = 0.0
    """Half the side of the cube from which an offset of the position is drawn, >= 0."""
    lookat_jitter: float = 0.0
    """Standard deviation of the point looked at, which is at the origin otherwise; >= 0."""
    up_jitter: float = 0.0
    """Standard deviation of an offset of the unit up vector, >= 0."""
    resolution: tuple[tuple[float, int], ...] = ((0.0, 32), (0.4, 64))
    """(fraction of the run from which it holds, pixels a side) in order, beginning with fraction 0;
    4 to 4096 pixels."""

    def __post_init__(self) -> None:
        check_numbers(self, "camera", ("views",), 1, 256)
        check_numbers(self, "camera", ("ring",), 1, 64)
        expected = f"a multiple of camera.ring, which is {self.ring}"
        check("camera", "views", self.views, self.views % self.ring == 0, expected)
        check_ranges(self, "camera", ("distance",), 1e-3, 1e3)
        check_ranges(self, "camera", ("fov",), 1.0, 170.0)
        check_ranges(self, "camera", ("elevation",), -90.0, 90.0)
        for name in ("position_jitter", "lookat_jitter", "up_jitter"):
            check_numbers(self, "camera", (name,), 0)
            value = getattr(self, name)
            check("camera", name, value, self.ring == 1 or value == 0, "0 with a camera.ring")
        starts = [start for start, _ in self.resolution]
        ok = bool(starts) and starts == sorted(starts) and starts[0] == 0.0 and starts[-1] < 1.0
        ok = ok and all(4 <= pixels <= 4096 for _, pixels in self.resolution)
        expected = "rising (fraction, pixels) pairs from fraction 0, pixels in [4, 4096]"
        check("camera", "resolution", self.resolution, ok, expected)


@dataclass(frozen=True)
class LightConfig:
    """The distribution of the point light, drawn for every view.

    Its direction from the origin is normal around the camera, normalised.
    """

    distance: Range = (3.0, 4.0)
    """(low, high) of the distance from the origin, uniform; 0.001 to 1000."""
    spread: float = 0.5
    """Standard deviation of the direction, >= 0, in the units of `around`."""
    around: Literal["direction", "position"] = "direction"
    """The middle of the normal distribution: the camera's direction, so that `spread` is in units
    of its distance, or its position, with `spread` in world units (DreamFusion)."""
    ambient: Range = (0.1, 0.1)
    """(low, high) of the ambient strength, uniform; 0 to 1. The diffuse strength is 1 - ambient."""

    def __post_init__(self) -> None:
        check_ranges(self, "light", ("distance",), 1e-3, 1e3)
        check_ranges(self, "light", ("ambient",), 0.0, 1.0)
        check_numbers(self, "light", ("spread",), 0)


@dataclass(frozen=True)
class ShadingConfig:
    """Odds of each shading mode, drawn for every view.

    They are weights >= 0: they need not add up to one, but must not all be 0.
    """

    albedo: float = 0.4
    """Odds of the albedo alone, without light, >= 0."""
    diffuse: float = 0.4
    """Odds of Lambertian shading of the albedo, >= 0."""
    textureless: float = 0.2
    """Odds of Lambertian shading of a white surface, >= 0."""
    ambient_only: float = 0.1
    """Fraction of the run, 0 to 1, from its start, in which every view shows the albedo."""
    ramp: float = 0.1
    """Fraction of the run, 0 to 1, after that, over which the other shading modes come in."""

    def __post_init__(self) -> None:
        check_numbers(self, "shading", ("albedo", "diffuse", "textureless"), 0)
        total = self.albedo + self.diffuse + self.textureless
        check("shading", "albedo", self.albedo, total > 0, "albedo + diffuse + textureless > 0")
        check_numbers(self, "shading", ("ambient_only", "ramp"), 0, 1)
