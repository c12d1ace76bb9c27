"""Frozen dataclasses to and from nested tables of plain values, with errors that name the key."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from dfast._files import encodable
from dfast._numbers import real, shown, whole
from dfast.config.suggestions import setting_names, suggest
from dfast.errors import ConfigError

T = TypeVar("T")

LARGEST_COUNT = 2**31 - 1
"""Whole numbers may not be larger: steps, sizes and counts are 32-bit in the kernels."""
LARGEST = 1e9
"""Other numbers may not be larger, so that their squares are finite in float32."""


def overlay(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `base` with the keys of `changes` put over it, table by table.

    Args:
        base: nested mappings.
        changes: nested mappings or dataclasses. Where both have a mapping, the mappings are laid
            over one another; else the value of `changes` replaces that of `base`.
    """
    result = dict(base)
    for key, value in changes.items():
        value = as_table(value) if dataclasses.is_dataclass(value) else value
        below = base.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = overlay(below, value)
        result[key] = value
    return result


def as_table(value: Any) -> Any:
    """Return a dataclass as nested dicts and lists, and any other value as it is."""
    if dataclasses.is_dataclass(value):
        return {f.name: as_table(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [as_table(v) for v in value] if isinstance(value, tuple) else value


def from_table(cls: type[T], values: object, path: str, root: type | None = None) -> T:
    """Return the dataclass that nested mappings describe.

    Args:
        cls: the dataclass; its fields are dataclasses, numbers, strings, bools, Literals or tuples.
        values: mapping of its fields; those left out take their default.
        path: its dotted name, for messages; "" at the top.
        root: the dataclass that holds all settings, for suggestions; by default `cls`.

    Raises:
        ConfigError: an unknown key, or a value that does not fit its field.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"config section '{path or 'top level'}': expected a table, got {shown(values)}"
        )
    hints = _hints(typing.cast(Any, cls))
    names = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    fields: dict[str, Any] = {}
    for key, value in values.items():
        inner = f"{path}.{key}" if path else str(key)
        if key not in names:
            # Without the dataclass of all settings, names are those of this one.
            advice = suggest(inner if root else str(key), setting_names(root or cls))
            raise ConfigError(f"config key {_quoted(inner)}: unknown; {advice}")
        if dataclasses.is_dataclass(hints[key]):
            fields[key] = from_table(hints[key], value, inner, root or cls)
        else:
            fields[key] = _coerce(hints[key], value, inner)
    return cls(**fields)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields; resolving their names is most of the work here."""
    return typing.get_type_hints(cls)


def _quoted(name: str) -> str:
    """Return a name in single quotes, as it is where it can be shown in one short line."""
    return f"'{name}'" if name.isprintable() and len(name) <= 100 else shown(name)


def _coerce(hint: Any, value: Any, path: str) -> Any:
    """Return `value` as the annotated type: a number, string, bool, Literal, table or tuple."""
    if dataclasses.is_dataclass(hint):
        return from_table(typing.cast(type, hint), value, path)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal or hint in (int, float):
        value = _plain(value)
    if origin is Literal:
        simple = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if simple and value in arguments:
            return arguments[arguments.index(value)]  # 2 where 2.0 is given
        raise ConfigError(
            f"config key '{path}': expected one of {list(arguments)}, got {shown(value)}"
        )
    if origin is tuple:
        return _coerce_tuple(arguments, value, path)
    assert not isinstance(hint, types.UnionType), f"{path}: unions are not supported"
    if hint in (int, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _coerce_number(hint, value, path)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return _check_text(value, path)
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}
    raise ConfigError(f"config key '{path}': expected {names[hint]}, got {shown(value)}")


def _plain(value: Any) -> Any:
    """Return a number of another library, such as numpy, as Python's own; the rest as it is."""
    if isinstance(value, (bool, int, float, str)):
        return value
    number = whole(value)
    if number is not None:
        return number
    other = real(value)
    return value if other is None else other


def _coerce_number(hint: type, value: float, path: str) -> float:
    """Return an int or a float as the annotated one of both, checked."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"config key '{path}': expected a finite number, got {value!r}")
    limit = LARGEST_COUNT if hint is int else LARGEST
    if abs(value) > limit:
        raise ConfigError(
            f"config key '{path}': expected a number between -{limit:.10g} and {limit:.10g}, "
            f"got {shown(value)}"
        )
    if hint is float:
        return float(value)
    if float(value).is_integer():
        return int(value)
    raise ConfigError(f"config key '{path}': expected a whole number, got {value!r}")


def _check_text(value: str, path: str) -> str:
    """Return a text that can be written to a file; raise ConfigError for others."""
    if not encodable(value):
        raise ConfigError(
            f"config key '{path}': expected text that UTF-8 can encode, got {ascii(value)[:80]}"
        )
    return value


def _coerce_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    """Return a list as a tuple of the annotated types; `arguments` may end in an ellipsis."""
    variadic = arguments[-1] is Ellipsis
    if isinstance(value, (list, tuple)):
        hints = [arguments[0]] * len(value) if variadic else list(arguments)
        if len(hints) == len(value):
            tables = dataclasses.is_dataclass(arguments[0])
            paths = [f"{path}[{i}]" if tables else path for i in range(len(value))]
            return tuple(map(_coerce, hints, value, paths))
    count = "a list" if variadic else f"a list of {len(arguments)}"
    raise ConfigError(f"config key '{path}': expected {count}, got {shown(value)}")


def to_toml(values: Mapping[str, Any], path: str = "", head: str = "[{}]") -> str:
    """Return nested mappings as TOML text.

    Args:
        values: numbers, strings, bools, mappings, and lists of these, by name.
        path: dotted name of the table that `values` is, "" at the top.
        head: what stands above a table with a name.
    """
    tables = {k: v for k, v in values.items() if isinstance(v, dict) or has_tables(v)}
    lines = [f"{k} = {toml_value(v)}" for k, v in values.items() if k not in tables]
    text = (f"{head.format(path)}\n" if path and lines else "") + "".join(f"{t}\n" for t in lines)
    for key, value in tables.items():
        inner = f"{path}.{key}" if path else key
        for row in value if isinstance(value, list) else [value]:
            own = "[[{}]]" if isinstance(value, list) else "[{}]"
            text += ("\n" if text else "") + to_toml(row, inner, own)
    return text


def has_tables(value: object) -> bool:
    """Return whether a value is a list of mappings."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def toml_value(value: Any) -> str:
    """Return a number, string, bool or list as TOML.

    JSON is TOML but for two things: it escapes characters beyond the basic plane as two surrogates,
    which TOML refuses, and it leaves DEL as it is.
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
