"""Layouts: files, what is refused, and which step shows what."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dfast.config import Config, Layout, LayoutPart
from dfast.config.describe import commented
from dfast.errors import ConfigError

CUBE = {"name": "cube", "prompt": "a red cube", "position": [0.0, -0.5, 0.0], "size": 0.5}
BALL = {"name": "ball", "prompt": "a blue sphere", "position": [0.0, 0.5, 0.1], "size": 0.4}
PAIR: dict[str, Any] = {"prompt": "a cube next to a ball", "parts": [CUBE, BALL | {"heading": 90}]}


def test_a_layout_is_read_from_files(tmp_path: Path) -> None:
    toml, plain = tmp_path / "scene.toml", tmp_path / "scene.json"
    plain.write_text(json.dumps(PAIR))
    found = Layout.load(plain)
    assert found.prompt == "a cube next to a ball" and found.whole == 0.5
    cube, ball = found.parts
    assert cube == LayoutPart("cube", "a red cube", (0.0, -0.5, 0.0), 0.5, 0.0)
    assert ball.heading == 90.0 and ball.position == (0.0, 0.5, 0.1)
    for path in (toml, plain):
        found.save(path)
        assert Layout.load(path) == found
    assert "[[parts]]" in toml.read_text()


def test_settings_hold_a_layout() -> None:
    config = Config.default().replace(layout=PAIR)
    assert config.layout == Layout.from_dict(PAIR)
    for text in (config.dumps(), commented(config)):
        assert Config.from_dict(tomllib.loads(text)) == config
    assert Config.from_dict(json.loads(config.dumps("json"))) == config
    assert "# What the part alone should be." in commented(config)
    assert "layout" not in Config.default().dumps()
    assert config.replace(layout=Layout()) == Config.default()


def part(**changes: Any) -> dict[str, Any]:
    """Return a layout of one part with some of its keys changed."""
    return {"prompt": "a cube", "parts": [CUBE | changes]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "config key 'layout.parts': expected 1 to 8, got 0 parts"),
        ({"prompt": "x", "parts": []}, "config key 'layout.parts': expected 1 to 8, got 0 parts"),
        ({"prompt": "x", "parts": [CUBE] * 9}, "config key 'layout.parts': expected 1 to 8, got 9"),
        ({"prompt": "x", "parts": {}}, "config key 'layout.parts': expected a list, got {}"),
        ({"prompt": "x", "parts": [3]}, "config section 'layout.parts[0]': expected a table"),
        ({"parts": [CUBE]}, "config key 'layout.prompt': expected a description of the whole"),
        ({"prompt": 3, "parts": [CUBE]}, "config key 'layout.prompt': expected a string, got 3"),
        (PAIR | {"whole": 1.5}, "config key 'layout.whole': expected a number in [0, 1], got 1.5"),
        (PAIR | {"hole": 1}, "config key 'layout.hole': unknown; did you mean"),
        (part(sise=0.3), "config key 'layout.parts[0].sise': unknown; did you mean 'size'?"),
        (
            part(pos=[0, 0, 0]),
            "config key 'layout.parts[0].pos': unknown; expected one of name, prompt, position, "
            "size, heading",
        ),
        (
            PAIR | {"zzz": {}},
            "config key 'layout.zzz': unknown; expected one of prompt, whole, parts",
        ),
        (part(name=" a"), "config key 'layout.parts[0].name': expected 1 to 64 printable charact"),
        (part(name=""), "config key 'layout.parts[0].name': expected 1 to 64 printable"),
        (part(name="a\nb"), "config key 'layout.parts[0].name': expected 1 to 64 printable"),
        (part(prompt=" "), "config key 'layout.parts[0].prompt': expected a description"),
        (part(size=0.05), "config key 'layout.parts[0].size': expected a number in [0.1, 1]"),
        (part(size=math.nan), "config key 'layout.parts[0].size': expected a finite number"),
        (part(size="big"), "config key 'layout.parts[0].size': expected a number, got 'big'"),
        (part(heading=400), "config key 'layout.parts[0].heading': expected degrees in [-360"),
        (part(position=[0, 0]), "config key 'layout.parts[0].position': expected a list of 3"),
        (part(position=[0, 0, math.inf]), "config key 'layout.parts[0].position': expected a fin"),
        (part(position=[0, 0, 0.6]), "config key 'layout.parts[0].position': expected a sphere of"),
        (
            {"prompt": "two", "parts": [CUBE, BALL | {"name": "cube"}]},
            "config key 'layout.parts[1].name': expected a name that no other part has, got 'cube'",
        ),
    ],
)
def test_a_bad_layout_is_named_in_one_line(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    for read in (Layout.from_dict, lambda table: Config().replace(layout=table).layout):
        if read is not Layout.from_dict and not values.get("parts"):
            continue  # settings without parts are those of one object
        with pytest.raises(ConfigError) as error:
            read(values)
        assert str(error.value).startswith(message) and "\n" not in str(error.value)
    path = tmp_path / "scene.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError) as error:
        Layout.load(path)
    assert str(error.value).startswith(f"layout file '{path}': {message}")


def test_parts_made_directly_are_checked() -> None:
    for wrong in (LayoutPart("a", "b", size="c"), LayoutPart("a", "b", (0.0, 1.0)), "a"):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"config key 'layout\.parts"):
            Layout("x", parts=(wrong,))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"layout\.parts': expected 1 to 8, got 0 parts"):
        Layout("x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidance": {"variant": "vsd"}}, "config key 'guidance.variant': expected one that tr"),
        ({"background": {"kind": "mlp"}}, "config key 'background.kind': expected random or solid"),
        ({"method": {"name": "clip-mesh"}}, "config key 'method.name': expected one that a prior"),
        ({"method": {"name": "dream-fields"}}, "config key 'method.name': expected one that a pr"),
    ],
)
def test_settings_that_do_not_go_with_a_layout(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config().replace(layout=PAIR, **changes)
    assert str(error.value).startswith(message)


def test_steps_show_the_whole_and_the_parts_in_turn() -> None:
    layout = Layout.from_dict(PAIR)
    assert [layout.subject(step) for step in range(8)] == [1, 0, 2, 0, 1, 0, 2, 0]
    for whole in (0.0, 0.3, 0.7, 1.0):
        shown = [Layout.from_dict(PAIR | {"whole": whole}).subject(step) for step in range(1000)]
        assert shown.count(0) == round(1000 * whole)
        assert abs(shown.count(1) - shown.count(2)) <= 1
    assert layout.asked == ("a cube next to a ball", "a red cube", "a blue sphere")
    assert Layout.from_dict(PAIR | {"whole": 0}).asked == ("a red cube", "a blue sphere")


def test_a_layout_is_read_from_a_path() -> None:
    with pytest.raises(ConfigError, match="layout file: expected a path, got 3"):
        Layout.load(3)  # type: ignore[arg-type]
