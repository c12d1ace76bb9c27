"""Diffusion priors: one a file behind the protocol in `base`."""

from __future__ import annotations

import torch

from ..errors import PriorError
from .base import Condition, Prior

__all__ = ["Condition", "Prior", "load_prior"]


def load_prior(name: str, device: torch.device) -> Prior:
    """The prior called `name` on `device`. Raises PriorError when there is none, or its files are
    missing.
    """
    if name == "shapes":
        from .shapes import ShapesPrior

        return ShapesPrior(device=device)
    raise PriorError(f"prior: expected 'shapes' or an object with the Prior protocol, got {name!r}")
