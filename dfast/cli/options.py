"""Options that several commands share, and the configuration that they describe."""

from __future__ import annotations

import argparse
import functools
from argparse import ArgumentParser, Namespace
from typing import Any

from dfast._files import user_path
from dfast.config import Config, presets
from dfast.config.files import read_values
from dfast.config.guidance import lora_strength
from dfast.config.methods import DEFAULT, METHODS
from dfast.config.overrides import parse_override
from dfast.errors import ConfigError


class UsageError(ConfigError):
    """Options that are missing or that do not go together."""


Commands = argparse._SubParsersAction
"""The commands of the command line, to which each module of this package adds its own."""


def add_device(parser: ArgumentParser, default: str | None = None) -> None:
    """Add --device.

    Args:
        parser: the parser of a command.
        default: its default; None stands for a GPU if there is one.
    """
    shown = "a GPU if there is one" if default is None else default
    parser.add_argument("--device", default=default, help=f"cpu, cuda or cuda:N (default: {shown})")


def add_finished_run(parser: ArgumentParser) -> None:
    """Add the argument that names a finished run."""
    parser.add_argument("path", metavar="RUN", help="run folder or result.safetensors")


def add_overrides(parser: ArgumentParser, help: str) -> None:
    """Add --set, which may be repeated.

    Args:
        parser: the parser of a command.
        help: its description.
    """
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=help)


def add_method(parser: ArgumentParser) -> None:
    """Add --method and --clip, for commands that make one object.

    Args:
        parser: the parser of a command.
    """
    every = "; ".join(f"{name}: {method.about}" for name, method in METHODS.items())
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        help=f"the way from the prompt to the object (default: {DEFAULT}). {every}",
    )
    parser.add_argument(
        "--clip",
        metavar="NAME",
        help="of a method that a CLIP guides: a folder of transformers, or a hub id (default: "
        "shapes, the embedded one)",
    )


def add_settings(parser: ArgumentParser) -> None:
    """Add the options that `read_config` reads: the prior, the device and the settings of a run."""
    parser.add_argument(
        "--steps", type=int, help=f"length of the run (default: {_default_steps()})"
    )
    add_device(parser)
    parser.add_argument(
        "--prior",
        metavar="NAME",
        help="diffusion model to distil: a name from `dfast priors`, a folder or a hub id "
        "(default: shapes, the embedded one)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="settings as .toml or .json (see `dfast config`)"
    )
    parser.add_argument("--preset", choices=presets.NAMES, help="named settings")
    parser.add_argument(
        "--lora", action="append", default=[], metavar="FILE[:STRENGTH]",
        help="merge a LoRA file into the prior, at its own alpha / rank times a strength "
        "(default: 1; may be repeated)",
    )  # fmt: skip
    add_overrides(parser, "change one setting, such as guidance.scale=20 (may be repeated)")


@functools.cache
def _default_steps() -> str:
    """Return the lengths of runs without --steps, as text."""
    cpu, gpu = (Config.default(device).train.steps for device in ("cpu", "cuda"))
    other, paper = Config.for_prior("sd").train.steps, Config.dreamfusion().train.steps
    return (
        f"{cpu} on a CPU and {gpu} on a GPU with the embedded prior, {other} with other priors, "
        f"{paper} with --preset dreamfusion; train.steps of a --config file"
    )


def prior_name(options: Namespace) -> str:
    """Return what --prior says, or the embedded prior; nothing where a CLIP guides the run.

    The embedded CLIP reads what the embedded prior does, and has its name.
    """
    if getattr(options, "clip", None) not in (None, "shapes") and hasattr(options, "method"):
        return ""
    return "shapes" if options.prior is None else str(options.prior)


def gives_settings(options: Namespace) -> bool:
    """Return whether an option gives settings: --config, --preset, --method, --set, a layout ..."""
    method = getattr(options, "method", None)
    return bool(options.config or options.preset or method or read_overrides(options))


def read_overrides(options: Namespace) -> list[dict[str, Any]]:
    """Return the layout, the settings of --set, --lora and --negative, as nested tables.

    Raises:
        ConfigError: one of them is not of the form KEY=VALUE.
    """
    layout = getattr(options, "layout_table", None)
    overrides = [{"layout": layout}] if layout else []
    overrides += [parse_override(text) for text in options.set]
    if loras := getattr(options, "lora", []):
        overrides.append({"prior": {"lora": [_absolute(text) for text in loras]}})
    if (negative := getattr(options, "negative", None)) is not None:
        overrides.append({"guidance": {"negative": negative}})
    return overrides


def _absolute(text: str) -> str:
    """Return FILE or FILE:STRENGTH with an absolute path, so that a run resumes from anywhere."""
    path, strength = lora_strength(text)
    return f"{user_path(path).absolute() if path else ''}:{strength:g}"


def read_file(options: Namespace) -> dict[str, Any]:
    """Return the settings in the file of --config, which may be a pipe: it is read once.

    Raises:
        UsageError: there is --preset as well.
        ConfigError: it cannot be read.
    """
    if options.config and options.preset:
        raise UsageError("config file and preset: expected one of them, got both")
    if not hasattr(options, "file_values"):
        options.file_values = read_values(options.config) if options.config else {}
    return dict(options.file_values)


def read_config(options: Namespace, *, resumed: Config | None = None) -> Config:
    """Return the configuration that the options of `add_settings` describe.

    Args:
        options: the parsed command line.
        resumed: the configuration of the run that is resumed.

    Raises:
        ConfigError: an option that cannot be used.
        PriorError: the prior's settings are needed and there is no such prior.
        DeviceError: the device has no such name.
    """
    from dfast.runs.arguments import resolve_config

    return resolve_config(
        prior_name(options),
        options.device,
        method=getattr(options, "method", None),
        resumed=resumed,
        preset=options.preset,
        overrides=[read_file(options), *read_overrides(options)],
        steps=options.steps,
        download=getattr(options, "download", False),
    )
