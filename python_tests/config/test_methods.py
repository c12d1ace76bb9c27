"""Methods: their settings, and what files hold of them."""

from __future__ import annotations

import pytest

from dfast.config import Config, presets
from dfast.config.describe import commented
from dfast.config.methods import DEFAULT, METHODS, unused_sections
from dfast.errors import ConfigError
from dfast.runs.arguments import resolve_config


def test_the_default_method_leaves_no_trace_in_files() -> None:
    config = Config.default()
    assert config.method.name == DEFAULT and Config.for_method(DEFAULT) == config
    assert "method" not in config.to_dict() and "method" not in config.dumps()
    assert "[method]" not in commented(config)


@pytest.mark.parametrize("name", METHODS)
def test_files_hold_a_method_and_its_sections_alone(name: str) -> None:
    config = Config.for_method(name, "cuda")
    assert config.method.name == name
    assert Config.from_dict(config.to_dict()) == config
    assert not unused_sections(name) & config.to_dict().keys()
    assert set(METHODS[name].sections) <= config.to_dict().keys()
    for section in METHODS[name].sections:
        assert f"[{section}]" in commented(config)


def test_a_method_is_chosen_by_name_or_by_the_settings() -> None:
    for name in METHODS:
        family = "shapes" if METHODS[name].guide == "prior" else ""
        wanted = Config.for_method(name, "cpu", family).replace(train={"steps": 7})
        steps = {"train": {"steps": 7}}
        assert resolve_config(device="cpu", method=name, config=steps) == wanted
        assert resolve_config(device="cpu", resumed=wanted, method=name) == wanted
        named = {"method": {"name": name}, **steps}
        assert resolve_config(device="cpu", config=named) == wanted
    assert resolve_config(device="cpu") == Config.from_dict(presets.CPU)


def test_what_cannot_be_a_method() -> None:
    with pytest.raises(
        ConfigError, match=r"^config key 'method\.name': expected one of dfast.*'x'"
    ):
        resolve_config(device="cpu", method="x")
    with pytest.raises(ConfigError, match=r"'method\.name': expected one of"):
        Config.for_method("nerf")
    with pytest.raises(ConfigError, match=r"'method\.name': expected a string, got 3"):
        Config.for_method(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["method", "preset"])
def test_dreamfusion_sees_the_closed_world_from_where_its_prior_does(source: str) -> None:
    config = resolve_config("shapes", "cpu", **{source: "dreamfusion"})
    known = Config.default().camera
    assert (config.camera.distance, config.camera.fov) == (known.distance, known.fov)
    assert config.camera.fov_mode == "angle" and config.guidance.scale == 10.0
    others = Config.dreamfusion()
    assert resolve_config("sd15", "cpu", **{source: "dreamfusion"}).camera == others.camera
    assert config.field == others.field and config.guidance.view_conditioning == "words"


def test_the_warm_up_of_dream_fields_shortens_with_the_run() -> None:
    config = Config.for_method("dream-fields").optimizer
    assert config.warmup_steps == 0 and config.warmup_until == 0.15
