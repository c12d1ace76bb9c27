"""How a call makes its objects: how many, how many of them side by side, in which rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dfast._numbers import shown, whole
from dfast.errors import ConfigError

AtOnce = int | Literal["fit"] | None
"""Objects side by side at most; "fit" is as many as the memory has room for, None is all."""
UNTIL = 0.35
"""Fraction of a run that all seeds of `best_of` take part in."""


@dataclass(frozen=True)
class Round:
    """Steps that the same number of runs take together."""

    runs: int
    steps: int
    seconds_per_step: float = 0.0
    """Of all of them together."""
    start_seconds: float = 0.0
    """What the first steps take beyond that."""


@dataclass(frozen=True)
class Plan:
    """What a call of `dfast.train` makes."""

    objects: int = 1
    """Results."""
    at_once: AtOnce = None
    best_of: int = 1
    """Seeds that begin where there is one object."""
    particles: bool = False
    """Whether the objects share one guidance."""
    ranks: int = 1
    """Processes that make an object together."""

    @property
    def most(self) -> int:
        """Most runs side by side, before it is known how many fit."""
        if self.best_of > 1:
            return self.best_of
        wanted = self.at_once if isinstance(self.at_once, int) else self.objects
        return min(wanted, self.objects)

    def fitted(self, count: int) -> Plan:
        """Return the plan with a number of objects side by side."""
        return replace(self, at_once=count)

    def rounds(self, steps: int) -> list[Round]:
        """Return the rounds, one after the other, without times.

        Args:
            steps: of each run.
        """
        if self.best_of > 1:
            first = shared_steps(steps)
            later = [Round(1, steps - first)] if first < steps else []
            return [Round(self.best_of, first), *later]
        full, rest = divmod(self.objects, self.most)
        return [Round(self.most, steps)] * full + [Round(rest, steps)] * (rest > 0)


def shared_steps(steps: int) -> int:
    """Return the steps that all seeds of `best_of` take.

    Args:
        steps: of the run.
    """
    return max(1, round(UNTIL * steps))


def check_at_once(value: object) -> AtOnce:
    """Return a number of objects side by side, "fit" or None.

    Raises:
        ConfigError: if it cannot be used.
    """
    if value is None:
        return None
    if isinstance(value, str) and value == "fit":
        return "fit"
    number = whole(value)
    if number is None or number < 1:
        raise ConfigError(
            f"at_once: expected a whole number of at least 1 or 'fit', got {shown(value)}"
        )
    return number
