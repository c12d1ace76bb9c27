"""Range checks that the sections share."""

from __future__ import annotations

import math

from dfast._numbers import shown
from dfast.errors import ConfigError

Range = tuple[float, float]
"""(low, high) or (start, end)."""


def check(section: str, key: str, value: object, ok: bool, expected: str) -> None:
    """Raise ConfigError unless `ok`.

    Args:
        section: dotted name of the section.
        key: name of the setting.
        value: its value, for the message.
        ok: whether the value is acceptable.
        expected: what an acceptable value is, for the message.
    """
    if not ok:
        raise ConfigError(f"config key '{section}.{key}': expected {expected}, got {shown(value)}")


def check_ranges(
    section: object, name: str, keys: tuple[str, ...], low: float, high: float
) -> None:
    """Raise ConfigError unless each of the settings is a `Range` in order and within bounds.

    Args:
        section: the section that holds the settings.
        name: its dotted name.
        keys: names of the settings.
        low: smallest value allowed.
        high: largest value allowed.
    """
    for key in keys:
        value: Range = getattr(section, key)
        ok = low <= value[0] <= value[1] <= high
        check(name, key, value, ok, f"(low, high) with {low:g} <= low <= high <= {high:g}")


def check_numbers(
    section: object, name: str, keys: tuple[str, ...], low: float, high: float = math.inf
) -> None:
    """Raise ConfigError unless each of the settings is a finite number within bounds.

    Args:
        section: the section that holds the settings.
        name: its dotted name.
        keys: names of the settings.
        low: smallest value allowed.
        high: largest value allowed.
    """
    for key in keys:
        value = getattr(section, key)
        expected = (
            f"a number >= {low:g}" if high == math.inf else f"a number in [{low:g}, {high:g}]"
        )
        check(name, key, value, low <= value <= high and math.isfinite(value), expected)
