"""Clothing and what is worn."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

WEAR: dict[str, Noun] = {}
"""Its nouns."""
