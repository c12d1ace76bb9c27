"""The text files of a run folder: run.json, config.toml and metrics.jsonl, read with suspicion."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._numbers import shown
from dfast._version import __version__
from dfast.config import Config
from dfast.config.methods import DEFAULT
from dfast.errors import DfastWarning, RunFolderError

if TYPE_CHECKING:
    from dfast.guidance.clip import Guide

ABOUT, SETTINGS = "run.json", "config.toml"
REFINE = "refine"
"""Entry "stage" of run.json in the folder of a refine stage; that of a run has none."""
IDENTITY = {"prompt": str, "seed": int, "prior": str}
"""Entries of run.json that must be equal for a run to be the same, and their types."""


def about_run(
    prompt: str, seed: int, model: Guide, config: Config, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what run.json says of a run that begins.

    Args:
        prompt: what it makes.
        seed: of its randomness.
        model: what guides it.
        config: its settings.
        notes: what is made in place of what was asked for.
    """
    about = {"prompt": prompt, "seed": seed, "prior": model.name, "dfast": __version__}
    if config.method.name != DEFAULT:
        about["method"] = config.method.name
    if notes:
        about["notes"] = list(notes)
    if model.lora:
        about["lora"] = list(model.lora)
    return about


def read_about(folder: Path) -> dict[str, Any]:
    """Return what run.json says of a run: prompt, seed, prior and more.

    Args:
        folder: a run folder.

    Raises:
        RunFolderError: it cannot be read, or says something else.
    """
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(
            f"'{path}': cannot be read ({' '.join(str(error).split())[:300]})"
        ) from error
    if not isinstance(about, dict):
        raise RunFolderError(f"'{path}': expected prompt, seed and prior, got {shown(about)}")
    for key, kind in IDENTITY.items():
        value = about.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            expected = "a whole number" if kind is int else "a text"
            raise RunFolderError(f"'{path}': {key}: expected {expected}, got {shown(value)}")
    return about


def read_settings(folder: Path) -> Config:
    """Return the settings of a run.

    Args:
        folder: a run folder.

    Raises:
        RunFolderError: they cannot be read.
    """
    try:
        return Config.load(folder / SETTINGS)
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"'{folder}': {' '.join(str(error).split())[:400]}") from error


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the lines of a file of metrics, none if there is none, without those that are damaged.

    A warning counts those, but for a last line that a crash cut short.

    Args:
        path: the file.

    Raises:
        RunFolderError: it cannot be read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"'{path}': cannot be read ({error.strerror or error})") from error
    lines = text.split(b"\n")
    *complete, _ = read = [_metrics_line(line) for line in lines]
    bad = [i + 1 for i, found in enumerate(complete) if found is None]
    if bad:
        warnings.warn(
            f"'{path}': {len(bad)} damaged lines were skipped, the first is line {bad[0]}",
            DfastWarning,
            stacklevel=2,
        )
    return [values for values in read if values is not None]


def _metrics_line(line: bytes) -> dict[str, float] | None:
    """Return the numbers in a line of metrics, None if it is damaged."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or type(values.get("step")) is not int:
        return None
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values.values())
    return values if numbers else None
