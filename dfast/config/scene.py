"""Settings of the scene: field, background, occupancy grid, coarse to fine.

Lengths are in world units: the object lives in the unit sphere at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dfast.config.checks import Range, check, check_numbers


@dataclass(frozen=True)
class GridConfig:
    """The multiresolution hash grid (Mueller et al. 2022)."""

    levels: int = 8
    """Number of levels, 1 to 32. Their resolutions form a geometric series."""
    features: Literal[1, 2, 4, 8] = 2
    """Numbers at each vertex of a level."""
    log2_entries: int = 15
    """Largest number of entries in a level, as a power of two: 4 to 24. Levels with fewer vertices
    are stored densely."""
    base_resolution: int = 8
    """Cells along a side of the coarsest level, 2 to 65536."""
    max_resolution: int = 64
    """Cells along a side of the finest level, `base_resolution` to 65536."""
    interpolation: Literal["smoothstep", "linear"] = "smoothstep"
    """Weights of a cell's eight vertices: smoothstep has continuous first derivatives."""

    def __post_init__(self) -> None:
        check_numbers(self, "field.grid", ("levels",), 1, 32)
        check_numbers(self, "field.grid", ("log2_entries",), 4, 24)
        check_numbers(self, "field.grid", ("base_resolution",), 2, 65536)
        check_numbers(self, "field.grid", ("max_resolution",), self.base_resolution, 65536)


@dataclass(frozen=True)
class IPEConfig:
    """Integrated positional encoding and residual MLP (Barron et al. 2021, 2022), as DreamFusion
    has them. Its Gaussians have the standard deviation `coarse_to_fine.lowpass_std`."""

    frequencies: int = 8
    """Number of frequencies, 1 to 16; each is twice the one before."""
    base_frequency: float = 1.4
    """The lowest frequency, radians per world unit, > 0."""
    directions: Literal["icosahedron", "axes"] = "icosahedron"
    """Along which points are encoded: the 21 of mip-NeRF 360, or the axes."""
    width: int = 128
    """Units of each layer of the MLP, 2 to 1024."""
    blocks: int = 5
    """Residual blocks of two layers, 0 to 32."""

    def __post_init__(self) -> None:
        check_numbers(self, "field.ipe", ("frequencies",), 1, 16)
        check_numbers(self, "field.ipe", ("base_frequency",), 1e-6)
        check_numbers(self, "field.ipe", ("width",), 2, 1024)
        check_numbers(self, "field.ipe", ("blocks",), 0, 32)


@dataclass(frozen=True)
class FieldConfig:
    """Encoding and MLP; density = density_scale * activation(s + density_bias + blob(x)).

    s is the MLP's first output at the point x.
    """

    kind: Literal["hash", "ipe"] = "hash"
    """hash: a hash grid and a small MLP, in kernels of its own; ipe: the field of DreamFusion, in
    plain torch, many times slower."""
    grid: GridConfig = GridConfig()
    """hash only: the encoding of a point."""
    ipe: IPEConfig = IPEConfig()
    """ipe only: encoding and MLP."""
    hidden: int = 32
    """hash only: units of each hidden layer of the MLP, 1 to 256."""
    layers: int = 1
    """hash only: hidden layers of the MLP, 1 to 3."""
    density_activation: Literal["softplus", "exp"] = "softplus"
    """Maps the logit of the density to a number >= 0."""
    density_scale: float = 15.0
    """Factor on the activation, per unit length, > 0."""
    density_bias: float = -1.5
    """Added to the logit everywhere, any number."""
    blob: Literal["linear", "gaussian", "none"] = "linear"
    """Added to the logit at distance r from the origin. linear: height (1 - r / width); gaussian:
    height exp(-r^2 / (2 width^2))."""
    blob_height: float = 5.0
    """Value of the blob at the origin, any number."""
    blob_width: float = 0.5
    """Distance at which the linear blob is 0, or standard deviation of the gaussian one; > 0."""
    blob_on: Literal["logit", "density"] = "logit"
    """What the blob is added to: density takes it after the activation, in units of
    `density_scale`; only a gaussian blob of the kind ipe can be there."""
    normals: Literal["analytic", "finite"] = "analytic"
    """How the gradient of the logit is computed: exactly, or by central finite differences."""
    finite_step: float = 0.01
    """Distance of the points of the finite differences from the sample, > 0."""
    precision: Literal["auto", "half", "float"] = "auto"
    """half: read a float16 copy of the table, on CUDA with the MLP on tensor cores; gradients still
    go to the float32 table. auto: half on CUDA if the fused kernel takes the shape, else float. The
    kind ipe is always float."""

    def __post_init__(self) -> None:
        check_numbers(self, "field", ("hidden",), 1, 256)
        check_numbers(self, "field", ("layers",), 1, 3)
        check_numbers(self, "field", ("density_scale", "blob_width", "finite_step"), 1e-6)
        ok = self.blob_on == "logit" or (self.kind == "ipe" and self.blob != "linear")
        expected = "'logit', unless kind is 'ipe' and blob is 'gaussian' or 'none'"
        check("field", "blob_on", self.blob_on, ok, expected)
        ok = self.kind == "hash" or self.precision != "half"
        check("field", "precision", self.precision, ok, "'auto' or 'float' with kind 'ipe'")


@dataclass(frozen=True)
class BackgroundConfig:
    """What rays see behind the object during training."""

    kind: Literal["random", "solid", "mlp"] = "random"
    """random: one colour for each view; solid: `color`; mlp: a learned function of direction."""
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """RGB in [0, 1]. Used by solid, and by every kind when a finished result is rendered."""
    hidden: int = 16
    """Hidden units of the mlp, 1 to 256."""

    def __post_init__(self) -> None:
        ok = all(0.0 <= c <= 1.0 for c in self.color)
        check("background", "color", self.color, ok, "three numbers in [0, 1]")
        check_numbers(self, "background", ("hidden",), 1, 256)


@dataclass(frozen=True)
class OccupancyConfig:
    """The occupancy grid: which cells of the scene rays are marched through."""

    resolution: int = 64
    """Cells along a side: 16, 32, 64, 128 or 256."""
    every: int = 8
    """Steps between updates, >= 1."""
    warmup_steps: int = 64
    """Until this step an update visits every cell; later it visits `fraction` of them. >= 0."""
    fraction: float = 0.5
    """Fraction of the cells that an update visits, 0.001 to 1."""
    decay: float = 0.4
    """Factor on a cell's stored density at each visit, before the maximum with the density found;
    0.001 to 1."""
    threshold: float = 0.3
    """Density per unit length below which a cell is skipped, >= 0; half the mean density where that
    is lower."""

    def __post_init__(self) -> None:
        ok = self.resolution in (16, 32, 64, 128, 256)
        check("occupancy", "resolution", self.resolution, ok, "16, 32, 64, 128 or 256")
        check_numbers(self, "occupancy", ("every",), 1)
        check_numbers(self, "occupancy", ("warmup_steps", "threshold"), 0)
        check_numbers(self, "occupancy", ("fraction", "decay"), 1e-3, 1)


@dataclass(frozen=True)
class CoarseToFineConfig:
    """Levels of the encoding come in one by one, and a Gaussian low-pass filter damps fine ones."""

    levels_start: int = 4
    """Levels that are on from the first step, >= 1."""
    levels_until: float = 0.4
    """Fraction of the run by which every level is on, 0 to 1."""
    lowpass_std: Range = (0.05, 0.03)
    """(start, end) of the filter's standard deviation in world units, >= 0, linear over
    `lowpass_std_until`; 0 filters nothing."""
    lowpass_std_until: float = 1.0 / 3.0
    """Fraction of the run over which `lowpass_std` changes, 0 to 1."""
    lowpass_linear_in: Literal["std", "variance"] = "std"
    """What changes linearly: the standard deviation, or its square as in DreamFusion."""

    def __post_init__(self) -> None:
        check_numbers(self, "coarse_to_fine", ("levels_start",), 1)
        check_numbers(self, "coarse_to_fine", ("levels_until", "lowpass_std_until"), 0, 1)
        ok = all(std >= 0 for std in self.lowpass_std)
        check("coarse_to_fine", "lowpass_std", self.lowpass_std, ok, "two numbers >= 0")
