"""Read files of settings."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from dfast._files import read_text, unreadable, user_path
from dfast._numbers import shown
from dfast.errors import ConfigError


def read_values(path: str | Path, what: str = "config file") -> dict[str, Any]:
    """Return the nested tables of settings in a file, not checked.

    Args:
        path: a .json file, or TOML under any other name.
        what: it is, for messages.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        path = user_path(path)
    except TypeError:
        raise ConfigError(f"{what}: expected a path, got {shown(path)}") from None
    is_json = path.suffix == ".json"
    try:
        text = read_text(path)
        values = json.loads(text) if is_json else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} '{path}': cannot be read ({unreadable(error)})") from error
    except (ValueError, RecursionError) as error:  # damage, huge numbers, deep nesting
        kind = "JSON" if is_json else "TOML"
        raise ConfigError(f"{what} '{path}': not valid {kind} ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{what} '{path}': expected a table of settings, got {shown(values)}")
    return values
