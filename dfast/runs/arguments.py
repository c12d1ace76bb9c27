"""Check the arguments of a run and resolve its configuration, before anything is written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dfast._device import parse_device, pick_device
from dfast._files import encodable
from dfast._native import library
from dfast._numbers import shown
from dfast.clip import ClipEncoder, load_clip
from dfast.config import Config, PriorConfig, presets
from dfast.config.checks import check_steps
from dfast.config.methods import DEFAULT, METHODS, guided_by
from dfast.config.parsing import overlay
from dfast.errors import ConfigError, DfastWarning, PromptError
from dfast.guidance.clip import EMBEDDED, ClipGuide, Guide
from dfast.priors import Prior, as_prior, family_of, load_prior
from dfast.runs.layouts import check_layout, has_layout, notes_of
from dfast.world.reading import read


def resolve_config(
    prior: str | Prior = "shapes",
    device: str | torch.device | None = None,
    *,
    method: str | None = None,
    config: Config | Mapping[str, Any] | None = None,
    resumed: Config | None = None,
    preset: str | None = None,
    file: str | Path | None = None,
    overrides: Sequence[Mapping[str, Any]] = (),
    steps: int | None = None,
    download: bool = False,
) -> Config:
    """Return the configuration of a run. Nothing else combines its sources.

    It begins with the first of these that is given: `config`, `preset`, `resumed`, and else the
    settings of the method, or of the prior's family, on the device. `file` is laid over that, then
    each of `overrides` in order, then `steps`. A prior that was opened with settings of its own
    keeps them.

    Args:
        prior: a name, or a prior.
        device: "cpu", "cuda" or "cuda:N", which need not be there; None takes a GPU if there is
            one.
        method: one of `dfast.config.methods.METHODS`; None takes the one that the settings name,
            which is "dfast" where they name none.
        config: a complete configuration; or nested mappings of settings, which are laid over those
            that hold without them, and over `file`.
        resumed: the configuration of the run that is resumed.
        preset: one of `dfast.config.presets.NAMES`.
        file: a .toml or .json file with any of the settings; not beside `preset`.
        overrides: nested tables of settings to change, see `dfast.config.overrides`.
        steps: length of the run.
        download: fetch what tells the family of a named prior that is not on this machine.

    Raises:
        ConfigError: a source that cannot be used, or a value that cannot be.
        PriorError: the prior's family is needed and cannot be found.
        DeviceError: the device has no such name.
    """
    if isinstance(config, Mapping):
        overrides, config = [config, *overrides], None
    if config is not None and not isinstance(config, Config):
        raise ConfigError(
            f"config: expected a dfast.Config, a dict of settings or None, got {shown(config)}"
        )
    if file is not None and preset is not None:
        raise ConfigError("config file and preset: expected one of them, got both")
    wanted = method if method is not None else _named_method(overrides)
    if config is None and preset is not None:
        family = "" if preset == "default" else _family(prior, download)
        config = Config.from_dict(presets.named(preset, _device_kind(device), family))
    elif config is None and resumed is not None:
        config = resumed
    elif config is None and wanted not in (None, DEFAULT):
        family = _family(prior, download) if guided_by(wanted, "prior") else ""
        config = Config.for_method(wanted, _device_kind(device), family)
    elif config is None:
        config = default_config(prior, _device_kind(device), download=download)
    if file is not None:
        config = Config.load(file, base=config)
    laid: dict[str, Any] = {}
    for changes in overrides:
        if not all(isinstance(key, str) for key in changes):
            raise ConfigError(f"config: expected settings by name, got {shown(changes)}")
        laid = overlay(laid, changes)
    config = config.replace(**laid)  # at once: two settings may fit each other, but not what was
    if steps is not None:
        config = config.replace(train={"steps": check_steps(steps)})
    if method is not None and method != config.method.name:
        own_source = "the preset" if preset is not None else "the run or the configuration"
        raise ConfigError(
            f"method: expected {config.method.name!r}, which is that of {own_source}, got "
            f"{shown(method)}"
        )
    if not isinstance(prior, str) and isinstance(own := as_prior(prior).options, PriorConfig):
        config = config.replace(prior=own)
    return config


def _named_method(overrides: Sequence[Mapping[str, Any]]) -> Any:
    """Return the method that the last of the tables names, None where none does."""
    named = [table["method"] for table in overrides if isinstance(table.get("method"), Mapping)]
    return next((table["name"] for table in reversed(named) if "name" in table), None)


def default_config(prior: str | Prior, device: str, *, download: bool = False) -> Config:
    """Return the configuration of a run for which no settings are given.

    Args:
        prior: a name, or a prior.
        device: kind of the device, "cpu" or "cuda".
        download: fetch what tells the family of a named prior that is not on this machine.

    Raises:
        PriorError: the prior cannot be found, or its files are damaged.
    """
    family = _family(prior, download)
    return Config.default(device) if family == "shapes" else Config.for_prior(family)


def _family(prior: str | Prior, download: bool) -> str:
    """Return the family of a prior, or of what its name stands for."""
    if isinstance(prior, str):
        return family_of(prior, download=download)
    return as_prior(prior).family


def _device_kind(device: str | torch.device | None) -> str:
    """Return "cpu" or "cuda" for a device that need not be there."""
    return (pick_device(None) if device is None else parse_device(device)).type


class RunArguments(NamedTuple):
    """Arguments of a run after all checks."""

    prompt: str
    """Stripped, with single spaces."""
    device: torch.device
    """A device that is there and that dfast has kernels for."""
    config: Config
    """The complete configuration."""
    prior: Guide
    """The prior, whose weights are not read yet, or the CLIP of a method that a CLIP guides."""


def resolve_arguments(
    prompt: str,
    *,
    prior: str | Prior,
    method: str | None = None,
    clip: str | Path | ClipEncoder | ClipGuide | None = None,
    download: bool = False,
    device: str | torch.device | None,
    config: Config | Mapping[str, Any] | None,
    steps: int | None,
) -> RunArguments:
    """Return the arguments of `dfast.train` and `dfast.estimate` after all checks.

    The arguments and what is raised for them are those of `dfast.train`. What the prior makes in
    place of what was asked is told by warnings.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError(
            f"prompt: expected a description such as 'a red chair', got {shown(prompt)}"
        )
    if not encodable(prompt):
        raise PromptError(f"prompt: expected text that UTF-8 can encode, got {ascii(prompt)[:80]}")
    prior = str(prior) if isinstance(prior, Path) else prior
    by_clip = clip is not None or guided_by(method, "clip")
    embedded = prior == "shapes" and (not by_clip or clip in (None, EMBEDDED))
    if embedded and not has_layout(config):
        read(prompt)  # names a wrong word before the networks load
    where = pick_device(device)
    prior = prior if isinstance(prior, str) else as_prior(prior)
    settings = resolve_config(
        prior, where, method=method, config=config, steps=steps, download=download
    )
    if settings.layout.parts:
        check_layout(settings.layout, prompt, embedded=embedded)
    library()  # names a missing extension now, before a folder is made
    text = " ".join(prompt.split())
    if METHODS[settings.method.name].guide == "clip":
        if prior not in ("shapes", ""):
            raise ConfigError(
                f"prior: expected none with method {settings.method.name!r}, which a CLIP guides, "
                f"got {shown(prior)}"
            )
        if settings.prior != PriorConfig():
            raise ConfigError(
                "prior: expected no settings of one (--lora, prior.vae and others) with method "
                f"{settings.method.name!r}, which a CLIP guides, got {_changed(settings.prior)}"
            )
        guide = _open_clip(clip, settings, where, download=download)
        for note in guide.notes(text):
            warnings.warn(note, DfastWarning, stacklevel=2)
        return RunArguments(text, where, settings, guide)
    if clip is not None:
        raise ConfigError(
            f"clip: expected None with method {settings.method.name!r}, which a prior guides, got "
            f"{shown(clip)}"
        )
    if isinstance(prior, str):
        prior = load_prior(prior, where, download=download, options=settings.prior)
    model = as_prior(prior)
    for note in notes_of(settings, model, text):
        warnings.warn(note, DfastWarning, stacklevel=2)
    return RunArguments(text, where, settings, model)


def _changed(config: PriorConfig) -> str:
    """Return the settings of a prior that are not the usual ones, as text."""
    usual = PriorConfig()
    names = [field.name for field in fields(config)]
    changed = [name for name in names if getattr(config, name) != getattr(usual, name)]
    return ", ".join(f"prior.{name}={shown(getattr(config, name))}" for name in changed)


def _open_clip(clip: object, config: Config, device: torch.device, *, download: bool) -> ClipGuide:
    """Return the CLIP of a run.

    Args:
        clip: the argument of `dfast.train`; None is the embedded one.
        config: settings of the run.
        device: where it runs.
        download: fetch it if it is not on this machine.
    """
    if isinstance(clip, ClipGuide):
        return clip
    if isinstance(clip, ClipEncoder):
        if clip.device.type != device.type or device.index not in (None, clip.device.index):
            raise ConfigError(f"clip: expected one on {device}, got one on {clip.device}")
        return ClipGuide(clip)
    if clip is None:
        clip = EMBEDDED
    if not isinstance(clip, str | Path):
        raise ConfigError(
            f"clip: expected the folder of a CLIP with method {config.method.name!r} (`--clip "
            f"FOLDER` on the command line), got {shown(clip)}"
        )
    return ClipGuide(load_clip(str(clip), device, download=download))
