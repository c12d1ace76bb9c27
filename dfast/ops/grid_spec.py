"""The shape of a multiresolution hash grid, and how it is passed to the operators."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from functools import cache, cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from dfast import _native
from dfast._numbers import shown, whole


@dataclass(frozen=True)
class GridSpec:
    """The shape of a hash grid (Instant-NGP, arXiv 2201.05989).

    Level l has ``base_resolution * b^l`` cells a side, where b is chosen such that the last level
    has ``max_resolution``. The grid position of a point x in [0, 1] is ``x * scale_l + 0.5``, with
    ``scale_l`` one less than the number of cells. The outer cells therefore lie half outside
    [0, 1], and no vertex of any level lies on a face of the cube. Levels whose vertices fit into
    ``2^log2_entries`` rows are indexed directly (dense), the others are hashed. All levels share
    one table [entries, features].

    Args:
        levels: number of levels, 1 to 32.
        features: numbers in a table row: 1, 2, 4 or 8.
        log2_entries: log2 of the largest number of rows of one level, 4 to 24.
        base_resolution: cells a side of the coarsest level, at least 2.
        max_resolution: cells a side of the finest level, base_resolution to 65536.
        interpolation: "linear", whose gradient jumps at cell faces, or "smoothstep", whose
            gradient is continuous and zero there.
        dimensions: of the points, 2 or 3. In two dimensions a dense level has resolution^2 rows and
            a cell four corners.

    Raises:
        ValueError: naming the member that is out of range.
    """

    levels: int = 8
    features: int = 2
    log2_entries: int = 15
    base_resolution: int = 8
    max_resolution: int = 128
    interpolation: Literal["linear", "smoothstep"] = "linear"
    dimensions: Literal[2, 3] = 3

    def __post_init__(self) -> None:
        for name, low, high in (
            ("levels", 1, 32),
            ("log2_entries", 4, 24),
            ("base_resolution", 2, 65536),
            ("max_resolution", self.base_resolution, 65536),
        ):
            _native.whole_number(name, getattr(self, name), low, high)
        if whole(self.features) not in (1, 2, 4, 8):
            raise ValueError(f"features must be 1, 2, 4 or 8, got {shown(self.features)}")
        if whole(self.dimensions) not in (2, 3):
            raise ValueError(f"dimensions must be 2 or 3, got {shown(self.dimensions)}")
        if self.interpolation not in ("linear", "smoothstep"):
            raise ValueError(
                f"interpolation must be 'linear' or 'smoothstep', got {self.interpolation!r}"
            )

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Cells per unit of x of each level: the grid position of x is ``x * scale + 0.5``."""
        ratio = self.max_resolution / self.base_resolution
        last = max(self.levels - 1, 1)
        return tuple(self.base_resolution * ratio ** (l / last) - 1.0 for l in range(self.levels))

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Vertices a side of each level: one more than the cells that touch [0, 1]."""
        return tuple(math.floor(scale + 0.5) + 2 for scale in self.scales)

    @cached_property
    def dense(self) -> tuple[bool, ...]:
        """Whether each level is indexed directly instead of hashed."""
        return tuple(r**self.dimensions <= 2**self.log2_entries for r in self.resolutions)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each level, and the number of all rows: levels + 1 numbers."""
        rows = [0]
        for resolution, dense in zip(self.resolutions, self.dense, strict=True):
            # Levels start at multiples of 8 rows, so that neighbours along x are read together.
            vertices = resolution**self.dimensions
            size = -(-vertices // 8) * 8 if dense else 2**self.log2_entries
            rows.append(rows[-1] + size)
        return tuple(rows)

    @property
    def entries(self) -> int:
        """Rows of the table."""
        return self.offsets[-1]

    @property
    def outputs(self) -> int:
        """Width of the encoding, levels * features."""
        return self.levels * self.features

    @property
    def smooth(self) -> bool:
        """Whether the interpolation is smoothstep."""
        return self.interpolation == "smoothstep"


def check_inputs(
    x: Tensor,
    table: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None,
    table_half: Tensor | None,
) -> None:
    """Check the arguments that all hash grid operators share.

    Args:
        x: [N, spec.dimensions] points, float32 or float64.
        table: [spec.entries, spec.features], dtype of x.
        spec: the grid.
        level_weights: [levels], dtype of x, or None.
        table_half: float16 copy of ``table``, or None; x must then be float32.

    Raises:
        ValueError: on a wrong shape, dtype or device, naming the argument.
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64, got {x.dtype}")
    _native.contiguous("x", x.detach(), (None, spec.dimensions), x)
    shape = (spec.entries, spec.features)
    _native.contiguous("table", table.detach(), shape, x)
    if level_weights is not None:
        _native.contiguous("level_weights", level_weights.detach(), (spec.levels,), x)
    if table_half is None:
        return
    if x.dtype != torch.float32:
        raise ValueError(f"table_half needs float32 x, got {x.dtype}")
    if (
        table_half.dtype != torch.float16
        or tuple(table_half.shape) != shape
        or table_half.device != x.device
    ):
        raise ValueError(
            f"table_half must be float16 of shape {list(shape)} on {x.device}, got "
            f"{table_half.dtype} {list(table_half.shape)} on {table_half.device}"
        )


def pack(spec: GridSpec) -> list[int]:
    """Return the spec as seven integers, which an operator's schema can carry."""
    return [*astuple(spec)[:5], int(spec.smooth), spec.dimensions]


@cache
def unpack(packed: tuple[int, ...]) -> tuple[GridSpec, Any]:
    """Return the spec of packed integers and its ``HashGrid`` of the extension."""
    levels, features, log2_entries, base, finest, smooth, dimensions = packed
    kind: Literal["linear", "smoothstep"] = "smoothstep" if smooth else "linear"
    planar: Literal[2, 3] = 2 if dimensions == 2 else 3
    spec = GridSpec(levels, features, log2_entries, base, finest, kind, planar)
    native = _native.library().HashGrid(
        features=spec.features,
        smooth=spec.smooth,
        scales=spec.scales,
        resolutions=spec.resolutions,
        offsets=spec.offsets,
        dense=spec.dense,
        dimensions=spec.dimensions,
    )
    return spec, native


def aligned(tensor: Tensor | None) -> Tensor | None:
    """Return the tensor contiguous and on a 16-byte boundary, where whole rows can be read."""
    if tensor is None:
        return None
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()
