"""`dfast evaluate --clip` on tiny runs and a tiny random CLIP."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_clip
import trimesh
from tiny_refine import coarse_run, refine_tiny
from tiny_runs import train_tiny

from dfast.cli import clip_scores
from dfast.cli.main import main
from dfast.evaluation import clip_score, clip_views


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs and something else."""
    where = tmp_path_factory.mktemp("runs")
    train_tiny("a red ball", out=where / "one")
    train_tiny("A blue cube.", out=where / "two", seed=5)
    (where / "notes").mkdir()
    return where


def test_the_command_line_knows_all_metrics() -> None:
    assert clip_scores.METRICS == clip_score.METRICS


def _evaluate(*arguments: object) -> int:
    clip = ("--device", "cpu", "--clip", tiny_clip.folder())
    return main(["evaluate", *map(str, clip + arguments)])


def test_a_folder_of_runs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scores.json"
    assert _evaluate(runs, "--json", file) == 0
    out = capsys.readouterr().out
    assert "among 2 (chance 0.500)" in out and "back=front" in out
    stored = json.loads(file.read_text())
    rows = {score["object"]: score for score in stored["scores"]}
    assert rows["two"]["prompt"] == "A blue cube." and rows["two"]["seed"] == 5
    assert set(rows["one"]["r_precision"]) == {
        "dreamfusion-color", "dreamfusion-geometry", "dream-fields",
    }  # fmt: skip
    assert stored["prompts"] == ["a red ball.", "a blue cube."]
    assert stored["device"] == "cpu" and stored["clips"][0]["image_size"] == 32


def test_prompts_to_choose_from(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red ball\na blue cube\n# more\na dog\na cat\n")
    arguments = (runs / "one", "--prompts", prompts, "--metrics", "r-precision,similarity")
    assert _evaluate(*arguments, "--json", "-") == 0
    stored = json.loads(capsys.readouterr().out)
    assert stored["prompts"] == ["a red ball.", "a blue cube.", "a dog.", "a cat."]
    assert stored["scores"][0]["janus"] is None
    prompts.write_text("a dog\n")
    assert _evaluate(runs, "--prompts", prompts) == 2
    error = capsys.readouterr().err
    assert "--prompts: expected the prompt of 'one' among them" in error and "a red ball" in error


def test_two_clips_see_the_same_images(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_clip.copied(tmp_path)
    calls: list[str] = []
    real = clip_views.views_of_scene

    def counted(scene: object, march: object, views: clip_views.Views) -> object:
        calls.append(views.name)
        return real(scene, march, views)  # type: ignore[arg-type]

    monkeypatch.setattr(clip_views, "views_of_scene", counted)
    arguments = (runs / "one", "--clip", other, "--metrics", "similarity", "--json", "-")
    assert _evaluate(*arguments) == 0
    stored = json.loads(capsys.readouterr().out)
    one, two = stored["scores"]
    assert one["clip"] != two["clip"] and one["similarity"] == two["similarity"]
    assert calls == ["dreamfusion-color"] and len(stored["means"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clip", "x/y"], "--clip: expected runs, folders of runs or .glb files to score"),
        (["RUN", "--metrics", "similarity"], "--metrics: expected with --clip"),
        (["RUN", "--download"], "--download: expected with --clip"),
        (["RUN", "--clip", "x/y", "--prompt", "a dog"], "--prompt: expected without --clip"),
        (["RUN", "--clip", "x/y", "--seeds", "2"], "--seeds: expected without --clip"),
        (["RUN", "--clip", "x/y", "--prior", "sd15"], "--prior: expected without --clip"),
        (["RUN", "--clip", "x/y", "--metrics", "a,b"], "--metrics: expected some of r-precision"),
        (["RUN", "--clip", "x/y"], "clip 'x/y': no such folder, and not in the hub's cache"),
        (["RUN/none", "--clip", "x/y"], "none"),
        (["RUN/..", "--clip", "x/y", "--json", "RUN"], "--json: expected a file to write"),
    ],
)
def test_options_that_do_not_go_together(
    runs: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.replace("RUN", str(runs / "one")) for argument in arguments]
    assert main(["evaluate", "--device", "cpu", *given]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_meshes_beside_runs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = Path(shutil.copytree(runs, tmp_path / "both"))
    for name in ("a_green_box.glb", "x7.glb"):
        trimesh.Scene(trimesh.creation.box()).export(both / name)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red ball\na blue cube\nA green box.\nx7.glb\ta grey box\n")
    assert _evaluate(both, "--prompts", prompts, "--json", "-") == 0
    stored = json.loads(capsys.readouterr().out)
    rows = {score["object"]: score for score in stored["scores"]}
    assert list(rows) == ["a_green_box.glb", "one", "two", "x7.glb"]
    assert rows["x7.glb"]["prompt"] == "a grey box" and rows["x7.glb"]["kind"] == "mesh"
    assert rows["a_green_box.glb"]["prompt"] == "A green box."
    assert len(stored["prompts"]) == 4 and rows["x7.glb"]["janus"] is not None


def test_meshes_that_cannot_be_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh, prompts = tmp_path / "thing.glb", tmp_path / "prompts.txt"
    mesh.write_bytes(b"glTF")
    assert _evaluate(mesh) == 2
    assert "expected --prompts with a line 'thing.glb', a tab" in capsys.readouterr().err
    prompts.write_text("thing.glb\t\n")
    assert _evaluate(mesh, "--prompts", prompts) == 2
    assert "thing.glb" in capsys.readouterr().err
    prompts.write_text("thing\n")
    assert _evaluate(mesh, "--prompts", prompts) == 2
    error = capsys.readouterr().err
    assert "cannot be read as a GLB file" in error and error.count("\n") == 1


def _prompts(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the prompts that objects were scored with, from the JSON that was printed."""
    return [score["prompt"] for score in json.loads(capsys.readouterr().out)["scores"]]


def test_names_of_meshes_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("猫\n犬\na red cat\n", encoding="utf-8")
    for name in ("犬.glb", "猫.glb"):
        trimesh.Scene(trimesh.creation.box()).export(tmp_path / name)
    assert _evaluate(tmp_path, "--prompts", prompts, "--metrics", "similarity", "--json", "-") == 0
    assert _prompts(capsys) == ["犬", "猫"]


def test_lines_may_name_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meshes = [tmp_path / folder / "object.glb" for folder in ("a", "b")]
    for mesh in meshes:
        mesh.parent.mkdir()
        trimesh.Scene(trimesh.creation.box()).export(mesh)
    prompts = tmp_path / "prompts.txt"
    line = [*meshes, "--prompts", prompts, "--metrics", "similarity", "--json", "-"]
    prompts.write_text("a/object.glb\ta red ball\nb/object.glb\ta blue cube\n")
    assert _evaluate(*line) == 0
    assert _prompts(capsys) == ["a red ball", "a blue cube"]
    prompts.write_text("object.glb\ta red ball\nobject.glb\ta blue cube\n")
    assert _evaluate(*line) == 2
    assert "got 'a red ball' and 'a blue cube'" in capsys.readouterr().err


def test_refined_runs_are_scored_by_their_mesh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refined = refine_tiny(coarse_run(tmp_path / "field"), out=tmp_path / "refined")
    line = [tmp_path, "--metrics", "similarity", "--json", "-"]
    assert _evaluate(*line) == 2
    assert "holds a refined mesh, expected it exported as" in capsys.readouterr().err
    refined.mesh(tmp_path / "refined" / "object.glb")
    assert _evaluate(*line) == 0
    assert _prompts(capsys) == ["a ball", "a ball"]
