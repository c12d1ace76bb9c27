"""The door, the run folder and the result: what a user meets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from oracle import OraclePrior

import dfast
from dfast import _device
from dfast.cli.main import main
from dfast.config import Config, PriorConfig
from dfast.errors import (
    ConfigError,
    DeviceError,
    DfastError,
    NativeMissingError,
    PriorError,
    PromptError,
    RunFolderError,
)
from dfast.priors import load_prior
from dfast.runs.arguments import default_config
from dfast.runs.events import Event
from dfast.runs.result import Result
from dfast.runs.train import train

pytestmark = pytest.mark.usefixtures("needs_native")

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 4, "log_every": 2, "preview_every": 2, "checkpoint_every": 2},
)


def _train(prompt: str = "a ball", **options: Any) -> Result:
    options = {
        "prior": OraclePrior(12),
        "device": "cpu",
        "config": TINY,
        "progress": False,
    } | options
    return train(prompt, **options)


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
        ({"config": {}}, ConfigError, "config: expected a dfast.Config or None, got {}"),
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
        _train(**options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_numpy_integers_are_whole_numbers() -> None:
    result = _train(seed=np.int64(3), steps=np.int32(2))
    assert (result.seed, result.steps) == (3, 2) and type(result.seed) is int


@pytest.mark.parametrize("progress", [False, True])
def test_the_bar_is_closed_whatever_ends_a_run(
    progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(progress=progress, callbacks=[stop])
    shown = capsys.readouterr().err
    assert shown.endswith("\n") if progress else not shown


def test_cuda_without_kernels_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(_device, "build_info", lambda: {"cuda": False})
    with pytest.raises(NativeMissingError, match=r"device: 'cuda' .* built without CUDA kernels"):
        _train(device="cuda", out=tmp_path / "run")
    assert not list(tmp_path.iterdir()) and _device.pick_device(None).type == "cpu"


def test_run_folder_holds_everything(tmp_path: Path) -> None:
    events: list[Event] = []
    out = tmp_path / "deep" / "run"
    _train("a  ball\n", out=out, callbacks=(events.append,))
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert names == {
        "run.json", "config.toml", "metrics.jsonl", "checkpoint.safetensors", "result.safetensors",
        "previews/step_000002.png", "previews/step_000004.png",
    }  # fmt: skip
    assert json.loads((out / "run.json").read_text())["prompt"] == "a ball"
    assert Config.load(out / "config.toml") == TINY
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert {"gradient_norm", "opacity", "guidance", "seconds_per_step"} <= lines[0].keys()
    assert [e.step for e in events] == [1, 2, 3, 4]
    assert [bool(e.metrics) for e in events] == [False, True, False, True]
    assert events[1].preview == out / "previews" / "step_000002.png"


def _foreign(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("precious")


def _file(out: Path) -> None:
    out.write_text("precious")


def _other_prompt(out: Path) -> None:
    _train("a cube", out=out)


def _same_run(out: Path) -> None:
    _train(out=out)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_foreign, "holds files that are not a dfast run"),
        (_file, "expected a folder, got the file"),
        (_other_prompt, "holds another run (prompt 'a cube', not 'a ball')"),
        (_same_run, "already holds this run; resume it"),
    ],
)
def test_folders_of_others_are_left_alone(make: Any, message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunFolderError) as error:
        _train(out=out)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_resume_with_other_settings_is_refused(tmp_path: Path) -> None:
    _train(out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="begun with other settings"):
        _train(out=tmp_path / "run", config=TINY.replace(march={"step": 0.2}), resume=True)


def test_length_of_a_run_is_fixed(tmp_path: Path) -> None:
    _train(out=tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"4 steps, not 9, and a run's length is fixed"):
        _train(out=tmp_path / "run", steps=9, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_crash_while_beginning_leaves_a_usable_folder(resume: bool, tmp_path: Path) -> None:
    TINY.save(tmp_path / "config.toml")
    (tmp_path / ".run.x1_y.json").write_text('{"pro')
    _train(out=tmp_path, resume=resume)
    assert (tmp_path / "result.safetensors").exists()


def test_settings_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\nsteps = 5\n")
    with pytest.raises(RunFolderError, match="not a dfast run"):
        _train(out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be"):
        _train(out=tmp_path / "file" / "run")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_files_are_named(keep: int, tmp_path: Path) -> None:
    _train(out=tmp_path / "run")
    for name in ("checkpoint.safetensors", "result.safetensors"):
        path = tmp_path / "run" / name
        path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        RunFolderError, match=r"checkpoint.safetensors.*damaged or cut short"
    ) as error:
        _train(out=tmp_path / "run", resume=True)
    assert "\n" not in str(error.value)
    with pytest.raises(RunFolderError, match=r"result.safetensors.*damaged or cut short"):
        dfast.load(tmp_path / "run")


def test_result_round_trips(tmp_path: Path) -> None:
    result = _train(out=tmp_path / "run")
    path = result.save(tmp_path / "copy.safetensors")
    x = torch.rand(50, 3) * 2 - 1
    for loaded in (dfast.load(tmp_path / "run"), dfast.load(path)):
        assert (loaded.prompt, loaded.seed, loaded.prior, loaded.steps) == (
            "a ball",
            0,
            "oracle",
            4,
        )
        assert torch.equal(loaded.density(x), result.density(x))
        assert torch.equal(loaded.albedo(x), result.albedo(x))
        assert np.array_equal(loaded.render(resolution=16), result.render(resolution=16))


def test_result_renders_every_look() -> None:
    result = _train()
    for look in ("albedo", "diffuse", "textureless", "normal"):
        picture = result.render(resolution=20, shading=look, background=(0.0, 0.0, 0.0))
        assert picture.shape == (20, 20, 3) and picture.dtype == np.uint8
        assert picture[10, 10].max() > 0 and picture[0, 0].max() == 0
    with pytest.raises(ConfigError, match="shading: expected one of"):
        result.render(shading="shiny")
    for size in (0, 8.5, True):
        with pytest.raises(ConfigError, match="resolution: expected 1 to 8192"):
            result.render(resolution=size)  # type: ignore[arg-type]
    for color in ((2, 0), (0, 0, 2), (0, 0, float("nan")), 0.5, "red"):
        with pytest.raises(ConfigError, match=r"background: expected three numbers in \[0, 1\]"):
            result.render(background=color)  # type: ignore[arg-type]


def test_density_is_zero_outside_the_sphere() -> None:
    result = _train()
    x = torch.tensor([[0.0, 0.0, 0.0], [0.8, 0.8, 0.8], [5.0, 0.0, 0.0]])
    density = result.density(x)
    assert density[0] > 1.0 and density[1:].tolist() == [0.0, 0.0]


def test_loading_on_an_absent_device_is_named(tmp_path: Path) -> None:
    path = _train().save(tmp_path)
    for device in ("abacus", "cuda:99"):
        with pytest.raises(DeviceError, match=f"device: .*'{device}'"):
            dfast.load(path, device)


@pytest.mark.parametrize("content", [b"", b"hello", b"{}"])
def test_loading_something_else_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(RunFolderError):
        dfast.load(tmp_path / "x.safetensors")
    with pytest.raises(RunFolderError, match="no such file"):
        dfast.load(tmp_path / "missing")


def test_a_run_remembers_where_its_model_is(tmp_path: Path, monkeypatch) -> None:
    """A folder given relative to where the command ran is found again from elsewhere."""
    folder = tiny_models.folder("if-m")
    monkeypatch.chdir(folder.parent)
    config = TINY.replace(train={"steps": 2, "preview_every": 0})
    _train(prior=folder.name, out=tmp_path / "run", config=config)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["prior"] == str(folder.resolve())
    (tmp_path / "run" / "result.safetensors").unlink()
    monkeypatch.chdir(tmp_path)
    line = ["train", "--resume", "--out", "run", "--quiet", "--no-export", "--device", "cpu"]
    assert main(line) == 0 and (tmp_path / "run" / "result.safetensors").exists()


def test_the_same_bytes_from_wherever_a_model_is_named(tmp_path: Path, monkeypatch) -> None:
    folder = tiny_models.folder("if-m")
    monkeypatch.chdir(folder.parent)
    config = TINY.replace(train={"steps": 2, "preview_every": 0, "checkpoint_every": 1})

    def stop(event: Event) -> None:
        if event.step == 1:
            raise KeyboardInterrupt

    _train(prior=folder.name, out=tmp_path / "whole", config=config)
    with pytest.raises(KeyboardInterrupt):
        _train(prior=folder.name, out=tmp_path / "run", config=config, callbacks=[stop])
    monkeypatch.chdir(tmp_path)
    line = ["train", "--resume", "--out", "run", "--quiet", "--no-export", "--device", "cpu"]
    assert main(line) == 0
    whole, resumed = (tmp_path / name / "result.safetensors" for name in ("whole", "run"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_an_opened_model_is_recorded_as_it_was_opened(tmp_path: Path, monkeypatch) -> None:
    folder, own = tiny_models.folder("sd15"), PriorConfig(image_size=32, vae_checkpointing=True)
    monkeypatch.chdir(folder.parent)
    opened = load_prior(folder.name, "cpu", options=own)
    out, config = tmp_path / "run", TINY.replace(train={"steps": 2, "preview_every": 0})
    assert _train(prior=opened, out=out, config=config).config.prior == own
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


def test_a_folder_that_is_taken_is_refused_before_the_model_reads(tmp_path: Path) -> None:
    class Unread(OraclePrior):
        def encode_prompt(self, *_: object, **__: object) -> None:
            raise AssertionError("the prompt was read")

    (tmp_path / "precious").write_text("")
    with pytest.raises(RunFolderError, match="not a dfast run"):
        _train(prior=Unread(), out=tmp_path)
    with pytest.raises(AssertionError, match="the prompt was read"):
        _train(prior=Unread(), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
