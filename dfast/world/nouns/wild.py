"""Wild and fabulous animals of the land."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

WILD: dict[str, Noun] = {}
"""Its nouns."""
