"""Settings: round trips, named errors, nothing imported."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import itertools
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfast.config import Config, FieldConfig, GridConfig, GuidanceConfig
from dfast.errors import ConfigError

SECTIONS = dataclasses.fields(Config)
PRESETS = [
    Config.default("cpu"),
    Config.default("cuda:0"),
    Config.dreamfusion(),
    Config.for_prior("sd"),
]


@pytest.mark.parametrize("config", PRESETS)
def test_text_round_trips(config: Config, tmp_path: Path) -> None:
    assert Config.from_dict(tomllib.loads(config.dumps())) == config
    assert Config.from_dict(json.loads(config.dumps("json"))) == config
    for name in ("c.toml", "c.json"):
        config.save(tmp_path / name)
        assert Config.load(tmp_path / name) == config


def test_presets_differ_where_they_should() -> None:
    assert Config.default("cuda").train.steps > Config.default("cpu").train.steps
    paper = Config.dreamfusion()
    assert (paper.guidance.scale, paper.train.steps, paper.camera.views) == (100.0, 15000, 4)


def test_settings_of_real_models() -> None:
    latent, pixels = Config.for_prior("sd15"), Config.for_prior("if-xl")
    assert latent.guidance.scale == 100.0 and pixels.guidance.scale == 20.0
    assert latent == Config.for_prior("sdxl") and pixels == Config.for_prior("if")
    assert latent.camera.views == 1 and latent.camera.resolution == ((0.0, 64),)
    assert latent.guidance.view_conditioning == "camera" and latent.train.steps == 10000
    assert latent.optimizer == Config().optimizer and latent.field.blob == "linear"
    assert latent.field.grid == Config.dreamfusion().field.grid
    assert Config.for_prior("shapes") == Config.default()
    for alias in ("sd", "sd15", "sd21", "sdxl", "if", "if-m", "if-l", "if-xl"):
        assert Config.for_prior(alias).train.steps == 10000


@pytest.mark.parametrize(
    "family", ["deepfloyd", "foo", "SHAPES", "", "sdxx", "iffy", "owner/sd15", "DeepFloyd/IF", None]
)
def test_settings_of_no_family(family: Any) -> None:
    with pytest.raises(ConfigError, match="family: expected 'shapes', 'sd', 'sdxl' or 'if', got"):
        Config.for_prior(family)


def test_a_file_is_laid_over_a_base(tmp_path: Path) -> None:
    path, base = tmp_path / "c.toml", Config.for_prior("if")
    path.write_text("[prior]\nvae_checkpointing = true\n")
    assert Config.load(path, base=base) == base.replace(prior={"vae_checkpointing": True})
    assert Config.load(path) == Config().replace(prior={"vae_checkpointing": True})
    base.save(path)
    assert Config.load(path, base=Config()) == base  # it says everything
    listed = tmp_path / "c.json"
    listed.write_text("[1]")
    with pytest.raises(ConfigError, match="expected a table"):
        Config.load(listed, base=base)
    with pytest.raises(ConfigError, match="'self': unknown"):
        Config().replace(**{"self": 1})


def test_replace_changes_a_copy() -> None:
    config = Config()
    changed = config.replace(field={"grid": {"levels": 3}}, train={"steps": 7})
    assert (changed.field.grid.levels, changed.train.steps) == (3, 7)
    assert config == Config() and changed.field.hidden == config.field.hidden
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train = changed.train  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"camera": {"viws": 3}},
            "config key 'camera.viws': unknown; did you mean 'camera.views'?",
        ),
        ({"trian": {}}, "config key 'trian': unknown; did you mean 'train'?"),
        ({"camera": 3}, "config section 'camera': expected a table, got 3"),
        ({"camera": {"fov": [30]}}, "config key 'camera.fov': expected a list of 2, got [30]"),
        ({"train": {"steps": 0}}, "config key 'train.steps': expected a number >= 1, got 0"),
        ({"train": {"steps": 1.5}}, "config key 'train.steps': expected a whole number, got 1.5"),
        ({"train": {"steps": True}}, "config key 'train.steps': expected a whole number, got True"),
        ({"field": {"blob": "x"}}, "config key 'field.blob': expected one of"),
        (
            {"guidance": {"t_min": 0.9, "t_max": 0.1}},
            "config key 'guidance.t_max': expected more than",
        ),
        (
            {"camera": {"resolution": [[0.5, 64]]}},
            "config key 'camera.resolution': expected rising",
        ),
        ({"camera": {"distance": [3, 2]}}, "config key 'camera.distance': expected (low, high)"),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_dict(values)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Config(field=FieldConfig(density_activation="relu")),  # type: ignore[arg-type]
        lambda: Config(guidance=GuidanceConfig(view_conditioning="paper")),  # type: ignore[arg-type]
        lambda: Config(field=FieldConfig(grid=GridConfig(levels=2.5))),  # type: ignore[arg-type]
        lambda: Config(field={"hidden": 8}),  # type: ignore[arg-type]
        lambda: Config().replace(occupancy={"decay": 0}),
        lambda: Config().replace(march={"early_stop_eps": 1}),
        lambda: Config().replace(field={"density_bias": float("nan")}),
        lambda: Config().replace(field={"blob_height": float("inf")}),
    ],
)
def test_sections_are_checked_however_they_were_made(make: Callable[[], Config]) -> None:
    with pytest.raises(ConfigError, match=r"config (key|section) '"):
        make()


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("x = = 3")
    for path in (tmp_path / "c.toml", tmp_path / "missing.toml"):
        with pytest.raises(ConfigError, match=path.name):
            Config.load(path)


def test_import_stays_light() -> None:
    code = "import dfast, sys; dfast.Config.default(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def _documented(module: str) -> set[str]:
    """Return "Class.field" for the annotated fields of a module that a docstring follows."""
    source = importlib.import_module(f"dfast.config.{module}").__file__
    assert source is not None
    tree = ast.parse(Path(source).read_text(encoding="utf-8"))
    found = set()
    for section in tree.body:
        if isinstance(section, ast.ClassDef):
            for field, after in itertools.pairwise(section.body):
                is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and is_text:
                    assert isinstance(field.target, ast.Name)
                    found.add(f"{section.name}.{field.target.id}")
    return found


def test_every_setting_says_what_it_means() -> None:
    modules = ("config", "scene", "render", "guidance", "training")
    documented = set().union(*map(_documented, modules))
    for section in (Config, GridConfig, *(type(getattr(Config(), f.name)) for f in SECTIONS)):
        for field in dataclasses.fields(section):
            assert f"{section.__name__}.{field.name}" in documented
