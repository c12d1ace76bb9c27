"""What the benches of whole steps with priors share: options, settings, weights and records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from dfast.bench import machine, report
from dfast.bench.stepping import free
from dfast.bench.timing import Record
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.priors.loading.families import detect_family
from dfast.priors.loading.hub import find_folder
from dfast.testing.model_sizes import FAMILIES
from dfast.testing.transformer_sizes import PUBLISHED

PROMPT = "a red chair"
RANDOM = (*FAMILIES, *PUBLISHED)
"""Short names of models that can have random weights."""
LIT = {"albedo": 0.0, "textureless": 0.0, "diffuse": 1.0, "ambient_only": 0.0, "ramp": 0.0}
STILL: dict[str, Any] = {
    "shading": LIT,
    "optimizer": {"lr_grid": 1e-6, "lr_mlp": 1e-6, "lr_background": 1e-6},
}
"""Settings of a comparable step: every view is lit, which costs most, and the scene stays as it is
whatever the prior predicts."""


@dataclass(frozen=True)
class Options:
    """How priors are measured."""

    device: torch.device
    """Where they run."""
    settings: Callable[[Config], Config] = lambda config: config
    """Changes each prior's configuration."""
    steps: int = 100
    """Number of steps to time."""
    random: bool = False
    """Priors other than "shapes" are those of `RANDOM`, with random weights."""
    tiny: bool = False
    """Models of random weights are tiny ones."""
    out: Path | None = None
    """A file that is written after each record."""
    say: Callable[[str], None] = print
    """Shows a line of progress."""


class Plan(NamedTuple):
    """A prior that is to be measured."""

    name: str
    """As for `load_prior`, or one of `RANDOM`."""
    random: bool
    """It has random weights."""
    config: Config
    """Of the run."""


def plans(names: Sequence[str], options: Options) -> list[Plan]:
    """Return each prior with the settings that a run with it would have.

    Args:
        names: of the priors.
        options: how they are measured.

    Raises:
        ConfigError: if a name or a setting is not valid.
        PriorError: if there is no such prior.
    """
    return [
        Plan(name, options.random and name != "shapes", options.settings(_defaults(name, options)))
        for name in names
    ]


def _defaults(name: str, options: Options) -> Config:
    """Return the settings of a run with a prior where none are given."""
    if name == "shapes":
        return Config.default(options.device.type)
    if not options.random:
        return Config.for_prior(detect_family(find_folder(name)))
    if name not in RANDOM:
        known = ", ".join(RANDOM)
        raise ConfigError(
            f"prior: expected 'shapes' or, with random weights, one of {known}, got {name!r}"
        )
    return Config.for_prior(name)


def measure_each(
    plans: Sequence[Plan],
    options: Options,
    measure: Callable[[Plan], Iterator[tuple[str, Record]]],
) -> list[Record]:
    """Measure priors one after the other.

    Args:
        plans: see `plans`.
        options: how they are measured.
        measure: yields what it finds of a prior, each with its name for the line of progress. A
            record has "step_ms" or "error".

    Returns:
        The records, each with its model and the machine.
    """
    about = machine.describe(options.device)
    records: list[Record] = []
    for each in plans:
        for label, found in measure(each):
            records.append({"model": each.name, "random": each.random} | found | about)
            options.say(f"{label}: {found.get('error') or found['step_ms']}")
            if options.out is not None:
                report.save(records, options.out)
        free(options.device)
    return records


@contextmanager
def weights(plan: Plan, options: Options) -> Iterator[str]:
    """Yield what `load_prior` opens: the name, or a folder of random weights while this lasts."""
    if not plan.random:
        yield plan.name
        return
    with tempfile.TemporaryDirectory(prefix="dfast-") as temporary:
        yield _random_folder(plan.name, Path(temporary), options)


def _random_folder(name: str, to: Path, options: Options) -> str:
    """Write a model of random weights and return its folder."""
    from dfast.testing.random_models import write
    from dfast.testing.random_transformers import write_transformer

    chosen = write if name in FAMILIES else write_transformer
    size: Literal["full", "tiny"] = "tiny" if options.tiny else "full"
    return str(chosen(name, to / name, size=size, device=options.device))
