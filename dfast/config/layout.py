"""The layout of a scene: the things in it, with a prompt for each and one for the whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfast._files import replacing, user_path
from dfast._numbers import real, shown
from dfast.config.checks import check
from dfast.config.files import read_values
from dfast.config.parsing import as_table, from_table, to_toml
from dfast.errors import ConfigError

WHOLE = 0.5
"""Fraction of the steps that show the whole, unless a layout says otherwise."""
MOST_PARTS = 8
"""Most parts: Adam takes sixteen tensors, and a part has two."""
SMALLEST = 0.1
"""Smallest size of a part; a smaller one would have hardly a pixel."""
LONGEST_NAME = 64
"""Most characters of a part's name."""


@dataclass(frozen=True)
class LayoutPart:
    """One thing of a scene: its prompt, and where its own unit sphere is."""

    name: str = ""
    """What it is called in files; another one for each part, 1 to 64 printable characters."""
    prompt: str = ""
    """What the part alone should be."""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where its centre is, world units."""
    size: float = 0.5
    """Radius of its bounding sphere in the scene, world units, 0.1 to 1. It lies in the unit
    sphere."""
    heading: float = 0.0
    """Where its front points: degrees from +x towards +y, -360 to 360."""


@dataclass(frozen=True)
class Layout:
    """Several things in a scene, each a field of its own (`dfast.train(layout=...)`).

    Get one from `load`, `from_dict` or `dfast.layout_of`; without parts it is that of a run that
    makes one object.
    """

    prompt: str = ""
    """What the whole should be."""
    whole: float = WHOLE
    """Fraction of the steps that show the whole under its own prompt, 0 to 1; the others show one
    part alone. 0: the prompt of the whole is a name, and the prior does not see it."""
    parts: tuple[LayoutPart, ...] = ()
    """The things, 1 to 8; each has the keys name, prompt, position, size and heading."""

    @property
    def shows_whole(self) -> bool:
        """Whether steps show the whole under its own prompt, as those of one object do."""
        return not self.parts or self.whole > 0.0

    def __post_init__(self) -> None:
        parts = self.parts
        if (self.prompt, self.whole, parts) == ("", WHOLE, ()):
            return  # that of a run that makes one object
        ok = isinstance(parts, tuple) and all(isinstance(part, LayoutPart) for part in parts)
        ok = ok and 1 <= len(parts) <= MOST_PARTS
        got = f"{len(parts)} parts" if isinstance(parts, tuple | list) else shown(parts)
        if not ok:
            raise ConfigError(f"config key 'layout.parts': expected 1 to {MOST_PARTS}, got {got}")
        ok = _is_text(self.prompt)
        check("layout", "prompt", self.prompt, ok, "a description of the whole")
        share = real(self.whole)
        ok = share is not None and 0.0 <= share <= 1.0
        check("layout", "whole", self.whole, ok, "a number in [0, 1]")
        names: list[str] = []
        for index, part in enumerate(parts):
            _check_part(f"layout.parts[{index}]", part, names)
            names.append(part.name)

    @property
    def asked(self) -> tuple[str, ...]:
        """The prompts that the prior is asked for: the parts', before them that of the whole if
        steps show it."""
        alone = tuple(part.prompt for part in self.parts)
        return (self.prompt, *alone) if self.whole > 0.0 else alone

    def subject(self, step: int) -> int:
        """Return what a step shows: 0 is the whole, i is the i-th part.

        The whole comes as regularly as its fraction of the steps allows, the parts take turns.

        Args:
            step: its number, from 0.
        """
        before, after = math.floor(step * self.whole), math.floor((step + 1) * self.whole)
        return 0 if after > before else 1 + (step - before) % len(self.parts)

    @classmethod
    def load(cls, path: str | Path) -> Layout:
        """Read a layout from a file.

        Args:
            path: a .json file, or TOML under any other name.

        Raises:
            ConfigError: the file cannot be read, or holds no layout.
        """
        values = read_values(path, "layout file")
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"layout file '{user_path(path)}': {error}") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layout:
        """Return the layout that nested mappings describe.

        Args:
            values: prompt, parts and, if wanted, whole.

        Raises:
            ConfigError: an unknown key, or a value that cannot be.
        """
        found = from_table(cls, values, "layout")
        if not found.parts:
            raise ConfigError(f"config key 'layout.parts': expected 1 to {MOST_PARTS}, got 0 parts")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, lists, numbers and strings, in declaration order."""
        table: dict[str, Any] = as_table(self)
        return table

    def save(self, path: str | Path) -> None:
        """Write the layout as TOML, or as JSON where the name ends in .json, atomically.

        Args:
            path: the file.

        Raises:
            OSError: it cannot be written.
        """
        path, table = user_path(path), self.to_dict()
        text = json.dumps(table, indent=2) + "\n" if path.suffix == ".json" else to_toml(table)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _check_part(path: str, part: LayoutPart, names: list[str]) -> None:
    """Raise ConfigError unless a part can be in a scene.

    Args:
        path: its dotted name.
        part: the part.
        names: those of the parts before it.
    """
    name = part.name
    ok = _is_text(name) and name.isprintable() and name == name.strip()
    ok = ok and len(name) <= LONGEST_NAME
    expected = f"1 to {LONGEST_NAME} printable characters without spaces around them"
    check(path, "name", name, ok, expected)
    check(path, "name", name, name not in names, "a name that no other part has")
    check(path, "prompt", part.prompt, _is_text(part.prompt), "a description of the part")
    size = real(part.size)
    ok = size is not None and SMALLEST <= size <= 1.0
    check(path, "size", part.size, ok, f"a number in [{SMALLEST:g}, 1]")
    heading = real(part.heading)
    ok = heading is not None and abs(heading) <= 360.0
    check(path, "heading", part.heading, ok, "degrees in [-360, 360]")
    given = part.position if isinstance(part.position, tuple | list) else ()
    position = [real(value) for value in given]
    numbers = [value for value in position if value is not None]
    ok = len(numbers) == len(position) == 3
    check(path, "position", part.position, ok, "three finite numbers")
    assert size is not None
    reach = math.hypot(*numbers) + size
    ok = reach <= 1.0 + 1e-6
    expected = f"a sphere of radius {size:g} inside the unit sphere, |position| + size <= 1"
    check(path, "position", part.position, ok, expected)


def _is_text(value: object) -> bool:
    """Return whether a value is a text with anything in it."""
    return isinstance(value, str) and bool(value.strip())
