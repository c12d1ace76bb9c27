"""Points and directions that no module takes: one line that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dfast import nn

pytestmark = pytest.mark.usefixtures("needs_native")


def _render(origins: Tensor, directions: Tensor) -> Any:
    def field(points: Tensor) -> tuple[Tensor, Tensor]:
        return points[:, 0].square(), points

    return nn.VolumeRenderer(nn.OccupancyGrid(16), step_size=0.1)(field, origins, directions)


RAY = torch.tensor([[-2.0, 0.0, 0.0]])
MODULES: dict[str, tuple[Callable[[Tensor], Any], str, int]] = {
    "HashGrid": (lambda x: nn.HashGrid(2, log2_entries=6)(x), "x", 3),
    "HashGrid of two": (lambda x: nn.HashGrid(2, dimensions=2, log2_entries=6)(x), "x", 2),
    "Field": (lambda x: nn.Field()(x), "x", 3),
    "SphericalHarmonics": (lambda x: nn.SphericalHarmonics()(x), "directions", 3),
    "VolumeRenderer, origins": (lambda x: _render(x, -RAY), "origins", 3),
    "VolumeRenderer, directions": (lambda x: _render(RAY, x), "directions", 3),
}


@pytest.mark.parametrize("name", MODULES)
def test_vectors_are_checked_before_they_are_reshaped(name: str) -> None:
    call, argument, size = MODULES[name]
    for shape in ((size,), (2, size), (2, 3, size), (0, size)):
        call(torch.rand(shape))
    for shape in ((), (6, size + 1), (3, 2, 2, size + 1), (size, 6), (6, 0)):
        with pytest.raises(
            ValueError, match=rf"^{argument} must have shape \[\.\.\., {size}\], got"
        ):
            call(torch.rand(shape))
    for sparse in (torch.rand(4, size).to_sparse(), torch.rand(4, size).to_sparse_csr()):
        with pytest.raises(ValueError, match=f"^{argument} must be a dense tensor, got a sparse"):
            call(sparse)
