"""Diffusion priors: one a file behind the protocol in `base`."""

from __future__ import annotations

import os
from typing import Any

import torch

from dfast._device import pick_device
from dfast.config import PriorConfig
from dfast.errors import ConfigError, PriorError
from dfast.priors.base import Condition, Prior, PromptEmbedding

__all__ = ["Condition", "Prior", "PromptEmbedding", "check_prior", "family_of", "load_prior"]


def load_prior(
    name: str,
    device: str | torch.device,
    *,
    download: bool = False,
    options: PriorConfig | None = None,
) -> Prior:
    """The prior called `name` on `device`; only small files are read before its first use.

    name: "shapes" (embedded), a short name of `dfast.priors.loading.catalog`, a diffusers folder,
    or a hub id "owner/name". download: fetch what is not on this machine, after saying what, on which terms
    and how large; without it the network is never touched. options: None is `PriorConfig()`.

    Raises PriorError when there is none, or its files are missing, damaged or of another family;
    DeviceError, NativeMissingError and ConfigError for a device or options that cannot be.
    """
    _check_name(name)
    where = pick_device(device)
    if options is not None and not isinstance(options, PriorConfig):
        raise ConfigError(f"options: expected a dfast.config.PriorConfig or None, got {options!r}")
    if name == "shapes":
        from dfast.priors.embedded.prior import ShapesPrior

        return ShapesPrior(device=where)
    from dfast.priors.loading.hub import find
    from dfast.priors.pipelines.open import open_folder

    folder = find(name, download=download)
    return open_folder(folder, where, options or PriorConfig())


def family_of(name: str, *, download: bool = False) -> str:
    """ "shapes", "sd", "sdxl" or "if", for `dfast.Config.for_prior`.

    A name of the catalogue needs no files; others are looked at as `load_prior` does, and raise
    what it raises.
    """
    from dfast.priors.loading.catalog import CATALOG

    _check_name(name)
    if name == "shapes":
        return name
    if name in CATALOG and not os.path.isdir(name):
        return next(kind for kind in ("sdxl", "sd", "if") if name.startswith(kind))
    from dfast.priors.loading.families import family
    from dfast.priors.loading.hub import find

    return family(find(name, download=download))


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise PriorError(
            f"prior: expected the name of one, a folder or a hub id as a string, got {name!r}"
        )


def check_prior(prior: Any) -> Prior:
    """`prior` itself. Raises PriorError when it lacks something of the protocol."""
    needed = ("name", "image_size", "noise_schedule", "encode_prompt", "predict_noise")
    missing = [name for name in needed if not hasattr(prior, name)]
    if missing or isinstance(prior, type):
        got = f"the class {prior.__name__}" if isinstance(prior, type) else type(prior).__name__
        lacks = f" without {', '.join(missing)}" if missing else ""
        raise PriorError(
            "prior: expected the name of one or an object with the Prior protocol, "
            f"got {got}{lacks}"
        )
    return prior
