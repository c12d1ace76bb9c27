"""Read the file of a result, with everything compared before a scene is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dfast._numbers import shown
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.io.tensors import Layout, damaged, read_tensors
from dfast.scene.stored import find_fault, object_shapes

FORMAT = "dfast result 1"
"""Recorded in a result's file, and required of one."""


def read_result(path: Path) -> tuple[dict[str, Tensor], Config, dict[str, Any]]:
    """Return the tensors, the configuration and the run of a result.

    Args:
        path: the file.

    Returns:
        Tensors as of `Scene.object_state`; all settings; prompt, seed, prior and steps.

    Raises:
        RunFolderError: there is no such file, or it is damaged.
    """
    return read_object(path, FORMAT, _layout, _check)


def read_object(
    path: Path,
    format: str,
    layout_of: Callable[[Path, dict[str, Any]], dict[str, Layout]],
    check: Callable[[Path, Mapping[str, Tensor]], None],
) -> tuple[dict[str, Tensor], Config, dict[str, Any]]:
    """Return the tensors, the configuration and the run of what a run or a stage made.

    Args:
        path: the file.
        format: that it must have.
        layout_of: returns the layout of the tensors by the values in the file.
        check: raises RunFolderError for tensors that cannot be.

    Raises:
        RunFolderError: there is no such file, or it is damaged.
    """
    tensors, about = read_tensors(path, format, lambda values: layout_of(path, values))
    check(path, tensors)
    config = _config_of(path, about)
    return tensors, config, _run_of(path, about, config)


def _check(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise RunFolderError for numbers that cannot be."""
    if (fault := find_fault(tensors)) is not None:
        raise damaged(path, fault)


def _layout(path: Path, about: dict[str, Any]) -> dict[str, Layout]:
    """Return the layout of a result's tensors by its settings."""
    shapes = object_shapes(_config_of(path, about))
    return {name: Layout(shape, dtype) for name, (shape, dtype) in shapes.items()}


def _config_of(path: Path, about: dict[str, Any]) -> Config:
    """Return the configuration among a file's values; raise RunFolderError if it cannot be one."""
    if not isinstance(about.get("config"), dict):
        raise damaged(path, "no settings")
    try:
        return Config.from_dict(about["config"])
    except ConfigError as error:
        raise damaged(path, error) from error


def _run_of(path: Path, about: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return prompt, seed, prior and steps among a file's values, checked."""
    run = about.get("run")
    if not isinstance(run, dict) or run.keys() != {"prompt", "seed", "prior", "steps"}:
        raise damaged(path, "expected prompt, seed, prior and steps of its run")
    for key in ("prompt", "prior"):
        if not isinstance(run[key], str):
            raise damaged(path, f"{key}: expected a text, got {shown(run[key])}")
    for key, limit in (("seed", 2**63), ("steps", config.train.steps + 1)):
        number = run[key]
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < limit:
            raise damaged(path, f"{key}: expected 0 to {limit - 1}, got {shown(number)}")
    return run
