"""The settings that someone may have meant who wrote one that does not exist."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any

CUTOFF = 0.6
"""Similarity, 0 to 1, from which a name is suggested."""
MOST = 3
"""Suggestions for one name."""


def setting_names(cls: type, path: str = "") -> tuple[str, ...]:
    """Return the dotted names of all settings of a dataclass and of the sections in it.

    Args:
        cls: the dataclass.
        path: its dotted name, "" at the top.
    """
    hints = typing.get_type_hints(cls)
    names: list[str] = []
    for field in dataclasses.fields(typing.cast(Any, cls)):
        name = f"{path}.{field.name}" if path else field.name
        names.append(name)
        if dataclasses.is_dataclass(hints[field.name]):
            names += setting_names(typing.cast(type, hints[field.name]), name)
    return tuple(names)


def suggest(name: str, known: tuple[str, ...]) -> str:
    """Return what to say about a setting that does not exist.

    Args:
        name: its dotted name, or that of a section where a setting is expected.
        known: dotted names of all settings and sections.
    """
    section, _, key = name.rpartition(".")
    if name in known and section:
        return f"settings lie in tables of their sections: {{'{section}': {{'{key}': ...}}}}"
    if inside := [k for k in known if k.startswith(f"{name}.")]:
        return f"did you mean one of its settings, such as {inside[0]!r}?"
    beside = [k for k in known if k.rpartition(".")[0] == section]
    last = {k: k.rpartition(".")[2] for k in known}
    found = [k for k in known if last[k] == key]  # in another section
    found = found or _near(key, {k: last[k] for k in beside})
    found = found or [k for k in known if key in last[k].split("_")]
    found = found or _near(key, last)
    if found:
        return f"did you mean {' or '.join(repr(k) for k in found[:MOST])}?"
    names = ", ".join(last[k] for k in beside)
    return f"expected one of {names}"


def _near(key: str, names: dict[str, str]) -> list[str]:
    """Return those of `names`, by dotted name, that resemble a key, the nearest first."""
    near = difflib.get_close_matches(key, list(names.values()), n=1, cutoff=CUTOFF)
    return [name for name, last in names.items() if last in near]
