"""Whole numbers written as fractions are whole, others are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dfast.nn import HashGrid, OccupancyGrid, SphericalHarmonics
from dfast.ops import FieldSpec, GridSpec

MAKERS: dict[str, tuple[Callable[..., Any], int]] = {
    "levels": (GridSpec, 4),
    "features": (GridSpec, 4),
    "log2_entries": (GridSpec, 10),
    "base_resolution": (GridSpec, 4),
    "max_resolution": (GridSpec, 32),
    "dimensions": (GridSpec, 2),
    "width": (FieldSpec, 16),
    "layers": (FieldSpec, 1),
    "degree": (SphericalHarmonics, 3),
    "resolution": (OccupancyGrid, 16),
}


@pytest.mark.parametrize("name", MAKERS)
def test_fractions_without_a_rest_are_taken(name: str) -> None:
    make, value = MAKERS[name]
    assert type(getattr(make(**{name: float(value)}), name)) is int
    assert getattr(make(**{name: float(value)}), name) == value


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("value", [2.5, float("nan"), float("inf"), "4", None, True, [4]])
def test_others_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be") as error:
        MAKERS[name][0](**{name: value})
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("needs_native")
def test_a_grid_of_such_numbers_encodes() -> None:
    made: Any = HashGrid(levels=2.0, features=2.0, log2_entries=8.0)  # type: ignore[arg-type]
    assert made(torch.rand(5, 3)).shape == (5, 4)
