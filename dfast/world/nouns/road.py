"""Vehicles of road and rail."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

ROAD: dict[str, Noun] = {}
"""Its nouns."""
