"""`dfast train`: what it passes on, writes and says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import dfast
from dfast.cli import train as commands
from dfast.cli.main import main, parser
from dfast.runs.names import slug

Calls = list[dict[str, Any]]
"""Arguments of the calls to `dfast.train`."""


def test_train_writes_everything_into_the_run_folder(tmp_path: Path, cube: Calls) -> None:
    out = tmp_path / "run"
    assert main(["train", "a red cube", "--out", str(out), "--steps", "3", "--quiet"]) == 0
    names = {"object.glb", "contact_sheet.png", "turntable.gif", "report.html"}
    assert {p.name for p in out.iterdir()} == names
    assert cube[0]["steps"] == 3 and cube[0]["seed"] == 0 and cube[0]["progress"] is False


def test_a_negative_prompt_and_a_download_are_passed_on(cube: Calls) -> None:
    line = ["train", "x", "--no-export", "--prior", "sd15", "--device", "cpu"]
    assert main([*line, "--negative", "blurry", "--download"]) == 0
    config = cube[0]["config"]
    assert config.guidance.negative == "blurry" and cube[0]["download"] is True
    assert config.guidance.scale == dfast.Config.for_prior("sd").guidance.scale
    assert main(line) == 0
    assert cube[1]["config"] is None and cube[1]["download"] is False  # left to dfast.train


def test_a_file_leaves_the_rest_to_the_prior(
    cube: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, own = tmp_path / "c.toml", dfast.Config.for_prior("sd")
    path.write_text('[guidance]\nnegative = "blurry"\n')
    line = ["train", "x", "--no-export", "--prior", "sd15", "--config", str(path)]
    assert main(line) == 0 and main([*line, "--negative", ""]) == 0
    assert cube[0]["config"] == own.replace(guidance={"negative": "blurry"})
    assert cube[1]["config"] == own  # an empty one is one, too
    assert main(["config", "--prior", "sd15", "--config", str(path)]) == 0
    assert "steps = 10000" in capsys.readouterr().out


def test_settings_come_through_a_pipe(cube: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "config"):
        reader, writer = os.pipe()
        os.write(writer, b"[train]\nsteps = 7\n[guidance]\nscale = 3.0\n")
        os.close(writer)
        source = ["--config", f"/dev/fd/{reader}"]
        line = {"train": ["train", "a red cube", "--no-export"], "config": ["config"]}[command]
        assert main([*line, *source, "--device", "cpu", "--set", "guidance.scale=4"]) == 0
        os.close(reader)
    assert cube[0]["config"].train.steps == 7 and cube[0]["config"].guidance.scale == 4.0
    said = capsys.readouterr().out
    assert "steps = 7\n" in said and "\nscale = 4.0\n" in said


def test_a_dry_run_fetches_nothing(cube: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "x", "--prior", "a/b", "--dry-run", "--download"]) == 2
    assert "--dry-run: expected without --download" in capsys.readouterr().err and cube == []


def test_settings_are_changed_one_by_one(cube: Calls) -> None:
    line = ["train", "a cube", "--no-export", "--preset", "dreamfusion"]
    changes = ["--set", "guidance.scale=20", "--set", "background.kind=solid"]
    assert main([*line, *changes]) == 0
    config = cube[0]["config"]
    assert config.guidance.scale == 20.0 and config.background.kind == "solid"
    assert str(cube[0]["out"]) == str(Path("runs/a-gray-cube"))


def test_interrupted_training_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(prompt: str, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dfast, "train", train, raising=False)
    (tmp_path / "checkpoint.safetensors").touch()
    assert main(["train", "a red cube", "--out", str(tmp_path)]) == 130
    assert f"dfast train --resume --out {tmp_path}" in capsys.readouterr().err


def test_resume_takes_prompt_seed_and_settings_from_the_folder(tmp_path: Path, cube: Calls) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"prompt": "a red cube", "seed": 7, "prior": "shapes"})
    )
    dfast.Config.dreamfusion().save(tmp_path / "config.toml")
    assert main(["train", "--resume", "--out", str(tmp_path), "--no-export"]) == 0
    call = cube[0]
    assert (call["prompt"], call["seed"], call["resume"]) == ("a red cube", 7, True)
    assert call["config"] == dfast.Config.dreamfusion()
    line = ["train", "--resume", "--out", str(tmp_path), "--no-export"]
    assert main([*line, "--set", "guidance.scale=7"]) == 0  # over what the run has
    assert cube[1]["config"] == dfast.Config.dreamfusion().replace(guidance={"scale": 7})


def test_slugs_are_plain() -> None:
    assert slug("A red  Chair, on: top!") == "a-red-chair-on-top"
    assert parser().parse_args(["train", "x"]).run is commands.train


def test_slugs_tell_prompts_apart() -> None:
    long = "a photo of a very long and detailed description of a toy on a table, a toy "
    prompts = ["犬", "猫", "a café", "a caf", f"{long}horse", f"{long}train", "?", "!"]
    names = [slug(prompt) for prompt in prompts]
    assert len({*names}) == len(names) and max(map(len, names)) <= 60
    assert all(name.isascii() and "/" not in name for name in names)
    assert slug("  Ein  Bär ") == slug("ein bär")
