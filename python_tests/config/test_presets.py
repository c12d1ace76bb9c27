"""Presets: plain tables, complete once they are a `Config`, and never changed by their use."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from dfast.config import Config, presets
from dfast.config.schedules import learning_rate
from dfast.errors import ConfigError

TABLES = {
    "cpu": presets.CPU,
    "cuda": presets.CUDA,
    "dreamfusion": presets.DREAMFUSION,
    "dreamfusion-grid": presets.DREAMFUSION_GRID,
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
    paper = Config.from_dict(presets.DREAMFUSION_GRID)
    usual = Config.for_prior("sd")
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
    assert presets.named("dreamfusion-grid", "cpu") == presets.DREAMFUSION_GRID
    with pytest.raises(ConfigError, match="preset: expected one of default, dreamfusion"):
        presets.named("paper", "cpu")


def test_dreamfusion_has_the_numbers_of_the_paper() -> None:
    """Poole et al. 2022, appendix A, with lengths in radii of the bounding sphere, 1.4."""
    paper, r = Config.dreamfusion(), 1.4
    assert paper.field.kind == "ipe" and paper.field.density_activation == "exp"
    ipe = paper.field.ipe
    assert (ipe.frequencies, ipe.width, ipe.blocks) == (8, 128, 5)
    assert ipe.base_frequency == pytest.approx(r) and ipe.directions == "icosahedron"
    assert paper.field.blob_on == "density" and paper.field.density_scale == pytest.approx(r)
    assert (paper.field.blob_height, paper.field.blob_width) == pytest.approx((5.0, 0.2 / r))
    std = [r * s for s in paper.coarse_to_fine.lowpass_std]
    assert [s**2 for s in std] == pytest.approx([5e-2, 2e-3])
    assert paper.coarse_to_fine.lowpass_std_until * 15000 == pytest.approx(5000)
    focal = [0.5 / math.tan(math.radians(fov / 2)) for fov in paper.camera.fov]
    assert focal == pytest.approx([1.35, 0.7]) and paper.camera.fov_mode == "focal"
    assert paper.light.around == "position" and paper.light.spread == pytest.approx(1 / r)
    rates = [learning_rate(step, 15000, paper.optimizer) for step in (0, 2999, 3000, 15000)]
    assert rates[0] < 1e-3 and rates[1:] == pytest.approx([1.0, 1.0, 0.01])
    assert paper.optimizer.lr_mlp == 1e-4 and paper.guidance.scale == 100.0
    assert paper.camera.resolution == ((0.0, 64),) and paper.background.kind == "mlp"
