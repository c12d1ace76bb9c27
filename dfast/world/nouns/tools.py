"""Tools, instruments of science, weapons."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

TOOLS: dict[str, Noun] = {}
"""Its nouns."""
