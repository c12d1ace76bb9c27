"""Named configurations as plain tables; a setting that a table leaves out takes its default.

`Config.default`, `Config.dreamfusion` and `Config.for_prior` turn them into a `Config`.
"""

from __future__ import annotations

import math
import re
from typing import Any

from dfast.config.checks import device_parts
from dfast.config.parsing import overlay
from dfast.errors import ConfigError

Table = dict[str, Any]
"""Settings by name; a value is a number, a string, a bool, a list or a nested table."""

CPU: Table = {
    "field": {
        "grid": {"interpolation": "linear", "max_resolution": 48, "log2_entries": 17},
    },
    "guidance": {"scale": 3.0},
    "shading": {"albedo": 0.3, "diffuse": 0.35, "textureless": 0.35},
    "camera": {"elevation": [-35.0, 88.0]},
    "regularizer": {"normal_variation": 0.1, "darkness": [0.2, 0.03]},
    "optimizer": {"final": 0.2},
    "train": {"average_from": 0.75},
}
"""dfast's own settings on a CPU, 300 steps of 4 views, for the embedded prior.

What keeps surfaces smooth and colours right: a low guidance scale, whose noise is small; a table
without collisions; many textureless views; views from as low and as high as the prior was trained
on; equal normals of neighbouring pixels, late; the mean of the late parameters; and bright albedo,
less of it late. docs/experiments.md has the figures. These are not the defaults of the classes,
which stand for what a run of an older version has no setting for.
"""

CUDA: Table = overlay(
    CPU,
    {
        "train": {"steps": 1200, "preview_every": 200, "checkpoint_every": 400},
        "camera": {"views": 8},
        "regularizer": {"darkness": [0.1, 0.03]},
    },
)
"""dfast's own settings on a GPU.

It makes a step in milliseconds: previews and checkpoints at the intervals of a CPU would take as
long as the steps between them.
"""

PAPER_UNIT = 1.0 / 1.4
"""A unit of length of DreamFusion in world units: its bounding sphere has radius 1.4, dfast's 1."""

DREAMFUSION_GRID: Table = {
    "field": {
        "grid": {
            "levels": 16,
            "log2_entries": 19,
            "base_resolution": 16,
            "max_resolution": 2048,
        },
        "hidden": 64,
        "layers": 2,
        "density_activation": "exp",
        "density_scale": 1.4,
        "density_bias": -4.0,
        "blob": "gaussian",
        "blob_height": 5.0,
        "blob_width": 0.2 * PAPER_UNIT,
    },
    "background": {"kind": "mlp", "hidden": 32},
    "march": {"step_size": 2.0 / 256},
    "camera": {
        "distance": [1.0 * PAPER_UNIT, 1.5 * PAPER_UNIT],
        "fov": [41.0, 71.0],
        "elevation": [-10.0, 90.0],
        "position_jitter": 0.1 * PAPER_UNIT,
        "lookat_jitter": 0.2 * PAPER_UNIT,
        "up_jitter": 0.02,
        "resolution": [[0.0, 64]],
    },
    "light": {
        "distance": [0.8 * PAPER_UNIT, 1.5 * PAPER_UNIT],
        "spread": 0.8,
        "ambient": [0.1, 0.1],
    },
    "shading": {
        "albedo": 0.25,
        "diffuse": 0.375,
        "textureless": 0.375,
        "ambient_only": 1000 / 15000,
        "ramp": 0.0,
    },
    "guidance": {
        "scale": 100.0,
        "t_min": 0.02,
        "t_max": 0.98,
        "t_min_end": 0.02,
        "t_max_end": 0.98,
        "view_conditioning": "words",
    },
    "regularizer": {"orientation": [1e-4, 1e-2], "opacity": 1e-3},
    "optimizer": {"warmup_steps": 3000, "final": 0.01},
    "coarse_to_fine": {"levels_start": 16, "lowpass_std": [0.1, 0.002]},
    "train": {"steps": 15000, "preview_every": 500, "checkpoint_every": 1000},
}
"""About the values of DreamFusion (Poole et al. 2022), on the hash grid, with Adam."""

DREAMFUSION: Table = overlay(
    DREAMFUSION_GRID,
    {
        "field": {
            "kind": "ipe",
            "ipe": {
                "frequencies": 8,
                "base_frequency": 1.0 / PAPER_UNIT,
                "directions": "icosahedron",
                "width": 128,
                "blocks": 5,
            },
            "blob_on": "density",
        },
        "march": {"step_size": 2.0 / 64},
        "camera": {
            "fov": [math.degrees(2.0 * math.atan(0.5 / focal)) for focal in (1.35, 0.7)],
            "fov_mode": "focal",
        },
        "light": {"around": "position", "spread": 1.0 * PAPER_UNIT},
        "optimizer": {
            "lr_mlp": 1e-4,
            "lr_background": 1e-4,
            "warmup_steps": 0,
            "warmup_until": 3000 / 15000,
        },
        "coarse_to_fine": {
            "lowpass_std": [variance**0.5 * PAPER_UNIT for variance in (5e-2, 2e-3)],
            "lowpass_std_until": 5000 / 15000,
            "lowpass_linear_in": "variance",
        },
    },
)
"""DreamFusion as it was published (Poole et al. 2022, arXiv 2209.14988, appendix A), but for the
prior and the optimiser: Adam in place of Shampoo, with its peak learning rate and its schedule.

Its field is the paper's, many times slower than the hash grid. Samples are as far apart as the
standard deviation of the Gaussians that the field sees in the end, 1/32. The paper's four views of
a step, one on each of four chips, are four views here. Schedules are fractions of the run: it can
be shortened.
"""

CLOSED_WORLD: Table = {
    "camera": {
        "distance": [2.8, 3.2],
        "fov": [38.0, 42.0],
        "fov_mode": "angle",
        "position_jitter": 0.03,
        "lookat_jitter": 0.03,
    },
    "guidance": {"scale": 10.0},
}
"""What differs from DreamFusion's values with the embedded prior.

It has seen whole objects in the middle of the image. The paper's cameras stand inside the unit
sphere and look past its middle, so that a field under this prior becomes a fog around them; and its
guidance scale is for a prior that follows prompts less closely.
"""

PRETRAINED: Table = overlay(
    {
        key: table
        for key, table in DREAMFUSION_GRID.items()
        if key not in ("background", "optimizer")
    },
    {
        "field": {
            "density_activation": "softplus",
            "density_scale": 1.0,
            "density_bias": 0.0,
            "blob": "linear",
            "blob_height": 10.0,
            "blob_width": 0.5,
        },
        "march": {"step_size": 2.0 / 128},
        "camera": {"views": 1, "distance": [1.5, 2.0], "fov": [40.0, 70.0]},
        "light": {"distance": [1.2, 2.0]},
        "shading": {"ambient_only": 0.1},
        "guidance": {"view_conditioning": "camera"},
        "train": {"steps": 10000},
    },
)
"""DreamFusion's values with what became usual for pretrained models on one GPU.

One view of 64 pixels a step, 10000 steps, Adam's learning rates as by default, view prompts blended
by azimuth, cameras that see the whole scene, and a blob that ends (threestudio's), so that rays are
not marched through the empty rest. Samples are half a pixel apart. The background is a random
colour: a learned one can paint the object itself, since what a ray through the origin shows depends
on its direction alone.
"""

MVDREAM: Table = overlay(
    PRETRAINED,
    {
        "camera": {
            "views": 4,
            "ring": 4,
            "distance": [2.3, 2.7],
            "fov": [38.0, 42.0],
            "elevation": [0.0, 30.0],
            "position_jitter": 0.0,
            "lookat_jitter": 0.0,
            "up_jitter": 0.0,
            "resolution": [[0.0, 64], [0.5, 256]],
        },
        "guidance": {
            "t_min": 0.97,
            "t_max": 0.98,
            "t_min_end": 0.02,
            "t_max_end": 0.5,
            "t_until": 0.8,
            "weighting": "x0",
            "rescale": 0.5,
        },
    },
)
"""The values of MVDream (Shi et al. 2023) on the hash grid: four views 90 degrees apart, as low as
in its training, from where the object fills the image; noise that falls from the highest level; the
error of the denoised image, half of it with the spread that it has under the prompt.

MVDream's angles of view are 15 to 60 degrees, and its distances follow from them. Here they are
drawn by themselves, so the angles stay near 40 degrees, which it is shown at.
"""

_TRANSFORMERS = ("pixart", "sd3", "sana", "lumina2", "z-image", "flux2", "prx", "qwen-image", "wan")
SCALES = {
    "sd": 100.0, "sdxl": 100.0, "if": 20.0, "mvdream": 49.0, **dict.fromkeys(_TRANSFORMERS, 100.0)
}  # fmt: skip
"""Guidance scale w by family: latent models (RFDS has 100 for Stable Diffusion 3 as well),
DeepFloyd's pixels, and MVDream, whose 50 is 1 + w."""

NAMES = ("default", "dreamfusion", "dreamfusion-grid")
"""Presets that can be named, as on the command line."""

_FAMILY = re.compile(
    r"(shapes)|(sdxl)|(sd3)5?(?:-\w+)?|(sd)\d*|(if)(?:-\w+)?|(mvdream)|"
    rf"({'|'.join(name for name in _TRANSFORMERS if name != 'sd3')})(?:-[\w.]+)?"
)
"""Families of priors, and how the short names of their models are made."""


def default(device: str) -> Table:
    """Return dfast's own settings for a device such as "cpu" or "cuda:1".

    Raises:
        ConfigError: it is the name of no device.
    """
    found = device_parts(device)
    if found is None:
        raise ConfigError(f"device: expected cpu, cuda or cuda:N, got {device!r}")
    return CPU if found[0] == "cpu" else CUDA


def named(name: str, device: str, family: str = "") -> Table:
    """Return the preset called `name`, one of `NAMES`.

    Args:
        name: the preset.
        device: the device of the run, such as "cpu" or "cuda:1".
        family: of the prior; with "shapes" DreamFusion's presets have the changes of
            `CLOSED_WORLD`.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in NAMES:
        raise ConfigError(f"preset: expected one of {', '.join(NAMES)}, got {name!r}")
    if name == "default":
        return default(device)
    table = DREAMFUSION if name == "dreamfusion" else DREAMFUSION_GRID
    return overlay(table, CLOSED_WORLD) if family == "shapes" else table


def for_prior(family: str) -> Table:
    """Return the settings for a family of priors.

    Args:
        family: "shapes" or a key of `SCALES`, or a short name of a model such as "sd15" or "if-m".

    Raises:
        ConfigError: there is no such family.
    """
    match = _FAMILY.fullmatch(family) if isinstance(family, str) else None
    if match is None:
        known = ", ".join(map(repr, SCALES))
        raise ConfigError(f"family: expected 'shapes', {known}, got {family!r}")
    kind = next(group for group in match.groups() if group)
    if kind == "shapes":
        return CPU
    own = MVDREAM if kind == "mvdream" else PRETRAINED
    return overlay(own, {"guidance": {"scale": SCALES[kind]}})
