"""Animals that swim, fly or crawl."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

SEA_AND_AIR: dict[str, Noun] = {}
"""Its nouns."""
