"""Fruit and vegetables."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

PRODUCE: dict[str, Noun] = {}
"""Its nouns."""
