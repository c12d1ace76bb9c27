"""The settings as TOML with comments that say what each means."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import typing
from functools import cache
from typing import Any, Literal

from dfast.config.config import Config
from dfast.config.parsing import toml_value

WIDTH = 100
"""Most characters of a line of a comment."""


def commented(config: Config) -> str:
    """Return `Config.dumps` with a comment before each setting: its meaning, unit and range.

    Comments are the docstrings of the settings. Without Python's source files there are none.

    Args:
        config: the settings.
    """
    return _table(config, "", "")


def _table(section: Any, path: str, about: str, head: str = "[{}]") -> str:
    """Return a section and the sections in it as TOML.

    Args:
        section: a dataclass.
        path: its dotted name, "" at the top.
        about: what it is for.
        head: what stands above it.
    """
    hints, meanings = (
        typing.get_type_hints(type(section)),
        _meanings(typing.cast(Any, type(section))),
    )
    lines, inner = [], ""
    for field in dataclasses.fields(section):
        if isinstance(section, Config) and field.name in section.unused:
            continue
        value, meaning = getattr(section, field.name), meanings.get(field.name, "")
        name = f"{path}.{field.name}" if path else field.name
        if dataclasses.is_dataclass(value):
            inner += _table(value, name, meaning)
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for row in value:
                inner += _table(row, name, meaning, "[[{}]]")
        else:
            text = f"{field.name} = {toml_value(_plain(value))}"
            lines += [*_comment(meaning + _choices(hints[field.name], meaning)), text]
    if not lines:
        return inner
    above = [*_comment(about), head.format(path)] if path else []
    return "\n".join([*above, *lines]) + "\n\n" + inner if path else "\n".join(lines) + inner


def _plain(value: Any) -> Any:
    """Return tuples as lists."""
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _choices(hint: Any, meaning: str) -> str:
    """Return the values of a choice, as far as its meaning does not name them."""
    if typing.get_origin(hint) is not Literal:
        return " True or false." if hint is bool else ""
    choices = [str(choice) for choice in typing.get_args(hint)]
    named = all(f"{choice}:" in meaning for choice in choices)
    return "" if named else f" One of {', '.join(choices)}."


def _comment(text: str) -> list[str]:
    """Return a text as lines of a comment."""
    return textwrap.wrap(" ".join(text.split()), WIDTH, initial_indent="# ", subsequent_indent="# ")


@cache
def _meanings(cls: Any) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, by its name."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in itertools.pairwise(tree.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = str(after.value.value).replace("`", "")
    return found
