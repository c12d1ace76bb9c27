"""Single settings given as text, such as `guidance.scale=20`."""

from __future__ import annotations

import re
import tomllib
import typing
from typing import Any

from dfast._numbers import shown
from dfast.errors import ConfigError

DEEPEST = 8
"""Names in the key of a setting; none has more than three."""


def parse_override(text: str) -> dict[str, Any]:
    """Return KEY=VALUE as a nested table, to give to `Config.replace`.

    >>> parse_override("guidance.scale=20")
    {'guidance': {'scale': 20}}

    Args:
        text: a dotted name and a value in TOML; a value that is not TOML is taken as a string.

    Raises:
        ConfigError: the text has another form.
    """
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(re.fullmatch("[A-Za-z0-9_]+", name) for name in names):
        raise ConfigError(f"--set: expected KEY=VALUE such as guidance.scale=20, got {shown(text)}")
    if len(names) > DEEPEST:
        raise ConfigError(f"--set: expected at most {DEEPEST} names in a key, got {shown(key)}")
    table: Any = _value(value.strip())
    for name in reversed(names):
        table = {name: table}
    return typing.cast(dict[str, Any], table)


def _value(text: str) -> Any:
    """Return what a text means in TOML, or the text itself."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # no TOML, a number too long to read, deep nesting
        return text
    return found["value"] if list(found) == ["value"] else text
