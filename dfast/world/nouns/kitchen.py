"""Dishes, cutlery and kitchen machines."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

KITCHEN: dict[str, Noun] = {}
"""Its nouns."""
