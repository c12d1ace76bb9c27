"""Check the arguments of a run before anything is written."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from dfast._device import pick_device
from dfast._native import library
from dfast._numbers import whole
from dfast.config import Config, PriorConfig
from dfast.errors import ConfigError, PromptError
from dfast.priors import Prior, check_prior, family_of, load_prior


class RunArguments(NamedTuple):
    """Arguments of a run that have passed the checks at the door."""

    prompt: str
    device: torch.device
    config: Config
    prior: Any
    """opened; no weights are read"""


def resolve_arguments(
    prompt: str,
    *,
    prior: str | Prior,
    download: bool = False,
    device: str | torch.device | None,
    config: Config | None,
    steps: int | None,
) -> RunArguments:
    """What `train` and `estimate` do first, with arguments as there; raises what they raise."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError(f"prompt: expected a description such as 'a red chair', got {prompt!r}")
    if config is not None and not isinstance(config, Config):
        raise ConfigError(f"config: expected a dfast.Config or None, got {config!r}")
    where = pick_device(device)
    config = default_config(prior, where.type, download=download) if config is None else config
    if steps is not None:
        length = whole(steps)
        if length is None or length < 1:
            raise ConfigError(f"steps: expected a whole number >= 1, got {steps!r}")
        config = config.replace(train={"steps": length})
    library()  # a missing extension is named here, not after a folder is made
    if isinstance(prior, str):
        model = load_prior(prior, where, download=download, options=config.prior)
    else:
        model = check_prior(prior)
    if isinstance(own := getattr(model, "options", None), PriorConfig):
        config = config.replace(prior=own)  # an opened prior has its own
    return RunArguments(" ".join(prompt.split()), where, config, model)


def default_config(prior: str | Prior, device: str, *, download: bool = False) -> Config:
    """The settings of a run that names none. device: its type. Raises PriorError."""
    if isinstance(prior, str):
        family = family_of(prior, download=download)
    else:
        family = getattr(prior, "family", "shapes")
    return Config.default(device) if family == "shapes" else Config.for_prior(family)
