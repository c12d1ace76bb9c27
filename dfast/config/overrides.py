"""Change single settings by KEY=VALUE."""

from __future__ import annotations

import json
import re
import tomllib

from dfast.config import Config
from dfast.errors import ConfigError


def changed(made: Config, changes: list[str]) -> Config:
    """With every KEY=VALUE of --set."""
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key.strip()):
            raise ConfigError(
                f"--set: expected KEY=VALUE such as guidance.scale=20, got {change!r}"
            )
        try:
            nested = tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            nested = tomllib.loads(f"{key} = {json.dumps(value.strip())}")
        made = made.replace(**nested)
    return made
