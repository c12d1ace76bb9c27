"""People and figures."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

PEOPLE: dict[str, Noun] = {}
"""Its nouns."""
