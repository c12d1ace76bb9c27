"""Frozen dataclasses to and from nested mappings, with errors that name the key."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from dfast.errors import ConfigError


def merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `changes` put over it, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        value = plain(value) if dataclasses.is_dataclass(value) else value
        nested = isinstance(value, Mapping) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if nested else value
    return merged


def plain(value: Any) -> Any:
    """A dataclass as nested dicts and lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [plain(v) for v in value] if isinstance(value, tuple) else value


def build(cls: type[Any], values: object, where: str) -> Any:
    """A dataclass from nested mappings; `where` is its path, for messages. Raises ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"config section '{where or 'top level'}': expected a table, got {values!r}"
        )
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1, cutoff=0.0)[0]
            prefix = f"{where}." if where else ""
            raise ConfigError(
                f"config key '{prefix}{key}': unknown; did you mean '{prefix}{near}'?"
            )
    made = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else str(key)
        section = dataclasses.is_dataclass(hints[key])
        made[key] = build(hints[key], value, path) if section else _coerce(hints[key], value, path)
    return cls(**made)


def _coerce(hint: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type: a number, string, bool, Literal or tuple of these."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments and not isinstance(value, bool):
            return value
        raise ConfigError(f"config key '{path}': expected one of {list(arguments)}, got {value!r}")
    if origin is tuple:
        if isinstance(value, (list, tuple)):
            variadic = len(arguments) == 2 and arguments[1] is Ellipsis
            hints = [arguments[0]] * len(value) if variadic else list(arguments)
            if len(hints) == len(value):
                return tuple(_coerce(h, v, path) for h, v in zip(hints, value, strict=True))
        count = "a list" if arguments[-1] is Ellipsis else f"a list of {len(arguments)}"
        raise ConfigError(f"config key '{path}': expected {count}, got {value!r}")
    assert not isinstance(hint, types.UnionType), f"{path}: unions are not supported"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not math.isfinite(value):
        raise ConfigError(f"config key '{path}': expected a finite number, got {value!r}")
    if hint is float and number:
        return float(value)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}
    raise ConfigError(f"config key '{path}': expected {names[hint]}, got {value!r}")


def toml(values: Mapping[str, Any], where: str = "") -> str:
    """Nested mappings as TOML text."""
    lines = [f"{k} = {json.dumps(v)}" for k, v in values.items() if not isinstance(v, dict)]
    text = (f"[{where}]\n" if where and lines else "") + "".join(f"{line}\n" for line in lines)
    for key, value in values.items():
        if isinstance(value, dict):
            text += ("\n" if text else "") + toml(value, f"{where}.{key}" if where else key)
    return text
