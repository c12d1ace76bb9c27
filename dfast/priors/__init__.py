"""Diffusion priors: the interface, and how a name becomes a prior.

`pipelines` has the published families, `embedded` the model in the package, `loading` finds and
reads files, `fused` makes networks faster.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from dfast._device import pick_device
from dfast.config import PriorConfig
from dfast.errors import ConfigError, PriorError
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.base import Condition, Prior, PromptEmbedding, as_prior

__all__ = ["Condition", "Prior", "PromptEmbedding", "as_prior", "family_of", "load_prior"]


@neutral_torch_state(keep_grad=True)
def load_prior(
    name: str,
    device: str | torch.device,
    *,
    download: bool = False,
    options: PriorConfig | None = None,
) -> Prior:
    """Open a prior; only small files are read before its first use.

    Args:
        name: "shapes" (embedded), a short name of `dfast.priors.loading.CATALOG`, a diffusers
            folder, or a hub id "owner/name".
        device: where it will run.
        download: fetch what is not on this machine, after printing what, on which terms and how
            large. Without it the network is never used.
        options: how it is loaded and run; None is `PriorConfig()`.

    Raises:
        PriorError: if there is none of this name, or its files are missing, damaged or of another
            family.
        ConfigError: if `options` is no `PriorConfig`.
        DeviceError: for a device that does not exist.
        NativeMissingError: if the extension does not support the device.
    """
    _check_name(name)
    where = pick_device(device)
    if options is not None and not isinstance(options, PriorConfig):
        raise ConfigError(f"options: expected a dfast.config.PriorConfig or None, got {options!r}")
    if name == "shapes":
        from dfast.priors.embedded.prior import ShapesPrior

        for key in ("lora", "vae"):
            if given := getattr(options or PriorConfig(), key):
                raise PriorError(
                    f"prior.{key}: expected none with the embedded prior, which cannot use it, got "
                    f"{given!r}"
                )
        return ShapesPrior(device=where)
    from dfast.priors.loading.hub import find_folder
    from dfast.priors.pipelines.open import open_folder

    folder = find_folder(name, download=download)
    return open_folder(folder, where, options or PriorConfig())


def family_of(name: str, *, download: bool = False) -> str:
    """Return the family of a prior for `Config.for_prior`, such as "shapes", "sd" or "sd3".

    Names of the catalogue need no files.

    Args:
        name: as for `load_prior`.
        download: as for `load_prior`.

    Raises:
        PriorError: as `load_prior` does.
    """
    from dfast.priors.loading.catalog import CATALOG

    _check_name(name)
    if name == "shapes":
        return name
    if name in CATALOG and not os.path.isdir(name):
        return CATALOG[name].family
    from dfast.priors.loading.families import detect_family
    from dfast.priors.loading.hub import find_folder

    return detect_family(find_folder(name, download=download))


def _check_name(name: Any) -> None:
    """Raise PriorError unless the name of a prior is a string."""
    if not isinstance(name, str):
        raise PriorError(
            f"prior: expected the name of one, a folder or a hub id as a string, got {name!r}"
        )
