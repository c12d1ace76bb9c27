"""Settings of the scene: field, background, occupancy grid, coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dfast.config.checks import Range, _check, _check_numbers


@dataclass(frozen=True)
class GridConfig:
    """Multiresolution hash grid."""

    levels: int = 8
    features: Literal[1, 2, 4, 8] = 2
    log2_entries: int = 15
    """Most entries a level, as a power of two; coarser levels are dense."""
    base_resolution: int = 8
    max_resolution: int = 64
    interpolation: Literal["smoothstep", "linear"] = "smoothstep"

    def __post_init__(self) -> None:
        _check_numbers(self, "field.grid", ("levels",), 1, 32)
        _check_numbers(self, "field.grid", ("log2_entries",), 4, 24)
        _check_numbers(self, "field.grid", ("base_resolution",), 2, 65536)
        _check_numbers(self, "field.grid", ("max_resolution",), self.base_resolution, 65536)


@dataclass(frozen=True)
class FieldConfig:
    """Hash grid, MLP and density tau = density_scale * phi(s + density_bias + blob(x))."""

    grid: GridConfig = GridConfig()
    hidden: int = 32
    layers: int = 1
    """Hidden layers, 1 to 3."""
    density_activation: Literal["softplus", "exp"] = "softplus"
    density_scale: float = 15.0
    density_bias: float = -1.5
    blob: Literal["linear", "gaussian", "none"] = "linear"
    """linear: height (1 - r / width); gaussian: height exp(-r^2 / (2 width^2))."""
    blob_height: float = 5.0
    blob_width: float = 0.5
    normals: Literal["analytic", "finite"] = "analytic"
    finite_step: float = 0.01
    """Half the stencil of finite-difference normals, in world units."""
    precision: Literal["auto", "half", "float"] = "auto"
    """half: read a half copy of the table, on CUDA with the MLP on tensor cores; gradients still go
    to the float32 master. auto: half on CUDA if the fused kernel takes the shape, else float."""

    def __post_init__(self) -> None:
        _check_numbers(self, "field", ("hidden",), 1, 256)
        _check_numbers(self, "field", ("layers",), 1, 3)
        _check_numbers(self, "field", ("density_scale", "blob_width", "finite_step"), 1e-6)


@dataclass(frozen=True)
class BackgroundConfig:
    """random: a colour for each view; solid: `color`; mlp: a learned function of direction."""

    kind: Literal["random", "solid", "mlp"] = "random"
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Used by solid, and by every kind when a finished result is shown."""
    hidden: int = 16

    def __post_init__(self) -> None:
        ok = all(0.0 <= c <= 1.0 for c in self.color)
        _check("background", "color", self.color, ok, "three numbers in [0, 1]")
        _check_numbers(self, "background", ("hidden",), 1, 256)


@dataclass(frozen=True)
class OccupancyConfig:
    """Which cells of the scene are marched through."""

    resolution: int = 64
    every: int = 8
    """Steps between updates."""
    warmup_steps: int = 64
    """Until then an update looks at every cell; later at `fraction` of them."""
    fraction: float = 0.5
    decay: float = 0.4
    threshold: float = 0.3
    """Density below which a cell is skipped; half the mean density if that is lower."""

    def __post_init__(self) -> None:
        ok = self.resolution in (16, 32, 64, 128, 256)
        _check("occupancy", "resolution", self.resolution, ok, "16, 32, 64, 128 or 256")
        _check_numbers(self, "occupancy", ("every",), 1)
        _check_numbers(self, "occupancy", ("warmup_steps", "threshold"), 0)
        _check_numbers(self, "occupancy", ("fraction", "decay"), 1e-3, 1)


@dataclass(frozen=True)
class CoarseToFineConfig:
    """Grid levels come in one by one; a Gaussian footprint damps fine ones."""

    levels_start: int = 4
    levels_until: float = 0.4
    """Fraction of the run by which every level is in."""
    footprint: Range = (0.05, 0.03)
    """(start, end): standard deviation of the blur, world units, over `footprint_until`."""
    footprint_until: float = 1.0 / 3.0

    def __post_init__(self) -> None:
        _check_numbers(self, "coarse_to_fine", ("levels_start",), 1)
        _check_numbers(self, "coarse_to_fine", ("levels_until", "footprint_until"), 0, 1)
        for value in self.footprint:
            _check("coarse_to_fine", "footprint", self.footprint, value >= 0, "two numbers >= 0")
