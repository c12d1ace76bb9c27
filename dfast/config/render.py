"""Settings of rendering: marching, cameras, lights, shading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dfast.config.checks import Range, _check, _check_numbers, _check_ranges


@dataclass(frozen=True)
class MarchConfig:
    """Samples along a ray."""

    step: float = 2.0 / 64
    growth: float = 0.0
    """Step length grows with distance: max(step, growth * t)."""
    early_stop: float = 1e-4
    """Transmittance below which the rest of a ray is ignored."""
    jitter: bool = True

    def __post_init__(self) -> None:
        _check_numbers(self, "march", ("step",), 1e-4)
        _check_numbers(self, "march", ("growth",), 0, 1)
        _check_numbers(self, "march", ("early_stop",), 0, 0.99)


@dataclass(frozen=True)
class CameraConfig:
    """The distribution of training cameras. fov: of the whole square image."""

    views: int = 4
    """Cameras a step."""
    distance: Range = (2.8, 3.2)
    fov: Range = (38.0, 42.0)
    elevation: Range = (-30.0, 80.0)
    elevation_mode: Literal["angle", "area", "mixed"] = "mixed"
    """Uniform in angle, uniform in area, or half of each (the paper)."""
    stratified: bool = True
    """Spread the azimuths of one step evenly around the object."""
    position_jitter: float = 0.0
    """Half the side of a uniform cube."""
    lookat_jitter: float = 0.0
    """Standard deviation."""
    up_jitter: float = 0.0
    """Standard deviation."""
    resolution: tuple[tuple[float, int], ...] = ((0.0, 32), (0.4, 64))
    """(fraction of the run from which it holds, pixels a side), in order."""

    def __post_init__(self) -> None:
        _check_numbers(self, "camera", ("views",), 1, 256)
        _check_ranges(self, "camera", ("distance",), 1e-3, 1e3)
        _check_ranges(self, "camera", ("fov",), 1.0, 170.0)
        _check_ranges(self, "camera", ("elevation",), -90.0, 90.0)
        _check_numbers(self, "camera", ("position_jitter", "lookat_jitter", "up_jitter"), 0)
        starts = [start for start, _ in self.resolution]
        ok = bool(starts) and starts == sorted(starts) and starts[0] == 0.0 and starts[-1] < 1.0
        ok = ok and all(4 <= pixels <= 4096 for _, pixels in self.resolution)
        expected = "rising (fraction, pixels) pairs from fraction 0, pixels in [4, 4096]"
        _check("camera", "resolution", self.resolution, ok, expected)


@dataclass(frozen=True)
class LightConfig:
    """A point light: its direction is N(camera position, spread^2 I) normalised."""

    distance: Range = (3.0, 4.0)
    """From the origin."""
    spread: float = 0.5
    """In units of the camera's distance."""
    ambient: Range = (0.1, 0.1)
    """The diffuse strength is 1 - ambient."""

    def __post_init__(self) -> None:
        _check_ranges(self, "light", ("distance",), 1e-3, 1e3)
        _check_ranges(self, "light", ("ambient",), 0.0, 1.0)
        _check_numbers(self, "light", ("spread",), 0)


@dataclass(frozen=True)
class ShadingConfig:
    """Odds of each look, drawn for every view. They are weights: they need not add up to one."""

    albedo: float = 0.4
    diffuse: float = 0.4
    textureless: float = 0.2
    ambient_only: float = 0.1
    """Fraction of the run that is albedo only..."""
    ramp: float = 0.1
    """...and the fraction over which the other looks then come in."""

    def __post_init__(self) -> None:
        _check_numbers(self, "shading", ("albedo", "diffuse", "textureless"), 0)
        total = self.albedo + self.diffuse + self.textureless
        _check("shading", "albedo", self.albedo, total > 0, "albedo + diffuse + textureless > 0")
        _check_numbers(self, "shading", ("ambient_only", "ramp"), 0, 1)
