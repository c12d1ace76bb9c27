"""Furniture and large appliances."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

FURNITURE: dict[str, Noun] = {}
"""Its nouns."""
