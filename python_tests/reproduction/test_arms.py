"""What is compared: methods with their own settings, and an ablation by settings that exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dfast.config import Config
from dfast.config.methods import METHODS
from dfast.errors import ConfigError
from dfast.reproduction.arms import (
    ORDER,
    ablation,
    methods_of,
    quick_settings,
    table1,
    usual_guide,
)
from dfast.runs.arguments import resolve_config


def resolve(name: str, tables: Sequence[Any]) -> Config:
    return resolve_config("shapes", "cpu", method=name, overrides=tables)


def test_methods_of_the_paper_come_in_its_order() -> None:
    assert set(ORDER) <= set(METHODS)
    assert methods_of(None, "clip") == ORDER
    assert methods_of(None, "") == ("dreamfusion", "dfast")
    assert methods_of(["dfast", "dfast"], "") == ("dfast",)


def test_all_methods_run_beside_the_embedded_prior() -> None:
    assert methods_of(None, usual_guide("table1", "shapes")) == ORDER
    assert usual_guide("table1", "sd15") == usual_guide("ablation", "shapes") == ""


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "methods: expected a list of some of dfast, "),
        ("dfast", "methods: expected a list of some of dfast, "),
        (["dfast", "nerf"], "methods: expected some of dfast, .*, got 'nerf'"),
        (["dream-fields"], "guide: expected the CLIP that guides 'dream-fields'"),
    ],
)
def test_bad_methods_are_named(names: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        methods_of(names, "")


def test_arms_of_table_1_have_the_settings_of_their_methods() -> None:
    arms = {arm.name: arm for arm in table1(methods_of(None, "clip"), "clip", resolve)}
    assert arms["dreamfusion"].config == Config.for_method("dreamfusion", "cpu", "shapes")
    assert arms["dfast"].config == Config.default("cpu")
    assert {name for name, arm in arms.items() if arm.clip} == {"dream-fields", "clip-mesh"}


def test_the_ablation_adds_one_ingredient_at_a_time() -> None:
    arms = ablation("dfast", resolve)
    whole = Config.default("cpu")
    assert [arm.title for arm in arms][1:] == [
        "+ wide views", "+ view words", "+ lighting", "+ textureless",
    ]  # fmt: skip
    narrow, wide, words, lit, last = (arm.config for arm in arms)
    assert last == whole
    assert narrow.camera.elevation == (30.0, 30.0)
    assert narrow.camera.distance == (3.0, 3.0) and narrow.camera.fov == (40.0, 40.0)
    assert narrow.guidance.view_conditioning == "none"
    assert (narrow.shading.diffuse, narrow.shading.textureless) == (0.0, 0.0)
    # Each step changes one section, and leaves the rest as it was.
    assert wide == narrow.replace(camera=whole.to_dict()["camera"])
    assert words == wide.replace(guidance=whole.to_dict()["guidance"])
    odds = whole.shading
    both = {"albedo": odds.albedo, "diffuse": odds.diffuse + odds.textureless, "textureless": 0.0}
    assert lit == words.replace(shading=both)
    assert last == lit.replace(shading=whole.to_dict()["shading"])


@pytest.mark.parametrize("name", ["dream-fields", "nerf", None])
def test_a_method_without_a_prior_is_not_taken_apart(name: Any) -> None:
    with pytest.raises(ConfigError, match="method: expected one of dfast, dreamfusion"):
        ablation(name, resolve)


@pytest.mark.parametrize("name", METHODS)
def test_quick_runs_are_short(name: str) -> None:
    config = resolve(name, [quick_settings(name)])
    assert config.train.steps <= 100 and config.camera.resolution[-1][1] <= 64
    assert config.method.name == name
