"""Single settings given as text, such as `guidance.scale=20`."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from dfast.config.parsing import toml_value
from dfast.errors import ConfigError


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
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key.strip()):
        raise ConfigError(f"--set: expected KEY=VALUE such as guidance.scale=20, got {text!r}")
    try:
        return tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        return tomllib.loads(f"{key} = {toml_value(value.strip())}")
