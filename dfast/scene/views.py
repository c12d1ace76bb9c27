"""How a view is told in words: which of `VIEW_WORDS` each camera is, and by how much.

Headings are degrees from the object's front; a heading of 90 is either side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

VIEW_WORDS = ("front", "side", "back", "overhead")
"""The four views of view-dependent prompting (DreamFusion, section 3.3)."""

OVERHEAD = (60.0, 75.0)
"""Elevations in degrees between which the overhead view comes in."""


def heading(azimuth: Tensor) -> Tensor:
    """Degrees from the front, in [0, 180], of azimuths in degrees."""
    return ((azimuth + 180.0) % 360.0 - 180.0).abs()


def view_weights(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """How much of each of `VIEW_WORDS` a camera shows, [B,4], adding up to one.

    Linear in the heading from front to side to back, and linear in the elevation over `OVERHEAD`
    from there to overhead. azimuth, elevation [B] in degrees.
    """
    quarter = heading(azimuth) / 90.0
    front, back = (1.0 - quarter).clamp(min=0.0), (quarter - 1.0).clamp(min=0.0)
    low, high = OVERHEAD
    above = ((elevation - low) / (high - low)).clamp(0.0, 1.0)
    around = torch.stack([front, 1.0 - front - back, back], -1) * (1.0 - above)[:, None]
    return torch.cat([around, above[:, None]], -1)


def against(azimuth: Tensor) -> tuple[Tensor, Tensor]:
    """The two views that Perp-Neg leads away from, indices [B] each into `VIEW_WORDS`.

    They are front and side for every camera; from which, and by how much, is for
    `perp_neg_weights`: nothing is gained by leading a camera away from the back.
    """
    near = torch.zeros_like(azimuth, dtype=torch.int64)
    return near, near + 1


def perp_neg_weights(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """How strongly Perp-Neg leads a camera away from each of `against`, [2,B] >= 0.

    Continuous in the heading, as Armandpour et al. 2023 have it with the exponential decays that
    became usual: a camera at the front is led away from the side, one at the side from the front,
    and one at the back from the front most (1.97) and the side a little (0.39). Both fade out
    towards overhead as in `view_weights`. azimuth, elevation [B] in degrees.
    """
    quarter, none = heading(azimuth) / 90.0, math.exp(-0.5)
    ahead, behind = quarter.clamp(max=1.0), (quarter - 1.0).clamp(min=0.0)
    past = torch.exp(-0.5 * (1.0 - behind)) - none  # 0 at the side, 0.39 at the back
    front = 4.0 * (torch.exp(-0.5 * (1.0 - ahead)) - none) + past
    side = 4.0 * (torch.exp(-0.5 * ahead) - none) + past
    low, high = OVERHEAD
    above = ((elevation - low) / (high - low)).clamp(0.0, 1.0)
    return torch.stack([front, side]) * (1.0 - above)


def view_index(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """The paper's rule, index into VIEW_WORDS [B]: overhead above 60 degrees, else front (within 45
    of 0), back (within 45 of 180) or side.
    """
    heading = ((azimuth + 180.0) % 360.0 - 180.0).abs()
    around = torch.where(heading <= 45.0, 0, torch.where(heading >= 135.0, 2, 1))
    return torch.where(elevation > 60.0, 3, around)


def view_words(azimuth: float, elevation: float) -> str:
    """The caption ending of one camera, such as "front view"; see `view_index`."""
    index = view_index(torch.tensor(azimuth), torch.tensor(elevation))
    return f"{VIEW_WORDS[int(index)]} view"
