"""Presets: plain tables, complete once they are a `Config`, and never changed by their use."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dfast.config import Config, presets
from dfast.errors import ConfigError

TABLES = {
    "cpu": presets.CPU,
    "cuda": presets.CUDA,
    "dreamfusion": presets.DREAMFUSION,
    "pretrained": presets.PRETRAINED,
}


def _names(table: dict[str, Any], path: str = "") -> set[str]:
    names = set()
    for key, value in table.items():
        inner = f"{path}.{key}" if path else key
        names |= _names(value, inner) if isinstance(value, dict) else {inner}
    return names


def _value(table: dict[str, Any], name: str) -> Any:
    for key in name.split("."):
        table = table[key]
    return table


@pytest.mark.parametrize("name", TABLES)
def test_a_preset_is_plain_data(name: str) -> None:
    table = TABLES[name]
    assert json.loads(json.dumps(table)) == table
    full = Config.from_dict(table).to_dict()
    assert all(_value(full, key) == _value(table, key) for key in _names(table))


@pytest.mark.parametrize("name", TABLES)
def test_what_a_preset_leaves_out_takes_its_default(name: str) -> None:
    full, default = Config.from_dict(TABLES[name]).to_dict(), Config().to_dict()
    left_out = _names(default) - _names(TABLES[name])
    assert left_out and all(_value(full, key) == _value(default, key) for key in left_out)


def test_methods_read_the_tables() -> None:
    assert Config.default("cpu") == Config.from_dict(presets.CPU)
    # A run of an older version has no such setting, and goes on without the term.
    assert Config().regularizer.darkness == (0.0, 0.0)
    assert Config().regularizer.normal_variation == 0.0
    assert Config.default("cuda:1") == Config.from_dict(presets.CUDA)
    assert Config.dreamfusion() == Config.from_dict(presets.DREAMFUSION)
    for name, scale in (("sd", 100.0), ("sdxl", 100.0), ("if", 20.0)):
        expected = Config.from_dict(presets.PRETRAINED).replace(guidance={"scale": scale})
        assert Config.for_prior(name) == expected


def test_pretrained_differs_from_the_paper_where_it_says_so() -> None:
    paper, usual = Config.dreamfusion(), Config.for_prior("sd")
    assert usual.field.grid == paper.field.grid and usual.regularizer == paper.regularizer
    assert usual.background == Config().background and usual.optimizer == Config().optimizer
    assert usual.coarse_to_fine == paper.coarse_to_fine and usual.camera.views == 1


def test_use_does_not_change_a_preset() -> None:
    before = copy.deepcopy(TABLES)
    Config.dreamfusion().replace(train={"steps": 1}, field={"grid": {"levels": 2}})
    Config.for_prior("if").to_dict()["field"]["grid"]["levels"] = 1
    assert before == TABLES


def test_presets_by_name() -> None:
    assert presets.named("default", "cpu") == presets.CPU
    assert presets.named("default", "cuda") == presets.CUDA
    assert presets.named("dreamfusion", "cuda") == presets.DREAMFUSION
    with pytest.raises(ConfigError, match="preset: expected one of default, dreamfusion"):
        presets.named("paper", "cpu")
