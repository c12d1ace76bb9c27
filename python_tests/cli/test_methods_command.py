"""`dfast train --method`: a run, its continuation, its scores, and refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_clip

from dfast.cli.main import main

CLIP = str(tiny_clip.folder())
MESH = ["--method", "clip-mesh", "--clip", CLIP]
TINY = [
    "--device", "cpu", "--quiet", "--no-export", "--set", "camera.resolution=[[0,16]]",
    "--set", "camera.views=2", "--set", "clip_mesh.texels=16", "--set", "clip_mesh.control=3",
]  # fmt: skip


def code_of(line: list[str]) -> int:
    """Return the exit code of a command line."""
    try:
        return main(line)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.usefixtures("needs_native")
def test_a_run_goes_on_by_its_folder_alone_and_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert code_of(["train", "a cow", *MESH, *TINY, "--steps", "2", "--out", str(out)]) == 0
    again = ["train", "--resume", "--out", str(out), "--steps", "3", "--quiet", "--no-export"]
    assert code_of([*again, "--device", "cpu"]) == 0
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 3
    capsys.readouterr()
    line = ["evaluate", str(out), "--clip", CLIP, "--metrics", "similarity", "--json", "-"]
    assert code_of([*line, "--device", "cpu"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert score["prompt"] == "a cow" and -1.0 <= score["similarity"] <= 1.0


@pytest.mark.slow
@pytest.mark.usefixtures("needs_native")
def test_a_mesh_is_scored_against_the_true_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert code_of(["train", "a red ball", *MESH, *TINY, "--steps", "1", "--out", str(out)]) == 0
    capsys.readouterr()
    assert code_of(["evaluate", str(out), "--device", "cpu", "--json", "-"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert score["iou"] > 0.9  # the sphere at the beginning is a ball


def test_the_settings_of_a_method_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["config", "--method", "dream-fields"]) == 0
    text = capsys.readouterr().out
    assert (
        'name = "dream-fields"' in text and "[dream_fields]" in text and "[clip_mesh]" not in text
    )
    assert code_of(["config"]) == 0
    assert "[method]" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--method", "clip-mesh", "--dry-run"], "--dry-run: expected without --method clip-mesh"),
        (["--clip", CLIP], "--clip: expected with a method that a CLIP guides, got 'dfast'"),
        ([*MESH, "--preset", "default"], "--preset: expected without --method clip-mesh"),
        ([*MESH, "--prior", "sd15"], "--prior: expected without method 'clip-mesh'"),
        ([*MESH, "--dry-run"], "--dry-run: expected without --clip"),
        (["--method", "clip-mash"], "did you mean clip-mesh?"),
        ([*MESH, "--clip", "/nowhere"], "clip: expected 'shapes', a folder or a hub id"),
        ([*MESH, "--set", "clip_mesh.texels=1"], "'clip_mesh.texels': expected a number in [16,"),
        ([*MESH, "--set", "dream_fields.crops=1"], "'dream_fields': expected with a method that"),
    ],
)
def test_what_cannot_be_is_one_line(
    line: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert code_of(["train", "a red chair", "--device", "cpu", "--out", str(out), *line]) == 2
    text = capsys.readouterr().err
    assert message in text and text.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("clip", [[], ["--clip", "shapes"]])
def test_words_that_the_embedded_clip_does_not_know_are_refused(
    clip: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "a glorb", "--method", "dream-fields", *clip, "--out", str(tmp_path / "run")]
    assert code_of(line) == 2 and not (tmp_path / "run").exists()
    assert "glorb" in capsys.readouterr().err


def test_other_commands_refuse_methods_of_a_clip(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", "--prompt", "a red ball", "--set", "method.name=clip-mesh"]
    assert code_of(line) == 2
    assert "method: expected one that a prior guides, got 'clip-mesh'" in capsys.readouterr().err
