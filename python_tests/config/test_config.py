"""Settings: round trips, named errors, nothing imported."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import itertools
import json
import re
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
    with pytest.raises(
        ConfigError, match=r"family: expected 'shapes', 'sd', 'sdxl', 'if', .*, got"
    ):
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
        (
            {"camera": {"views": 6, "ring": 4}},
            "config key 'camera.views': expected a multiple of camera.ring, which is 4, got 6",
        ),
        (
            {"camera": {"views": 4, "ring": 4, "lookat_jitter": 0.1}},
            "config key 'camera.lookat_jitter': expected 0 with a camera.ring, got 0.1",
        ),
        ({"camera": {"ring": 0}}, "config key 'camera.ring': expected a number in [1, 64], got 0"),
        (
            {"guidance": {"variant": "csd", "rescale": 0.5}},
            "config key 'guidance.rescale': expected 0 with variant 'csd', got 0.5",
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
    modules = (
        "config",
        "scene",
        "render",
        "guidance",
        "training",
        "methods",
        "dream_fields",
        "clip_mesh",
        "refine",
        "layout",
    )
    documented = set().union(*map(_documented, modules))
    for section in (Config, GridConfig, *(type(getattr(Config(), f.name)) for f in SECTIONS)):
        for field in dataclasses.fields(section):
            assert f"{section.__name__}.{field.name}" in documented


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"scale": 20}, "did you mean 'guidance.scale'?"),
        ({"steps": 20}, "did you mean 'train.steps' or 'refine.steps'?"),
        ({"guidance": {"lr_grid": 1}}, "did you mean 'optimizer.lr_grid'?"),
        ({"lr": 1}, "did you mean 'optimizer.lr_grid' or 'optimizer.lr_mlp' or"),
        ({"field": {"grid": {"level": 1}}}, "did you mean 'field.grid.levels'?"),
        ({"qqqq": 1}, "expected one of field, background"),
        ({"march": {"qqqq": 1}}, "expected one of step_size, cone_angle"),
        ({"train.steps": 3}, "settings lie in tables of their sections: {'train': {'steps': ...}}"),
        ({"x\ny" * 100: 1}, "unknown"),
        ({1: 1}, "config key '1': unknown"),
    ],
)
def test_unknown_settings_get_a_suggestion(values: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(advice)) as error:
        Config.from_dict(values)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "values",
    [
        {"train": {"steps": 10**400}},
        {"train": {"steps": 10**5000}},
        {"train": {"steps": 1e300}},
        {"train": {"steps": 2**31}},
        {"guidance": {"scale": 10**400}},
        {"march": {"step_size": 1e308}},
        {"camera": {"fov": [10**400, 1]}},
        {"field": {"grid": {"features": 10**5000}}},
        {"field": {"grid": {"features": [2]}}},
        {"field": {"grid": {"features": True}}},
        {"field": {"grid": {"features": 2.5}}},
        {"guidance": {"negative": "\ud800"}},
        {"guidance": {"negative": "a\udcff"}},
        {"guidance": {"negative": DEEP}},
        {"guidance": DEEP},
        {"camera": {"resolution": DEEP}},
        DEEP,
    ],
)
def test_extreme_values_are_named_in_one_short_line(values: Any) -> None:
    with pytest.raises(ConfigError, match="expected") as error:
        Config.from_dict(values)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    str(error.value).encode()


def test_whole_numbers_written_as_fractions_are_whole() -> None:
    config = Config().replace(
        field={"grid": {"features": 4.0}, "layers": 2.0},
        occupancy={"resolution": 32.0},
        camera={"resolution": [[0, 32.0]]},
    )
    values = (
        config.field.grid.features,
        config.field.layers,
        config.occupancy.resolution,
        config.camera.resolution[0][1],
    )
    assert values == (4, 2, 32, 32) and {type(v) for v in values} == {int}
    grid = Config(field=FieldConfig(grid=GridConfig(features=2.0))).field.grid  # type: ignore[arg-type]
    assert type(grid.features) is int


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[" * 100_000),
        ("a.toml", "x = " + "[" * 100_000),
        ("a.toml", "x = " + "1" * 5000),
        ("a.json", '{"train": {"steps": ' + "1" * 5000 + "}}"),
        ("a.json", "NaN"),
        ("a.json", '{"guidance": {"scale": Infinity}}'),
        ("a.toml", "guidance.negative = 2020-01-01"),
        ("a.toml", "[[guidance]]\nscale = 1"),
    ],
)
def test_files_that_are_too_much_are_named(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as error:
        Config.load(tmp_path / name, base=Config())
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[train]\nsteps = 5\n", encoding="utf-8-sig")
    assert Config.load(tmp_path / "a.toml").train.steps == 5


def test_numbers_of_numpy_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    found = Config().replace(
        guidance={"scale": np.float32(3)},
        camera={"views": np.int64(2), "resolution": ((np.float64(0), np.uint8(16)),)},
        field={"grid": {"features": np.int32(4)}},
    )
    plain = Config().replace(
        guidance={"scale": 3.0},
        camera={"views": 2, "resolution": ((0.0, 16),)},
        field={"grid": {"features": 4}},
    )
    assert found == plain and found.dumps() == plain.dumps()


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance": {"scale": [3.0]}},
        {"camera": {"views": 2.5}},
        {"camera": {"views": "2"}},
        {"field": {"grid": {"features": [1, 2]}}},
    ],
)
@pytest.mark.parametrize("kind", ["asarray", "float32"])
def test_arrays_and_other_numbers_are_refused(changes: dict[str, Any], kind: str) -> None:
    np = pytest.importorskip("numpy")

    def converted(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: converted(v) for key, v in value.items()}
        if isinstance(value, list):
            return np.asarray([*value, 5.0])
        return value if isinstance(value, str) or kind == "asarray" else np.float32(value)

    with pytest.raises(ConfigError, match=r"^config key .*: expected "):
        Config().replace(**converted(changes))


@pytest.mark.parametrize("device", ["CPU", "gpu", "nonsense", "cuda:", 3, None])
def test_settings_are_those_of_a_device(device: Any) -> None:
    with pytest.raises(ConfigError, match="device: expected cpu, cuda or cuda:N, got"):
        Config.default(device)
    assert Config.default("cuda:1") == Config.default("cuda") != Config.default("cpu:0")
