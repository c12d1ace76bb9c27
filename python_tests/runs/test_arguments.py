"""How a configuration comes from its sources: each alone, and which wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from oracle import OraclePrior

from dfast.config import Config, PriorConfig
from dfast.errors import ConfigError, DeviceError, PriorError, PromptError
from dfast.priors import load_prior
from dfast.runs.arguments import default_config, resolve_arguments, resolve_config
from dfast.runs.best_of import check_best_of
from dfast.runs.particles import check_particles
from dfast.runs.plan import check_at_once
from dfast.runs.train import train

pytestmark = pytest.mark.usefixtures("needs_native")

SCALE, STEPS = {"guidance": {"scale": 7}}, {"train": {"steps": 11}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file that sets guidance.scale and camera.views."""
    path = tmp_path / "c.toml"
    path.write_text("[guidance]\nscale = 33\n[camera]\nviews = 3\n")
    return path


def test_without_sources_the_prior_and_the_device_decide() -> None:
    assert resolve_config(device="cpu") == Config.default("cpu")
    assert resolve_config(device="cuda:3") == Config.default("cuda")  # it need not be there
    assert resolve_config("sd15", torch.device("cpu")) == Config.for_prior("sd")
    assert resolve_config("if-m", "cuda") == Config.for_prior("if")
    assert resolve_config(OraclePrior(), "cpu") == Config.default("cpu")


def test_a_configuration_is_taken_as_it_is() -> None:
    config = Config.dreamfusion()
    assert resolve_config("sd15", "cpu", config=config) == config


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_presets_by_name(device: str) -> None:
    assert resolve_config("sd15", device, preset="default") == Config.default(device)
    assert resolve_config("sd15", device, preset="dreamfusion") == Config.dreamfusion()
    with pytest.raises(
        ConfigError, match="preset: expected one of default, dreamfusion, dreamfusion-grid, got 'x'"
    ):
        resolve_config(device=device, preset="x")


def test_a_preset_replaces_the_resumed_run() -> None:
    resumed = Config.default().replace(**SCALE)
    assert resolve_config("sd15", "cpu", resumed=resumed) == resumed
    assert resolve_config(device="cpu", resumed=resumed, preset="default") == Config.default()


def test_a_file_is_laid_over_what_it_leaves_out(file: Path) -> None:
    changes: dict[str, Any] = {"guidance": {"scale": 33}, "camera": {"views": 3}}
    resumed = Config.default().replace(**STEPS, **SCALE)
    own = Config.for_prior("sd").replace(**changes)
    assert resolve_config("sd15", "cpu", file=file) == own
    assert resolve_config("sd15", "cpu", file=file, resumed=resumed) == resumed.replace(**changes)
    with pytest.raises(ConfigError, match="expected one of them, got both"):
        resolve_config(device="cpu", file=file, preset="default")


@pytest.mark.parametrize("source", ["config", "resumed", "preset", "file", "prior"])
def test_overrides_come_after_every_source(source: str, file: Path) -> None:
    sources: dict[str, dict[str, Any]] = {
        "config": {"config": Config.dreamfusion()},
        "resumed": {"resumed": Config.dreamfusion()},
        "preset": {"preset": "dreamfusion"},
        "file": {"file": file},
        "prior": {"prior": "sd15"},
    }
    options = sources[source]
    plain = resolve_config(device="cpu", **options)
    changed = resolve_config(device="cpu", **options, overrides=[{"guidance": {"scale": 1}}, SCALE])
    assert changed == plain.replace(**SCALE)  # the last one wins


def test_steps_come_after_overrides() -> None:
    config = resolve_config(device="cpu", overrides=[STEPS], steps=int(np.int64(5)))
    assert config == Config.default().replace(train={"steps": 5})
    for steps in (0, 2.5, True):
        with pytest.raises(ConfigError, match="steps: expected a whole number >= 1, got"):
            resolve_config(device="cpu", steps=steps)  # type: ignore[arg-type]


def test_an_opened_prior_keeps_its_own_settings() -> None:
    own = PriorConfig(image_size=32)
    opened = load_prior(str(tiny_models.folder("sd15")), "cpu", options=own)
    changes = [{"prior": {"image_size": 64}}]
    assert resolve_config(opened, "cpu", overrides=changes).prior == own
    assert resolve_config(opened, "cpu") == Config.for_prior("sd").replace(prior=own)


def test_bad_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config: expected a dfast.Config, a dict of settings"):
        resolve_config(config=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        resolve_config(device="cpu", file=tmp_path / "missing.toml")
    with pytest.raises(PriorError, match="prior: expected"):
        resolve_config("nothing", "cpu")
    with pytest.raises(PriorError, match="prior: expected the name of one or an object"):
        resolve_config(OraclePrior, "cpu")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="device: expected cpu, cuda or cuda:N, got 'abacus'"):
        resolve_config(device="abacus")


def test_the_family_is_not_needed_where_a_configuration_is_given() -> None:
    options: list[dict[str, Any]] = [
        {"config": Config()},
        {"resumed": Config()},
        {"preset": "default"},
    ]
    for given in options:
        resolve_config("no/such", "cpu", **given)


def test_arguments_use_the_resolved_configuration() -> None:
    prior = OraclePrior()
    found = resolve_arguments(
        "  a  ball\n", prior=prior, device="cpu", config=Config.dreamfusion(), steps=3
    )
    assert found.prompt == "a ball" and found.device.type == "cpu" and found.prior is prior
    assert found.config == Config.dreamfusion().replace(train={"steps": 3})
    none = resolve_arguments("a ball", prior=prior, device="cpu", config=None, steps=None)
    assert none.config == default_config(prior, "cpu") == Config.default("cpu")


def test_settings_can_be_a_dict() -> None:
    config = resolve_config("sd15", "cpu", config={"guidance": {"scale": 7}}, steps=3)
    assert config == Config.for_prior("sd").replace(guidance={"scale": 7}, train={"steps": 3})
    with pytest.raises(ConfigError, match=r"did you mean 'guidance\.scale'"):
        resolve_config(config={"scale": 7}, device="cpu")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"out": 5}, "out: expected a folder or None, got 5"),
        ({"callbacks": print}, "callbacks: expected a list of functions"),
        ({"callbacks": [3]}, "callbacks: expected a list of functions"),
        ({"seed": 2.5}, "seed: expected a whole number"),
        ({"seed": 10**5000}, "seed: expected a whole number"),
        ({"steps": "5"}, "steps: expected a whole number"),
        ({"steps": 2**40}, "steps: expected a whole number"),
        ({"config": "a.toml"}, "config: expected a dfast.Config, a dict"),
        ({"resume": 3}, "resume: expected True or False, got 3"),
    ],
)
def test_bad_arguments_of_train_are_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        train("a red chair", **({"device": "cpu"} | options))
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_words_are_checked_before_the_networks_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfast.runs.arguments.load_prior", None)
    with pytest.raises(PromptError, match='did you mean "chair"'):
        train("a red char", device="cpu")


def test_settings_that_fit_each_other_come_together() -> None:
    """Either bound alone would miss the other one's default."""
    default = Config.default("cpu").guidance
    low, high = default.t_max + 0.005, default.t_max + 0.01
    for order in ((0, 1), (1, 0)):
        tables = [{"guidance": {"t_min": low}}, {"guidance": {"t_max": high}}]
        found = resolve_config(device="cpu", overrides=[tables[i] for i in order]).guidance
        assert (found.t_min, found.t_max) == (low, high)
    with pytest.raises(ConfigError, match="t_max"):
        resolve_config(device="cpu", overrides=[{"guidance": {"t_min": low}}])


def test_half_a_character_is_named() -> None:
    with pytest.raises(PromptError, match="prompt: expected text"):
        resolve_arguments(
            "a corgi\ud800", prior=OraclePrior(), device="cpu", config=None, steps=None
        )


def test_a_prior_may_be_a_path() -> None:
    found = resolve_arguments(
        "a corgi", prior=tiny_models.folder("sd15"), device="cpu", config=None, steps=None
    )
    assert found.prior.name == str(tiny_models.folder("sd15"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"lora": ["x.safetensors"]}, "prior.lora="), ({"vae": "/no/such"}, "prior.vae='/no/such'")],
)
def test_a_clip_has_no_use_for_settings_of_a_prior(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match="expected no settings of one") as error:
        resolve_arguments(
            "a red chair",
            prior="shapes",
            method="clip-mesh",
            device="cpu",
            config={"prior": settings},
            steps=None,
        )
    assert says in str(error.value)


def test_numbers_may_be_numpy_integers() -> None:
    assert check_best_of(np.int64(3)) == check_particles(np.int64(3)) == 3
    assert check_at_once(np.int64(3)) == 3 and check_at_once("fit") == "fit"


def test_a_word_is_no_leave_to_download() -> None:
    with pytest.raises(PriorError, match="download: expected True or False, got 'no'"):
        train("a corgi", prior="sd15", download="no", device="cpu")  # type: ignore[call-overload]
