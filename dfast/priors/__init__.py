"""Diffusion priors: one a file behind the protocol in `base`."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import PriorError
from .base import Condition, Prior

__all__ = ["Condition", "Prior", "check_prior", "load_prior"]


def load_prior(name: str, device: torch.device) -> Prior:
    """The prior called `name` on `device`. Raises PriorError when there is none, or its files are
    missing.
    """
    if name == "shapes":
        from .shapes import ShapesPrior

        return ShapesPrior(device=device)
    raise PriorError(f"prior: expected 'shapes' or an object with the Prior protocol, got {name!r}")


def check_prior(prior: Any) -> Prior:
    """`prior` itself. Raises PriorError when it lacks something of the protocol."""
    needed = ("name", "image_size", "alphas", "embed", "predict_noise")
    missing = [name for name in needed if not hasattr(prior, name)]
    if missing or isinstance(prior, type):
        got = f"the class {prior.__name__}" if isinstance(prior, type) else type(prior).__name__
        lacks = f" without {', '.join(missing)}" if missing else ""
        raise PriorError(
            f"prior: expected 'shapes' or an object with the Prior protocol, got {got}{lacks}"
        )
    return prior
