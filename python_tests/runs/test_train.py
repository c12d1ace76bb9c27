"""`dfast.train`: its arguments, what it checks first, and the prior that it records."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from oracle import OraclePrior
from tiny_runs import TINY, train_tiny

from dfast import _device
from dfast.cli.main import main
from dfast.config import Config, PriorConfig
from dfast.errors import (
    ConfigError,
    DeviceError,
    DfastError,
    DfastWarning,
    NativeMissingError,
    PriorError,
    PromptError,
)
from dfast.priors import load_prior
from dfast.runs.arguments import default_config
from dfast.runs.estimate import estimate
from dfast.runs.events import Event

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompt": "  "}, PromptError, "prompt: expected a description"),
        ({"steps": 0}, ConfigError, "steps: expected a whole number >= 1, got 0"),
        ({"seed": -1}, ConfigError, "seed: expected a whole number in"),
        ({"device": "warp"}, DeviceError, "device: expected cpu, cuda or cuda:N, got 'warp'"),
        ({"device": "cuda:99"}, DeviceError, "device: 'cuda:99' was asked for, but torch sees"),
        ({"seed": True}, ConfigError, "seed: expected a whole number in"),
        ({"steps": np.float32(3)}, ConfigError, "steps: expected a whole number >= 1"),
        ({"config": 5}, ConfigError, "config: expected a dfast.Config, a dict of settings or None"),
        ({"prior": "nothing"}, PriorError, "prior: expected 'shapes', 'sd15'"),
        ({"prior": None}, PriorError, "prior: expected the name of one or an object"),
        ({"prior": object()}, PriorError, "prior: expected the name of one or an object"),
        ({"prior": OraclePrior}, PriorError, "prior: expected the name of one or an object"),
        ({"resume": True}, ConfigError, "resume: expected a run folder"),
    ],
)
def test_bad_arguments_are_named(
    options: dict[str, Any], error: type[DfastError], message: str, tmp_path: Path
) -> None:
    if "resume" not in options:
        options = options | {"out": tmp_path / "run"}
    with pytest.raises(error) as caught:
        train_tiny(**options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_numpy_integers_are_whole_numbers() -> None:
    result = train_tiny(seed=np.int64(3), steps=np.int32(2))
    assert (result.seed, result.steps) == (3, 2) and type(result.seed) is int


@pytest.mark.parametrize("progress", [False, True])
def test_the_bar_is_closed_whatever_ends_a_run(
    progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(progress=progress, callbacks=[stop])
    shown = capsys.readouterr().err
    assert shown.endswith("\n") if progress else not shown


def test_cuda_without_kernels_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(_device, "build_info", lambda: {"cuda": False})
    with pytest.raises(NativeMissingError, match=r"device: 'cuda' .* built without CUDA kernels"):
        train_tiny(device="cuda", out=tmp_path / "run")
    assert not list(tmp_path.iterdir()) and _device.pick_device(None).type == "cpu"


def test_a_run_remembers_where_its_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder given relative to where the command ran is found again from elsewhere."""
    folder = tiny_models.folder("if-m")
    monkeypatch.chdir(folder.parent)
    config = TINY.replace(train={"steps": 2, "preview_every": 0})
    train_tiny(prior=folder.name, out=tmp_path / "run", config=config)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["prior"] == str(folder.resolve())
    (tmp_path / "run" / "result.safetensors").unlink()
    monkeypatch.chdir(tmp_path)
    line = ["train", "--resume", "--out", "run", "--quiet", "--no-export", "--device", "cpu"]
    assert main(line) == 0 and (tmp_path / "run" / "result.safetensors").exists()


def test_the_same_bytes_from_wherever_a_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models.folder("if-m")
    monkeypatch.chdir(folder.parent)
    config = TINY.replace(train={"steps": 2, "preview_every": 0, "checkpoint_every": 1})

    def stop(event: Event) -> None:
        if event.step == 1:
            raise KeyboardInterrupt

    train_tiny(prior=folder.name, out=tmp_path / "whole", config=config)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(prior=folder.name, out=tmp_path / "run", config=config, callbacks=[stop])
    monkeypatch.chdir(tmp_path)
    line = ["train", "--resume", "--out", "run", "--quiet", "--no-export", "--device", "cpu"]
    assert main(line) == 0
    whole, resumed = (tmp_path / name / "result.safetensors" for name in ("whole", "run"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_an_opened_model_is_recorded_as_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, own = tiny_models.folder("sd15"), PriorConfig(image_size=32, vae_checkpointing=True)
    monkeypatch.chdir(folder.parent)
    opened = load_prior(folder.name, "cpu", options=own)
    out, config = tmp_path / "run", TINY.replace(train={"steps": 2, "preview_every": 0})
    assert train_tiny(prior=opened, out=out, config=config).config.prior == own
    assert Config.load(out / "config.toml") == config.replace(prior=own)
    monkeypatch.chdir(tmp_path)
    before = (out / "result.safetensors").read_bytes()
    (out / "result.safetensors").unlink()
    line = ["train", "--resume", "--out", "run", "--quiet", "--no-export", "--device", "cpu"]
    assert main(line) == 0 and (out / "result.safetensors").read_bytes() == before


def test_a_named_model_brings_its_own_settings() -> None:
    assert default_config("if-m", "cpu") == Config.for_prior("if")
    folder = str(tiny_models.folder("sdxl"))
    assert default_config(folder, "cuda") == Config.for_prior("sdxl")
    assert default_config("shapes", "cuda") == default_config(OraclePrior(), "cuda")
    for family, name in (("sd15", "sd"), ("sdxl", "sdxl"), ("if-m", "if")):
        opened = load_prior(str(tiny_models.folder(family)), torch.device("cpu"))
        assert default_config(opened, "cuda") == Config.for_prior(name)
    with pytest.raises(PriorError, match="no such folder, and not in the hub's cache"):
        default_config("someone/something", "cpu")


@pytest.mark.parametrize(("every", "steps"), [(20, [8]), (0, []), (6, [6])])
def test_the_first_preview_comes_early(every: int, steps: list[int], tmp_path: Path) -> None:
    config = TINY.replace(train={"steps": 9, "preview_every": every})
    seen: list[Event] = []
    train_tiny(out=tmp_path / "run", config=config, callbacks=[seen.append])
    assert [event.step for event in seen if event.preview] == steps


class Noting(OraclePrior):
    """An oracle that makes dogs of corgis."""

    def notes(self, prompt: str) -> tuple[str, ...]:
        return ("corgi: made as a dog",) if "corgi" in prompt else ()


def test_what_is_made_in_place_of_a_word_is_told_and_recorded(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with pytest.warns(DfastWarning, match="^corgi: made as a dog$"):
            train_tiny("a corgi", prior=Noting(12), out=tmp_path / name)
        assert json.loads((tmp_path / name / "run.json").read_text())["notes"] == [
            "corgi: made as a dog"
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DfastWarning)
        train_tiny("a dog", prior=Noting(12), out=tmp_path / "dog")
    assert "notes" not in json.loads((tmp_path / "dog" / "run.json").read_text())


def test_an_estimate_tells_it_too() -> None:
    with pytest.warns(DfastWarning, match="corgi: made as a dog"):
        estimate("a corgi", prior=Noting(12), device="cpu", config=TINY)
