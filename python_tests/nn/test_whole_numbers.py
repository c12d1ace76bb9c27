"""Numbers that must be whole are refused by name where they are not, never used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dfast.nn import OccupancyGrid, SphericalHarmonics
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
def test_integers_of_numpy_are_whole(name: str) -> None:
    make, value = MAKERS[name]
    assert getattr(make(**{name: np.int64(value)}), name) == value


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("value", [2.0, 2.5, float("nan"), float("inf"), "4", None, True, [4]])
def test_others_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be") as error:
        MAKERS[name][0](**{name: value})
    assert "\n" not in str(error.value)
