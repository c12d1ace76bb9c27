"""Range checks that the settings share."""

from __future__ import annotations

import math

from dfast.errors import ConfigError

Range = tuple[float, float]


def _check(section: str, key: str, value: object, ok: bool, expected: str) -> None:
    if not ok:
        raise ConfigError(f"config key '{section}.{key}': expected {expected}, got {value!r}")


def _check_ranges(
    section: object, name: str, keys: tuple[str, ...], low: float, high: float
) -> None:
    for key in keys:
        value: Range = getattr(section, key)
        ok = low <= value[0] <= value[1] <= high
        _check(name, key, value, ok, f"(low, high) with {low:g} <= low <= high <= {high:g}")


def _check_numbers(
    section: object, name: str, keys: tuple[str, ...], low: float, high: float = math.inf
) -> None:
    for key in keys:
        value = getattr(section, key)
        expected = (
            f"a number >= {low:g}" if high == math.inf else f"a number in [{low:g}, {high:g}]"
        )
        _check(name, key, value, low <= value <= high and math.isfinite(value), expected)
