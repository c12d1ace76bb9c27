"""What the paper printed, to stand beside what was measured. It is not comparable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of DreamFusion's table 1: R-Precision in percent, None where the paper has none."""

    method: str
    color: tuple[float | None, float | None, float | None]
    """Of CLIP B/32, B/16 and L/14, of renderings with colour."""
    geometry: tuple[float | None, float | None, float | None]
    """Of the same, of renderings without texture."""


TABLE1 = (
    Published("Ground-truth images", (77.1, 79.1, None), (None, None, None)),
    Published("Dream Fields", (68.3, 74.2, None), (None, None, None)),
    Published("Dream Fields (reimplemented)", (78.6, 99.9, 82.9), (1.3, 0.8, 1.4)),
    Published("CLIP-Mesh", (67.8, 75.8, 74.5), (None, None, None)),
    Published("DreamFusion", (75.1, 77.5, 79.7), (42.5, 46.6, 58.5)),
)
"""Poole et al. 2022, arXiv 2209.14988, table 1."""
SOURCE = (
    "Poole et al. 2022 (arXiv 2209.14988), table 1: 153 captions of COCO, Imagen as the prior. The "
    "reimplemented Dream Fields was trained with B/16. These numbers are of other prompts, priors "
    "and views, and cannot be compared with those above."
)
