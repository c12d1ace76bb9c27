"""The settings of the stages after the first, which follow from those of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfast._numbers import shown
from dfast.config.config import Config
from dfast.config.methods import METHODS
from dfast.errors import ConfigError

REPLACED = {
    ("train", "steps"): "refine.steps",
    ("camera", "resolution"): "refine.resolution",
    ("guidance", "t_min"): "guidance.t_min_end",
    ("guidance", "t_max"): "guidance.t_max_end",
}
"""Settings of a run that are others in the refine stage."""


def refine_settings(config: Config) -> Config:
    """Return the settings of the refine stage of a run.

    The stage has the cameras, lights, shading modes, prior and guidance that the run had at its
    end: schedules that lead from rough to fine stay where they ended. What only a field has, such
    as the opacity's regularisers, is off, and a background that was learned is a random colour.
    The settings of the stage of a stage are its own.

    Args:
        config: the settings of the run.

    Raises:
        ConfigError: a run that cannot be refined, see `check_refinable`.
    """
    check_refinable(config.method.name)
    if config.layout.parts:
        raise ConfigError(
            "run: expected one thing to refine, such as one of Result.parts, got a layout of "
            f"{len(config.layout.parts)}"
        )
    guidance, background = config.guidance, config.background.kind
    darkness = config.regularizer.darkness[1]
    return config.replace(
        train={"steps": config.refine.steps},
        camera={"resolution": [[0.0, config.refine.resolution]]},
        background={"kind": "random" if background == "mlp" else background},
        shading={"ambient_only": 0.0, "ramp": 0.0},
        guidance={
            "t_min": guidance.t_min_end,
            "t_max": guidance.t_max_end,
            "linear_until": 0.0,
            "negative_weight": [guidance.negative_weight[1]] * 2,
        },
        regularizer={
            "orientation": [0.0, 0.0],
            "opacity": 0.0,
            "entropy": 0.0,
            "total_variation": 0.0,
            "darkness": [darkness, darkness],
            "normal_variation_from": 0.0,
        },
    )


def check_refinable(method: str) -> None:
    """Raise ConfigError for a method whose runs cannot be refined: no prior guides them.

    Args:
        method: one of `dfast.config.methods.METHODS`.
    """
    if METHODS[method].guide != "prior":
        raise ConfigError(
            "config key 'method.name': expected a method that a prior guides, since the refine "
            f"stage goes on under the prior of its run, got {method!r}"
        )


def changed_refine_settings(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return the settings of the refine stage of a run, with some of the run's changed before.

    Args:
        config: the settings of the run.
        changes: nested tables of settings.

    Raises:
        ConfigError: a setting that cannot be, or one that the stage sets to another value.
    """
    check_replaced(changes)
    changed = config.replace(**changes)
    stage = refine_settings(changed)
    given, kept = changed.to_dict(), stage.to_dict()
    for section, table in changes.items():
        for key in table if isinstance(table, Mapping) else ():
            if given[section].get(key) != kept[section].get(key):
                raise ConfigError(
                    f"config key '{section}.{key}': expected {shown(kept[section][key])}, which "
                    f"follows from the run's end in the refine stage, got {shown(table[key])}"
                )
    return stage


def check_replaced(changes: Mapping[str, Any]) -> None:
    """Raise ConfigError for changes of settings that have another name in the refine stage.

    Args:
        changes: nested tables of settings.
    """
    for (section, key), instead in REPLACED.items():
        table = changes.get(section)
        if isinstance(table, Mapping) and key in table:
            raise ConfigError(
                f"config key '{section}.{key}': expected '{instead}' in its place, since this is "
                f"the refine stage, got {shown(table[key])}"
            )
