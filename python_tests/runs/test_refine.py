"""The refine stage: its folder, its end, stopping and resuming, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
import torch
from oracle import OraclePrior
from tiny_methods import TINY_FIELD, TINY_MESH
from tiny_models import load_tiny
from tiny_refine import COARSE, coarse_run, refine_tiny
from tiny_runs import train_tiny

import dfast
from dfast.cli.main import main
from dfast.errors import ConfigError, ExportError, RunFolderError
from dfast.runs.events import Event
from dfast.runs.refined import Refined
from dfast.runs.result import Result
from dfast.runs.signals import Terminated

pytestmark = pytest.mark.usefixtures("needs_native")
FILES = ("checkpoint.safetensors", "result.safetensors", "mesh.safetensors", "config.toml")


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "coarse"
    coarse_run(folder)
    return folder


@pytest.fixture(scope="module")
def whole(coarse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stage that was never interrupted."""
    folder = tmp_path_factory.mktemp("stages") / "whole"
    refine_tiny(coarse, out=folder)
    return folder


def test_a_stage_keeps_a_run_folder_of_its_own(coarse: Path, whole: Path) -> None:
    about = json.loads((whole / "run.json").read_text())
    assert about["stage"] == "refine" and about["source"] == str(coarse)
    assert (about["prompt"], about["seed"], about["prior"]) == ("a ball", 0, "oracle")
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(line["skipped"] == 0 and line["gradient_norm"] > 0 for line in lines)
    previews = sorted(path.name for path in (whole / "previews").iterdir())
    assert previews == ["step_000002.png", "step_000004.png"]
    config = dfast.Config.load(whole / "config.toml")
    assert config.train.steps == 4 and config.camera.resolution == ((0.0, 20),)
    assert config.shading.ambient_only == 0 and config.regularizer.opacity == 0
    refined = dfast.load(whole)
    assert isinstance(refined, Refined) and refined.steps == 4
    assert len(refined.scene.faces) <= 300 and refined.scene.texture.shape == (32, 32, 3)


def test_steps_change_the_shape_and_the_colours(whole: Path) -> None:
    from dfast.runs.refined_file import read_start

    start, refined = read_start(whole / "mesh.safetensors"), Refined.load(whole)
    moved = (refined.scene.vertices.detach() - start.vertices).norm(dim=1)
    assert 0 < float(moved.max()) < 0.05  # four steps
    assert float((refined.scene.texture.detach() - start.texture).abs().max()) > 1e-3
    assert torch.equal(refined.scene.faces, start.faces)


@pytest.mark.parametrize("how", ["callback", "thread", "SIGINT", "SIGTERM"])
def test_a_stopped_stage_goes_on_to_the_same_bytes(
    how: str, coarse: Path, whole: Path, tmp_path: Path
) -> None:
    out, stop = tmp_path / "stage", threading.Event()

    def ask(event: Event) -> None:
        if event.step != 3:
            return
        if how == "callback":
            event.stop()
        elif how == "thread":
            thread = threading.Thread(target=stop.set)
            thread.start()
            thread.join()
        else:
            signal.raise_signal(getattr(signal, how))

    options: dict[str, Any] = {"out": out, "callbacks": [ask], "stop": stop}
    if how in ("callback", "thread"):
        assert refine_tiny(coarse, **options).steps == 3
    else:
        with pytest.raises(KeyboardInterrupt if how == "SIGINT" else Terminated) as stopped:
            refine_tiny(coarse, **options)
        assert stopped.value.folder == out
    if how == "callback":
        (out / "mesh.safetensors").unlink()  # then the run is looked at again
    refine_tiny(coarse, out=out, resume=True)
    for file in FILES:
        assert (out / file).read_bytes() == (whole / file).read_bytes(), file


def test_a_stage_goes_on_without_its_run_and_with_its_settings(
    coarse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "stage"
    refine_tiny(coarse, out=out, callbacks=[lambda event: event.stop()])
    said = capsys.readouterr().err
    assert f"stopped after step 1 of 4; resume with: dfast refine --resume --out {out}" in said
    longer = refine_tiny(None, out=out, config=None, resume=True, steps=6)
    assert longer.steps == 6 and longer.config.train.log_every == 2
    before = (out / "result.safetensors").stat().st_mtime_ns
    assert refine_tiny(None, out=out, config=None, resume=True).steps == 6  # it is only read
    assert (out / "result.safetensors").stat().st_mtime_ns == before


def test_a_stage_of_an_object_that_was_replaced_is_told(
    coarse: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, stage = (
        Path(shutil.copytree(folder, tmp_path / name))
        for folder, name in ((coarse, "run"), (whole, "stage"))
    )
    refine_tiny(run, out=stage, config=None, resume=True)
    began = (stage / "mesh.safetensors").stat().st_mtime
    os.utime(run / "result.safetensors", (began + 60, began + 60))
    with pytest.warns(dfast.DfastWarning, match="refines an object that '.*run' has replaced"):
        refine_tiny(run, out=stage, config=None, resume=True)
    with monkeypatch.context() as patch, warnings.catch_warnings():
        patch.chdir(run)  # whose object nobody has named
        warnings.simplefilter("error", dfast.DfastWarning)
        refine_tiny(None, out=stage, config=None, resume=True)


def test_seeds(coarse: Path, whole: Path) -> None:
    result = Result.load(coarse)
    same, other = refine_tiny(result), refine_tiny(result, seed=1)
    assert same.folder is None and (same.seed, other.seed) == (0, 1)
    first = Refined.load(whole).scene
    assert torch.equal(same.scene.vertices, first.vertices)
    assert torch.equal(same.scene.texture, first.texture)
    assert not torch.equal(other.scene.texture, first.texture)


def test_progress_says_what_is_refined_and_how_long_it_takes(
    coarse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[Event] = []
    refine_tiny(coarse, out=tmp_path / "stage", progress=True, callbacks=[events.append])
    said = capsys.readouterr().err
    assert 'refining "a ball", 300 faces: prior oracle, cpu' in said
    assert "step 3 of 4" in said and "left" in said
    assert [event.step for event in events] == [1, 2, 3, 4]
    assert isinstance(events[-1].result(), Refined)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"config": {"train": {"steps": 3}}},
            "'train.steps': expected 'refine.steps' in its",
        ),
        ({"config": {"guidance": {"t_min": 0.1}}}, "expected 'guidance.t_min_end' in its place"),
        ({"config": {"shading": {"ramp": 0.2}}}, "'shading.ramp': expected 0.0, which follows"),
        ({"config": {"background": {"kind": "mlp"}}}, "'background.kind': expected 'random'"),
        ({"config": {"refine": {"texture": 48}}}, "'refine.texture': expected a power of two"),
        ({"config": {"refine": {"resolution": 2}}}, "'refine.resolution': expected a number in"),
        ({"config": 3}, "config: expected a dfast.Config, a dict of settings or None, got 3"),
        ({"steps": 0}, "steps: expected a whole number >= 1, got 0"),
        ({"seed": -1}, "seed: expected a whole number in"),
        ({"run": 3}, "run: expected a run folder or a dfast.Result, got 3"),
        ({"run": None}, "run: expected a run folder or a dfast.Result, got None"),
        ({"resume": True}, "resume: expected a run folder in `out`, got None"),
        ({"callbacks": 1}, "callbacks: expected a list of functions"),
    ],
)
def test_what_cannot_be_is_named(coarse: Path, options: dict[str, Any], message: str) -> None:
    run = options.pop("run", coarse)
    with pytest.raises(ConfigError) as error:
        refine_tiny(run, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_run_of_vsd_is_refined_with_a_copy_that_the_stage_trains(
    coarse: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open

    def stop(event: Event) -> None:
        if event.step == 2:
            event.stop()

    run = Result.load(coarse)
    run.config = run.config.replace(guidance={"variant": "vsd"})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    refine_tiny(run, out=whole, prior=load_tiny("if-m"))
    assert refine_tiny(run, out=parts, prior=load_tiny("if-m"), callbacks=[stop]).steps == 2
    refine_tiny(None, out=parts, prior=load_tiny("if-m"), config=None, resume=True)
    for file in FILES:
        assert (parts / file).read_bytes() == (whole / file).read_bytes(), file
    with safe_open(whole / "checkpoint.safetensors", "pt") as saved:
        assert float(saved.get_tensor("guidance.adam.step")) == 4
        assert bool(saved.get_tensor("guidance.adam.exp_avg").any())
    with pytest.raises(ConfigError, match="'oracle', of which no copy can be trained"):
        refine_tiny(run)


@pytest.mark.parametrize("settings", [TINY_FIELD, TINY_MESH], ids=["dream-fields", "clip-mesh"])
def test_a_run_that_a_clip_guides_is_refused(
    settings: dfast.Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, clip = tmp_path / "run", tmp_path / "stage", str(tiny_clip.folder())
    settings = settings.replace(train={"steps": 1})
    dfast.train("a ball", clip=clip, config=settings, device="cpu", progress=False, out=run)
    name = settings.method.name
    message = f"'method.name': expected a method that a prior guides, .* got '{name}'"
    with pytest.raises(ConfigError, match=message):
        refine_tiny(run, out=out)
    assert main(["refine", str(run), "--out", str(out), "--device", "cpu"]) == 2
    line = ["train", "a ball", "--method", name, "--clip", clip, "--out", str(out), "--refine"]
    assert main(line) == 2
    assert main(["train", "--resume", "--out", str(run), "--refine"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("expected a method that a prior guides" in one for one in said)
    assert not out.exists()


def test_folders_are_not_mixed_up(coarse: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no stage was begun in"):
        refine_tiny(None, out=tmp_path / "none", resume=True)
    with pytest.raises(RunFolderError, match="expected another folder than that of the run"):
        refine_tiny(coarse, out=coarse)
    with pytest.raises(RunFolderError, match=r"holds a refine stage; .* dfast refine --resume"):
        train_tiny(out=whole, resume=True)
    other = tmp_path / "other"
    coarse_run(other)
    with pytest.raises(RunFolderError, match="holds a run; choose another folder"):
        refine_tiny(coarse, out=other, resume=True)
    with pytest.raises(RunFolderError, match=r"already holds this run; .* dfast refine --resume"):
        refine_tiny(coarse, out=whole)
    with pytest.raises(RunFolderError, match="holds a refined mesh, and this needs a field"):
        refine_tiny(whole)  # a mesh, not a field


def test_a_damaged_mesh_is_named(whole: Path, tmp_path: Path) -> None:
    from dfast.io.tensors import read_tensors, write_tensors
    from dfast.runs.refined_file import FORMAT

    out = tmp_path / "stage"
    shutil.copytree(whole, out)
    tensors, about = read_tensors(out / "result.safetensors", FORMAT)
    tensors["faces"][0, 0] = len(tensors["vertices"])
    write_tensors(out / "result.safetensors", tensors, about)
    with pytest.raises(RunFolderError, match="faces: expected 0 to"):
        dfast.load(out)
    write_tensors(out / "result.safetensors", tensors, about | {"sizes": {"vertices": 3}})
    with pytest.raises(RunFolderError, match="expected the sizes of its mesh"):
        dfast.load(out)


def test_a_refined_mesh_is_shown_and_exported(whole: Path, tmp_path: Path) -> None:
    import trimesh

    refined = Refined.load(whole)
    for shading in ("studio", "clay", "albedo", "diffuse", "textureless", "normal", "depth"):
        image = refined.render(shading=shading, resolution=48)
        assert image.shape == (48, 48, 3) and image.std() > 5, shading
    assert refined.render(shading="opacity", resolution=48).max() == 255
    mesh = refined.mesh(tmp_path / "object.glb")
    read = trimesh.load_mesh(tmp_path / "object.glb")
    read.merge_vertices(merge_tex=True, merge_norm=True)
    assert read.is_watertight and len(read.faces) == len(mesh.faces)
    assert read.visual.material.normalTexture is None
    assert read.visual.material.roughnessFactor == 1 and read.visual.material.metallicFactor == 0
    for ending in ("obj", "ply", "stl", "3mf"):
        refined.mesh(tmp_path / f"object.{ending}", size=0.1)
    assert refined.mesh(vertex_colors=True).texture is None
    with pytest.raises(ExportError, match=r"faces: expected None, since .* got 100"):
        refined.mesh(faces=100)
    refined.save(tmp_path)
    again = dfast.load(tmp_path)
    assert np.array_equal(again.render(resolution=32), refined.render(resolution=32))


def _winding(corners: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return how often triangles [F, 3, 3] enclose points [N, 3] (Van Oosterom and Strackee)."""
    a, b, c = (corners[None] - points[:, None, None].double()).unbind(2)
    x, y, z = (v.norm(dim=-1) for v in (a, b, c))
    over = (a * torch.linalg.cross(b, c)).sum(-1)
    under = x * y * z + (a * b).sum(-1) * z + (b * c).sum(-1) * x + (c * a).sum(-1) * y
    return torch.atan2(over, under).sum(1) / (2 * torch.pi)


def test_a_refined_mesh_is_measured_like_a_field(whole: Path) -> None:
    refined = Refined.load(whole)
    mesh = refined.mesh()
    corners = torch.from_numpy(np.asarray(mesh.vertices, np.float64)[mesh.faces])
    points = 2 * torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 1
    density = refined.density(points)
    sure = (density < 1.0) | (density > 99.0)  # the others are in cells that the surface crosses
    assert torch.equal((density > 50.0)[sure], (_winding(corners, points) > 0.5)[sure])
    assert sure.float().mean() > 0.8 and (density > 99.0).any()
    vertices, colors = (
        torch.from_numpy(np.asarray(values, np.float32)) for values in (mesh.vertices, mesh.colors)
    )
    assert torch.allclose(refined.albedo(vertices), colors)


def test_the_command_refines_and_resumes(
    coarse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    import dfast.runs.arguments as arguments

    monkeypatch.setattr(arguments, "load_prior", lambda *_, **__: OraclePrior(12))
    run = tmp_path / "run"
    shutil.copytree(coarse, run)
    line = ["refine", str(run), "--device", "cpu", "--quiet", "--steps", "2"]
    assert main([*line, "--set", "camera.views=1"]) == 0
    out = run / "refined"
    names = ("object.glb", "contact_sheet.png", "turntable.gif", "report.html")
    assert capsys.readouterr().out.split() == [
        str(out / name) for name in ("result.safetensors", *names)
    ]
    assert main(["refine", "--resume", "--out", str(out), "--quiet", "--device", "cpu"]) == 0
    assert f"'{out}' is finished: 2 of 2 steps are done" in capsys.readouterr().err
    assert main(["render", str(out), "--out", str(tmp_path / "a.png"), "--resolution", "32"]) == 0
    assert main(["export", str(out), str(tmp_path / "a.stl")]) == 0
    for bad, message in (
        (["refine"], "RUN: expected a finished run"),
        ([*line, "--set", "train.steps=3"], "expected 'refine.steps' in its place"),
        (["refine", str(tmp_path / "nothing")], "no such file"),
    ):
        assert main(bad) == 2
        assert message in capsys.readouterr().err


def test_training_can_refine_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dfast.runs.arguments as arguments

    monkeypatch.setattr(arguments, "load_prior", lambda *_, **__: OraclePrior(12))
    COARSE.save(tmp_path / "config.toml")
    out = tmp_path / "run"
    line = ["train", "a red ball", "--out", str(out), "--quiet", "--no-export", "--device", "cpu"]
    line += ["--config", str(tmp_path / "config.toml"), "--refine"]
    assert main(line) == 0
    files = [str(folder / "result.safetensors") for folder in (out, out / "refined")]
    assert capsys.readouterr().out.split() == files
    assert isinstance(dfast.load(out), Result) and isinstance(dfast.load(out / "refined"), Refined)
    assert main(["evaluate", str(out / "refined"), "--device", "cpu"]) == 0
    assert "a red ball" in capsys.readouterr().out
    assert main([*line, "--resume"]) == 0  # both are finished, and read
    assert f"'{out / 'refined'}' is finished" in capsys.readouterr().err
    for option in (["--dry-run"], ["--particles", "2"], ["--prompts", "file"], ["--view"]):
        assert main([*line, *option]) == 2
        assert f"--refine: expected without {option[0]}" in capsys.readouterr().err
