"""Settings of the method "clip-mesh": Khalid et al. 2022, arXiv 2203.13333."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dfast.config.checks import Range, check, check_numbers, check_ranges

UNIT = 0.5
"""A unit of length of CLIP-Mesh in world units: its sphere has radius 1 and grows, and objects of
dfast are in the unit sphere."""


@dataclass(frozen=True)
class ClipMeshConfig:
    """The mesh of CLIP-Mesh, its optimiser and its losses."""

    control: int = 16
    """Parts of each edge of the octahedron whose 4 n^2 + 2 vertices are the control vertices, 1 to
    64."""
    subdivisions: int = 1
    """Steps of Loop's subdivision before the vertices are moved to the limit surface, 0 to 3."""
    radius: float = UNIT
    """Of the sphere at the beginning, world units, 0.01 to 1."""
    texels: int = 512
    """Of texture and normal map along a side, 16 to 4096."""
    smoothing: float = 3.0
    """Standard deviation, in texels, of the blur through which both maps are seen, 0 to 100. The
    kernel ends after 2 texels."""
    lr_vertices: float = 0.01 * UNIT
    """Learning rate of the control vertices at the start, >= 0."""
    lr_maps: float = 0.01
    """Learning rate of texture and normal map at the start, >= 0."""
    lr_final: float = 0.1
    """Learning rates at the end of the run as a fraction of those at the start, exponential
    between; 0.0001 to 1."""
    laplacian: Range = (30.0, 0.6)
    """(start, least) of the weight >= 0 of the uniform Laplacian of the control vertices."""
    laplacian_decay: float = 12.5
    """Powers of ten by which the first weight has come near the least one at the end of the run, as
    the square of its fraction; >= 0."""
    textureless_until: float = 0.5
    """Fraction of the run, 0 to 1, from its start, in which the second half of a step's views show
    a grey object."""
    offset: float = 2.0 * UNIT
    """Largest shift of the object along the horizontal x and the vertical z, uniform, world units,
    >= 0."""
    blur: Range = (0.875, 2.1875)
    """(low, high) of the standard deviation of a background's blur in 224ths of its side, uniform;
    0 to 100. The kernel ends after 7 of them."""

    def __post_init__(self) -> None:
        name = "clip_mesh"
        check_numbers(self, name, ("control",), 1, 64)
        check_numbers(self, name, ("subdivisions",), 0, 3)
        check_numbers(self, name, ("radius",), 0.01, 1)
        check_numbers(self, name, ("texels",), 16, 4096)
        check_numbers(self, name, ("smoothing",), 0, 100)
        check_numbers(self, name, ("lr_vertices", "lr_maps", "laplacian_decay", "offset"), 0)
        check_numbers(self, name, ("lr_final",), 1e-4, 1)
        check_numbers(self, name, ("textureless_until",), 0, 1)
        check_ranges(self, name, ("blur",), 0, 100)
        ok = all(weight >= 0 for weight in self.laplacian)
        check(name, "laplacian", self.laplacian, ok, "two numbers >= 0")


def laplacian_weight(progress: float, config: ClipMeshConfig) -> float:
    """Return the weight of the Laplacian at a fraction of the run.

    The paper's code multiplies the distance to the least weight by 10^(-1e-6 i) at step i: after i
    of 5000 steps the product is 10^(-12.5 (i / 5000)^2).

    Args:
        progress: fraction of the run, in [0, 1].
        config: weights and decay.
    """
    start, least = config.laplacian
    return least + (start - least) * float(10.0 ** (-config.laplacian_decay * progress**2))


def rate_factor(progress: float, config: ClipMeshConfig) -> float:
    """Return the factor of the learning rates at a fraction of the run.

    Args:
        progress: fraction of the run, in [0, 1].
        config: its final value.
    """
    return float(config.lr_final**progress)


def settings(device: str, family: str) -> dict[str, Any]:
    """Return the settings of a run, the same on every device.

    Args:
        device: such as "cpu" or "cuda:1".
        family: of a prior: "", since a CLIP guides it.
    """
    return {
        "camera": {
            "views": 25,
            "distance": [5.0 * UNIT, 12.0 * UNIT],
            "fov": [30.0, 90.0],
            "elevation": [0.0, 90.0],
            "elevation_mode": "beta",
            "stratified": False,
            "resolution": [[0.0, 512]],
        },
        "light": {"distance": [5.0 * UNIT, 12.0 * UNIT], "ambient": [0.3, 0.3]},
        "shading": {
            "albedo": 0.0,
            "diffuse": 1.0,
            "textureless": 0.0,
            "ambient_only": 0.0,
            "ramp": 0.0,
        },
        "optimizer": {"betas": [0.9, 0.999], "eps": 1e-8},
        "train": {"steps": 5000, "preview_every": 250, "checkpoint_every": 500},
    }
