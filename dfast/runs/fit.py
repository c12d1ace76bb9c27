"""How many runs side by side the memory has room for: `at_once="fit"`, `--fit`.

The choice follows from the settings and the free memory alone, not from how fast anything is, so
that the same free memory gives the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch

from dfast.errors import ConfigError
from dfast.priors import Prior
from dfast.runs.arguments import RunArguments
from dfast.runs.estimated import size
from dfast.runs.folder import RunFolder
from dfast.runs.notices import notice
from dfast.runs.out_of_memory import explain_out_of_memory
from dfast.runs.step_cost import OVERHEAD_BYTES, CostModel, Model

MARGIN = 0.1
"""Fraction of the free memory that is left alone."""


class Fit(NamedTuple):
    """A choice, and why."""

    at_once: int
    why: str
    """One line."""


def fit_runs(
    arguments: RunArguments, folders: Sequence[RunFolder | None], particles: bool, progress: bool
) -> int:
    """Return how many of the runs that are left fit beside each other, and record it.

    Args:
        arguments: of one of the runs.
        folders: of those that are left.
        particles: they share one guidance.
        progress: say what was chosen, and why.

    Raises:
        ConfigError: particles that share a copy of the prior do not all fit.
    """
    if not folders:
        return 1
    chosen = _of_runs(arguments, len(folders), particles=particles)
    if particles and arguments.config.guidance.variant == "vsd" and chosen.at_once < len(folders):
        raise ConfigError(
            f"particles: expected at most {chosen.at_once}, which fit, since all step together "
            f"with guidance.variant 'vsd', got {len(folders)}"
        )
    if progress:
        notice(chosen.why)
    for folder in folders:
        if folder is not None:
            folder.about["at_once"] = chosen.at_once
    return chosen.at_once


def fit(costs: CostModel, device: torch.device, objects: int) -> Fit:
    """Return how many of some runs to make side by side.

    Args:
        costs: of the runs.
        device: where they run.
        objects: how many there are to make, at least 1.

    Raises:
        ConfigError: it is not known how much memory is free.
    """
    if not costs.joined:
        return Fit(1, f"fit: 1 of {objects} at once: the prior takes one prompt at a time")
    free = costs.free
    if free is None:
        raise ConfigError(
            f"at_once: expected a number where the free memory of {device} is not known, got 'fit'"
        )
    here = int(OVERHEAD_BYTES["cpu"]) if device.type == "cpu" else 0  # this process has it already

    @cache
    def needed(count: int) -> int:
        return costs.peak(costs.of(count)) - here

    room = int((1.0 - MARGIN) * free)
    most = max(1, _largest(lambda count: needed(count) <= room, objects))
    why = f"{size(needed(most))} of {size(free)} free on {device}"
    if most < objects:
        why += f", {most + 1} would take {size(needed(most + 1))}"
    if needed(most) > room:
        why += "; not even one leaves the margin"
    return Fit(most, f"fit: {most} of {objects} side by side: {why}; a tenth stays free")


def _of_runs(arguments: RunArguments, objects: int, *, particles: bool) -> Fit:
    """Return how many of some runs to make side by side now, see `fit_runs` and `fit`."""
    text, device, config, prior = arguments
    if not isinstance(prior, Prior):
        return Fit(1, f"fit: 1 of {objects} at once: a CLIP takes one prompt at a time")
    with explain_out_of_memory(device, config, prior):
        model = Model(prior, prior.text_bytes())
        costs = CostModel(model, text, config, device, objects, particles=particles, timed=False)
    return fit(costs, device, objects)


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number up to `most` that fits, 0 for none; what is less fits, too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
