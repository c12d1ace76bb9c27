"""Musical instruments, toys and sports."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

PLAY: dict[str, Noun] = {}
"""Its nouns."""
