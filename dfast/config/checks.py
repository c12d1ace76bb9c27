"""Range checks that the sections share, and those of arguments beside the settings."""

from __future__ import annotations

import math
import re

from dfast._numbers import shown, whole
from dfast.config.parsing import LARGEST_COUNT
from dfast.errors import ConfigError

Range = tuple[float, float]
"""(low, high) or (start, end)."""
SEED_LIMIT = 2**31
"""Seeds are below this."""


_DEVICE = re.compile(r"(cpu|cuda)(?::(0|[1-9]\d{0,2}))?", re.ASCII)


def device_parts(name: object) -> tuple[str, int] | None:
    """Return kind and number of a device, None for what names none; it need not be there.

    Args:
        name: "cpu", "cuda" or "cuda:N".
    """
    match = _DEVICE.fullmatch(name) if isinstance(name, str) else None
    if match is None or (match[1] == "cpu" and match[2] not in (None, "0")):
        return None
    return match[1], int(match[2] or 0)


def check_seed(seed: object) -> int:
    """Return the seed of a run.

    Args:
        seed: a whole number in [0, SEED_LIMIT), as any type.

    Raises:
        ConfigError: anything else.
    """
    number = whole(seed)
    if number is None or not 0 <= number < SEED_LIMIT:
        raise ConfigError(f"seed: expected a whole number in [0, {SEED_LIMIT}), got {shown(seed)}")
    return number


def check_steps(steps: object, name: str = "steps") -> int:
    """Return the length of a run.

    Args:
        steps: a whole number in [1, LARGEST_COUNT], as any type.
        name: of the argument, for the message.

    Raises:
        ConfigError: anything else.
    """
    number = whole(steps)
    if number is None or not 1 <= number <= LARGEST_COUNT:
        wanted = ">= 1" if number is None or number < 1 else f"<= {LARGEST_COUNT}"
        raise ConfigError(f"{name}: expected a whole number {wanted}, got {shown(steps)}")
    return number


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
