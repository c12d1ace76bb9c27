"""The multiresolution hash encoding as a module."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dfast._native import vectors
from dfast.ops import transforms
from dfast.ops.hashgrid import GridSpec, hash_encode


class HashGrid(nn.Module):
    """Trainable features on grids of rising resolution, interpolated (arXiv 2201.05989).

    The defaults are those of the paper. The encoding is computed and returned in the dtype of
    `table`, float32 unless it is changed, also under autocast, whose layers then cast it. It is
    differentiable twice in the table and in the points.

    >>> model = torch.nn.Sequential(grid := HashGrid(levels=4), torch.nn.Linear(grid.output_dim, 1))
    >>> list(model(torch.rand(2, 5, 3)).shape)
    [2, 5, 1]

    Attributes:
        spec: shape of the grid.
        table: [entries, features] features of all levels.
    """

    def __init__(
        self,
        levels: int = 16,
        features: int = 2,
        *,
        dimensions: Literal[2, 3] = 3,
        log2_entries: int = 19,
        base_resolution: int = 16,
        max_resolution: int = 2048,
        interpolation: Literal["linear", "smoothstep"] = "linear",
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Make a grid with random features.

        Args:
            levels: grids, 1..32.
            features: numbers a vertex holds: 1, 2, 4 or 8.
            dimensions: of the points.
            log2_entries: 4..24, log2 of the most vertices a level stores; larger ones are hashed.
            base_resolution: cells a side of the coarsest level, >= 2.
            max_resolution: cells a side of the finest level, base_resolution..65536.
            interpolation: "smoothstep" has a continuous derivative in the points.
            generator: draws the features, on the host.
            device: where the table lives.
            dtype: float32 or float64.

        Raises:
            ValueError: naming the argument that is out of range.
        """
        super().__init__()
        self.spec = GridSpec(
            levels=levels,
            features=features,
            log2_entries=log2_entries,
            base_resolution=base_resolution,
            max_resolution=max_resolution,
            interpolation=interpolation,
            dimensions=dimensions,
        )
        shape = (self.spec.entries, self.spec.features)
        self.table = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters(generator)

    @property
    def input_dim(self) -> int:
        """Coordinates of a point: 2 or 3."""
        return self.spec.dimensions

    @property
    def output_dim(self) -> int:
        """Width of the encoding, levels * features."""
        return self.spec.outputs

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw features uniformly in [-1e-4, 1e-4], on the host, as the paper does."""
        draw = torch.rand(self.table.shape, generator=generator, dtype=self.table.dtype)
        self.table.copy_((2.0 * draw - 1.0) * 1e-4)

    def forward(self, x: Tensor, level_weights: Tensor | None = None) -> Tensor:
        """Encode points.

        Args:
            x: [..., dimensions] in [0, 1]; outside, the border cell is extrapolated.
            level_weights: [levels] factors on the levels' features, or None for all ones.

        Returns:
            [..., output_dim], levels outside, features inside, in the dtype of `table`.
        """
        vectors("x", x, self.input_dim)
        if transforms.autocast_enabled(x):
            x = x.to(self.table.dtype)
            level_weights = None if level_weights is None else level_weights.to(self.table.dtype)
        flat = hash_encode(x.reshape(-1, self.input_dim), self.table, self.spec, level_weights)
        return flat.view(*x.shape[:-1], self.output_dim)

    def extra_repr(self) -> str:
        """Return the shape for `print`."""
        s = self.spec
        return (
            f"dimensions={s.dimensions}, levels={s.levels}, features={s.features}, "
            f"resolution={s.base_resolution}..{s.max_resolution}, entries={s.entries}"
        )
