"""Settings of the method "dream-fields": Jain et al. 2022, arXiv 2112.01455."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dfast.config.checks import Range, check, check_numbers, check_ranges

FOCAL, DISTANCE = 1111.11 / 800, 4.0
"""Focal length in image widths, and distance in world units, of the camera of which the paper's
opacity is spoken: config_base.py."""
ZOOM = 1.2
"""Factor on the focal length in training: focal_mult_range of config_base.py."""


@dataclass(frozen=True)
class DreamFieldsConfig:
    """Augmentations and transmittance of Dream Fields."""

    crops: int = 8
    """Random crops of each image, each before a background of its own, that the CLIP sees; 1 to
    256."""
    crop_size: float = 80.0 / 88.0
    """Side of a crop as a fraction of the image's, 0.1 to 1."""
    blur: Range = (0.0, 10.0)
    """(low, high) of the standard deviation of a background's blur in 224ths of its side, uniform;
    0 to 100. The kernel ends after 7 of them."""
    transmittance: float = 0.5
    """Weight >= 0 of the mean transmittance of an image, as far as it is below its target."""
    opacity: Range = (0.5, 0.1)
    """(start, end) of the mean opacity of an image up to which it costs nothing, 0.001 to 1,
    exponential over `opacity_until`; for a camera of the paper, and as the square of the size in
    the image for others."""
    opacity_until: float = 500 / 10000
    """Fraction of the run over which `opacity` changes, 0 to 1."""

    def __post_init__(self) -> None:
        check_numbers(self, "dream_fields", ("crops",), 1, 256)
        check_numbers(self, "dream_fields", ("crop_size",), 0.1, 1)
        check_numbers(self, "dream_fields", ("transmittance",), 0)
        check_numbers(self, "dream_fields", ("opacity_until",), 0, 1)
        check_ranges(self, "dream_fields", ("blur",), 0, 100)
        ok = all(1e-3 <= value <= 1 for value in self.opacity)
        check("dream_fields", "opacity", self.opacity, ok, "two numbers in [0.001, 1]")


def opacity_target(progress: float, config: DreamFieldsConfig) -> float:
    """Return the mean opacity that costs nothing at a fraction of the run.

    Args:
        progress: fraction of the run, in [0, 1].
        config: the target's ends.
    """
    start, end = config.opacity
    amount = 1.0 if config.opacity_until <= 0 else min(progress / config.opacity_until, 1.0)
    return float(start * (end / start) ** amount)


def settings(device: str, family: str) -> dict[str, Any]:
    """Return the settings of a run, the same on every device.

    Args:
        device: such as "cpu" or "cuda:1".
        family: of a prior: "", since a CLIP guides it.
    """
    fov = math.degrees(2.0 * math.atan(0.5 / (FOCAL * ZOOM)))
    return {
        "field": {
            "grid": {"interpolation": "linear", "max_resolution": 128, "log2_entries": 17},
        },
        "march": {"step_size": 2.0 * math.sqrt(3.0) / 192},
        "camera": {
            "views": 1,
            "distance": [DISTANCE, DISTANCE],
            "fov": [fov, fov],
            "elevation": [30.0, 30.0],
            "elevation_mode": "angle",
            "resolution": [[0.0, 88]],
        },
        "shading": {"albedo": 1.0, "diffuse": 0.0, "textureless": 0.0},
        "regularizer": {"orientation": [0.0, 0.0], "opacity": 0.0},
        "optimizer": {"warmup_steps": 0, "warmup_until": 1500 / 10000, "final": 1.0},
        "coarse_to_fine": {"levels_start": 8, "lowpass_std": [0.0, 0.0]},
        "train": {"steps": 10000, "preview_every": 500, "checkpoint_every": 1000},
    }
