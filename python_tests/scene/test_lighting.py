"""Lighting that is not drawn."""

from __future__ import annotations

import pytest

from dfast.scene.cameras import orbit
from dfast.scene.lighting import fixed_lighting


def test_unknown_shading_mode_is_named() -> None:
    with pytest.raises(ValueError, match="shading: expected one of albedo, diffuse, textureless"):
        fixed_lighting("shiny", orbit(1))
