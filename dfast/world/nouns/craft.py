"""Vehicles of water, air and space."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

CRAFT: dict[str, Noun] = {}
"""Its nouns."""
