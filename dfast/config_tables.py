"""The tables of `Config`: what can be set, its default, its range.

Angles are in degrees, lengths in world units (the object lives in the unit sphere at the origin),
schedules in fractions of the run. Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .errors import ConfigError

Range = tuple[float, float]


def _check(section: str, key: str, value: object, ok: bool, expected: str) -> None:
    if not ok:
        raise ConfigError(f"config key '{section}.{key}': expected {expected}, got {value!r}")


def _check_ranges(
    section: object, name: str, keys: tuple[str, ...], low: float, high: float
) -> None:
    for key in keys:
        value: Range = getattr(section, key)
        ok = low <= value[0] <= value[1] <= high
        _check(name, key, value, ok, f"(low, high) with {low:g} <= low <= high <= {high:g}")


def _check_numbers(
    section: object, name: str, keys: tuple[str, ...], low: float, high: float = math.inf
) -> None:
    for key in keys:
        value = getattr(section, key)
        expected = (
            f"a number >= {low:g}" if high == math.inf else f"a number in [{low:g}, {high:g}]"
        )
        _check(name, key, value, low <= value <= high and math.isfinite(value), expected)


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


@dataclass(frozen=True)
class GuidanceConfig:
    """Score distillation; the formulas are in `dfast.sds`."""

    variant: Literal["sds", "csd", "nfsd", "ism"] = "sds"
    """sds: DreamFusion; csd: the classifier's part alone; nfsd: free of the sampled noise; ism:
    along DDIM inversion, several times the cost."""
    scale: float = 10.0
    """The paper's w: eps = (1 + w) eps_c - w eps_u; diffusers' scale is 1 + w."""
    negative: str = ""
    """What the pictures should not show. nfsd has a sentence of its own if this is empty."""
    negative_weight: Range = (1.0, 0.0)
    """csd only: (start, end) of the pull away from `negative`, linear over the run."""
    perp_neg: bool = False
    """Lead each view away from the words of others, perpendicularly (Perp-Neg)."""
    inversion_steps: int = 5
    """ism: steps from the picture to the noise level below t..."""
    delta_t: float = 0.05
    """...which is this fraction of the timesteps below it."""
    linear_until: float = 0.0
    """Fraction of the run in which a latent model's encoder is replaced by a linear map."""
    t_min: float = 0.4
    t_max: float = 0.98
    t_min_end: float = 0.05
    t_max_end: float = 0.5
    """The range of t moves linearly from (t_min, t_max) to (t_min_end, t_max_end)..."""
    t_until: float = 0.8
    """...over this fraction of the run."""
    weighting: Literal["sigma2", "uniform", "alpha_sigma", "sigma"] = "sigma2"
    view_words: Literal["camera", "words", "none"] = "camera"
    """How a prior hears the view: its finest conditioning, the paper's four words, or nothing."""

    def __post_init__(self) -> None:
        _check_numbers(self, "guidance", ("scale",), 0, 1e4)
        _check_numbers(self, "guidance", ("inversion_steps",), 1, 100)
        _check_numbers(self, "guidance", ("delta_t",), 1e-3, 1)
        _check_numbers(self, "guidance", ("linear_until",), 0, 1)
        ok = all(0.0 <= value <= 10.0 for value in self.negative_weight)
        _check("guidance", "negative_weight", self.negative_weight, ok, "two numbers in [0, 10]")
        ok = not (self.perp_neg and self.view_words == "none")
        _check("guidance", "perp_neg", self.perp_neg, ok, "false where view_words is 'none'")
        _check_numbers(
            self, "guidance", ("t_min", "t_max", "t_min_end", "t_max_end", "t_until"), 0, 1
        )
        _check("guidance", "t_max", self.t_max, self.t_min < self.t_max, "more than t_min")
        ok = self.t_min_end < self.t_max_end
        _check("guidance", "t_max_end", self.t_max_end, ok, "more than t_min_end")


@dataclass(frozen=True)
class PriorConfig:
    """How a diffusion model is loaded and run. The embedded prior has nothing to choose."""

    precision: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """Of the UNet; auto: fp16 on CUDA, fp32 on the CPU. Guidance is always computed in float32."""
    vae_precision: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """Of the VAE encoder; auto: fp16 beside a half-precision UNet, but fp32 for SDXL's VAE, which
    overflows fp16; else fp32."""
    text_encoder: Literal["auto", "device", "cpu", "8bit"] = "auto"
    """Where the text is read, once; auto: on the device if it fits. 8bit needs bitsandbytes."""
    image_size: int = 0
    """Pixels a side of what the model sees; 0: the size it was made for."""
    tuned: bool = True
    """On CUDA, run the networks through dfast's own kernels where they fit, see `priors.fused`."""
    compile: bool = False
    """torch.compile the UNet instead: about a minute before the first step."""
    attention_slicing: bool = False
    """Attention one slice of heads at a time: less memory, slower."""
    vae_checkpointing: bool = False
    """Compute the VAE encoder's activations again in the backward pass: exact, less memory."""
    vae_tiling: bool = False
    """Encode overlapping quarters of the picture one by one: approximate, least memory."""
    offload: Literal["none", "model"] = "none"
    """model: the UNet's weights stay in host memory and stream through the device."""

    def __post_init__(self) -> None:
        _check_numbers(self, "prior", ("image_size",), 0, 4096)


@dataclass(frozen=True)
class RegularizerConfig:
    """Weights beside the guidance, all as means over pixels. A term of weight 0 is not computed."""

    orientation: Range = (1e-3, 1e-2)
    """(start, end), linear over `orientation_until` of the run."""
    orientation_until: float = 1.0 / 3.0
    opacity: float = 0.015
    entropy: float = 0.0
    total_variation: float = 0.0
    """Of the opacity image."""

    def __post_init__(self) -> None:
        for value in self.orientation:
            _check("regularizer", "orientation", self.orientation, value >= 0, "two numbers >= 0")
        _check_numbers(self, "regularizer", ("orientation_until",), 0, 1)
        _check_numbers(self, "regularizer", ("opacity", "entropy", "total_variation"), 0)


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with warm-up and a cosine to `final` of the learning rate."""

    lr_grid: float = 1e-2
    lr_mlp: float = 3e-3
    lr_background: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15
    warmup_steps: int = 10
    final: float = 0.03

    def __post_init__(self) -> None:
        _check_numbers(
            self, "optimizer", ("lr_grid", "lr_mlp", "lr_background", "eps", "warmup_steps"), 0
        )
        _check_numbers(self, "optimizer", ("final",), 0, 1)
        ok = all(0.0 <= beta < 1.0 for beta in self.betas)
        _check("optimizer", "betas", self.betas, ok, "two numbers in [0, 1)")


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


@dataclass(frozen=True)
class TrainConfig:
    """Length and housekeeping of a run."""

    steps: int = 300
    log_every: int = 10
    """Steps between metrics lines, which are also when the guards look."""
    preview_every: int = 50
    checkpoint_every: int = 100
    skip_limit: int = 10
    """Consecutive non-finite steps after which the run rewinds to its last good state."""
    rewind_limit: int = 3
    collapse_limit: int = 5
    """Consecutive looks at an empty or fully opaque scene after which it is re-seeded, once."""
    capture: bool = True
    """Record the step in CUDA graphs. Nothing is recorded on the CPU."""

    def __post_init__(self) -> None:
        _check_numbers(self, "train", ("steps", "log_every", "skip_limit", "collapse_limit"), 1)
        _check_numbers(self, "train", ("preview_every", "checkpoint_every", "rewind_limit"), 0)
