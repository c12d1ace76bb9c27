"""Which of the four views of view-dependent prompting a camera shows, and by how much.

The heading is the angle in degrees between the camera's azimuth and the object's front, in
[0, 180]: 90 is either side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

VIEW_WORDS = ("front", "side", "back", "overhead")
"""The four views of view-dependent prompting (DreamFusion, arXiv 2209.14988, section 3.3)."""

OVERHEAD = (60.0, 75.0)
"""Elevations in degrees between which the overhead view fades in."""


def heading(azimuth: Tensor) -> Tensor:
    """Return the heading in degrees, in [0, 180], of azimuths in degrees of any shape."""
    return ((azimuth + 180.0) % 360.0 - 180.0).abs()


def view_weights(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Return the share of each of `VIEW_WORDS` in what a camera shows.

    The shares are linear in the heading from front to side to back, and linear in the elevation
    over `OVERHEAD` from there to overhead.

    Args:
        azimuth: [B] degrees.
        elevation: [B] degrees.

    Returns:
        [B, 4] in [0, 1]; each row adds up to 1.
    """
    quarter = heading(azimuth) / 90.0
    front, back = (1.0 - quarter).clamp(min=0.0), (quarter - 1.0).clamp(min=0.0)
    low, high = OVERHEAD
    above = ((elevation - low) / (high - low)).clamp(0.0, 1.0)
    around = torch.stack([front, 1.0 - front - back, back], -1) * (1.0 - above)[:, None]
    return torch.cat([around, above[:, None]], -1)


def perp_neg_views(azimuth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the two negative view prompts that Perp-Neg uses: front and side.

    They are the same for every camera; `perp_neg_weights` sets their strength per camera. The back
    view is never used as a negative.

    Args:
        azimuth: [B] degrees.

    Returns:
        Two int64 [B] tensors, indices into `VIEW_WORDS`.
    """
    front = torch.zeros_like(azimuth, dtype=torch.int64)
    return front, front + 1


def perp_neg_weights(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Return the strength of each of the two negative view prompts of Perp-Neg.

    The weights are continuous in the heading, as Armandpour et al. 2023 (arXiv 2304.04968) have
    them, with the exponential decays that became usual. At the front the negative is the side; at
    the side it is the front; at the back it is the front most of all (1.97) and the side a little
    (0.39). Both fade out towards overhead as in `view_weights`.

    Args:
        azimuth: [B] degrees.
        elevation: [B] degrees.

    Returns:
        [2, B], >= 0: the weights of the front view and of the side view.
    """
    quarter, floor = heading(azimuth) / 90.0, math.exp(-0.5)
    ahead, behind = quarter.clamp(max=1.0), (quarter - 1.0).clamp(min=0.0)
    past = torch.exp(-0.5 * (1.0 - behind)) - floor  # 0 at the side, 0.39 at the back
    front = 4.0 * (torch.exp(-0.5 * (1.0 - ahead)) - floor) + past
    side = 4.0 * (torch.exp(-0.5 * ahead) - floor) + past
    low, high = OVERHEAD
    above = ((elevation - low) / (high - low)).clamp(0.0, 1.0)
    return torch.stack([front, side]) * (1.0 - above)


def view_index(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Return the view of each camera by DreamFusion's rule.

    Overhead is above 60 degrees of elevation; otherwise front is within 45 degrees of azimuth 0,
    back within 45 degrees of 180, and side is the rest.

    Args:
        azimuth: [B] degrees.
        elevation: [B] degrees.

    Returns:
        int64 [B], indices into `VIEW_WORDS`.
    """
    angle = heading(azimuth)
    around = torch.where(angle <= 45.0, 0, torch.where(angle >= 135.0, 2, 1))
    return torch.where(elevation > 60.0, 3, around)


def view_words(azimuth: float, elevation: float) -> str:
    """Return the ending of a camera's prompt, such as "front view"; see `view_index`.

    Args:
        azimuth: degrees.
        elevation: degrees.
    """
    index = view_index(torch.tensor(azimuth), torch.tensor(elevation))
    return f"{VIEW_WORDS[int(index)]} view"
