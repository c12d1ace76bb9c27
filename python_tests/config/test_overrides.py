"""Settings given as text."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from dfast.config import Config
from dfast.config.overrides import parse_override
from dfast.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("guidance.scale=20", {"guidance": {"scale": 20}}),
        (" guidance.scale = 2.5 ", {"guidance": {"scale": 2.5}}),
        ("prior.compile=true", {"prior": {"compile": True}}),
        ("background.kind=solid", {"background": {"kind": "solid"}}),  # a string without quotes
        ('background.kind="solid"', {"background": {"kind": "solid"}}),
        ("guidance.negative=a = b", {"guidance": {"negative": "a = b"}}),
        ("guidance.negative=", {"guidance": {"negative": ""}}),
        ("guidance.negative=dog \U0001f415", {"guidance": {"negative": "dog \U0001f415"}}),
        ("camera.fov=[30, 40]", {"camera": {"fov": [30, 40]}}),
        ("field.grid.levels=4", {"field": {"grid": {"levels": 4}}}),
    ],
)
def test_text_becomes_a_table(text: str, expected: dict[str, Any]) -> None:
    assert parse_override(text) == expected
    Config().replace(**expected)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "=3",
        "a b=3",
        "a..b=3",
        ".a=3",
        "a.=3",
        "a-b=1",
        "gö.x=1",
        "ключ=1",
        "a\udcff=1",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_override(text)
    assert str(error.value).startswith("--set: expected KEY=VALUE") and "\n" not in str(error.value)


@pytest.mark.parametrize("negative", ["Chäir", "dog \U0001f415", "\x7f\x00\t", 'a "b" \\ c', "]"])
def test_any_text_survives_a_file(negative: str) -> None:
    config = Config().replace(guidance={"negative": negative})
    assert Config.from_dict(tomllib.loads(config.dumps())) == config
    assert Config.from_dict(json.loads(config.dumps("json"))) == config


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ö", "ö"),
        ("\u00a0x", "\u00a0x"),
        ("1\nb = 2", "1\nb = 2"),
        ("[" * 10_000, "[" * 10_000),
        ("1" * 5000, "1" * 5000),
        ('"a" # b', "a"),
    ],
)
def test_any_value_is_read(value: str, expected: object) -> None:
    found = parse_override(f"guidance.negative={value}")["guidance"]["negative"]
    assert found == expected or found == str(expected).strip()


def test_a_key_of_many_names_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 8 names"):
        parse_override(".".join("a" * 5000) + "=1")
