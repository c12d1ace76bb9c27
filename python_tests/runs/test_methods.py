"""Runs of the methods that a CLIP guides: the same folder, resume and end as any run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_clip
import torch
from tiny_methods import TINY_FIELD, TINY_MESH

import dfast
from dfast.clip import load_clip
from dfast.config import Config
from dfast.config.methods import METHODS
from dfast.errors import (
    CollapsedError,
    ConfigError,
    DfastWarning,
    PriorError,
    PromptError,
    RunFolderError,
)
from dfast.runs.events import Event
from dfast.runs.result import Result

pytestmark = pytest.mark.usefixtures("needs_native")
TINY = {"dream-fields": TINY_FIELD, "clip-mesh": TINY_MESH}
PROMPT = "a cow that reads a book"
"""Beyond the embedded prior: methods that a CLIP of their own guides do not ask it."""


def train(method: str, **options: Any) -> Result:
    settings = TINY[method].replace(train={"preview_every": 2, "checkpoint_every": 2})
    defaults: dict[str, Any] = {
        "clip": str(tiny_clip.folder()), "config": settings, "device": "cpu", "progress": False,
    }  # fmt: skip
    return dfast.train(PROMPT, method=method, **defaults | options)


def test_every_method_of_a_clip_is_tested() -> None:
    assert list(TINY) == [name for name, method in METHODS.items() if method.guide == "clip"]


def test_a_field_that_vanishes_is_told_what_keeps_it_empty() -> None:
    empty = TINY_FIELD.replace(
        dream_fields={"transmittance": 1e4, "opacity": [1e-3, 1e-3]},
        optimizer={"lr_grid": 1.0, "lr_mlp": 1.0},
        train={"steps": 12, "log_every": 1, "collapse_limit": 1},
    )
    with pytest.raises(CollapsedError, match=r"or lower dream_fields\.transmittance$"):
        train("dream-fields", config=empty)


@pytest.mark.parametrize("method", TINY)
def test_a_folder_holds_what_any_run_has(method: str, tmp_path: Path) -> None:
    result = train(method, out=tmp_path / "run")
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert names == {
        "run.json", "config.toml", "metrics.jsonl", "previews", "checkpoint.safetensors",
        "result.safetensors",
    }  # fmt: skip
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["method"] == method and about["prior"] == str(tiny_clip.folder().resolve())
    assert Config.load(tmp_path / "run/config.toml") == result.config
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(-1.0 <= line["similarity"] <= 1.0 for line in lines)
    loaded = dfast.load(tmp_path / "run")
    assert loaded.config.method.name == method and loaded.steps == 4
    for view in ({}, {"shading": "albedo"}, {"shading": "normal", "azimuth": 90.0}):
        assert (loaded.render(resolution=24, **view) == result.render(resolution=24, **view)).all()
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    assert float(loaded.density(points).min()) >= 0.0
    assert torch.equal(loaded.albedo(points), result.albedo(points))


@pytest.mark.parametrize("method", TINY)
def test_the_seed_decides_every_byte_and_a_resumed_run_is_the_whole_one(
    method: str, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if event.step == 3:
            event.stop()

    def run(name: str, **options: Any) -> Result:
        torch.manual_seed(len(name))  # what the caller has drawn must not matter
        return train(method, out=tmp_path / name, config=settings, **options)

    settings = TINY[method].replace(train={"preview_every": 0})
    run("whole")
    assert run("parts", callbacks=[stop]).steps == 3
    run("parts", resume=True)
    run("other", seed=1)
    for file in ("checkpoint.safetensors", "result.safetensors"):
        whole, parts, other = (
            (tmp_path / name / file).read_bytes() for name in ("whole", "parts", "other")
        )
        assert whole == parts and whole != other, file


def test_files_of_a_mesh_for_people(tmp_path: Path) -> None:
    import trimesh

    result = train("clip-mesh", out=tmp_path / "run")
    file = tmp_path / "run/object.glb"  # which the report shows
    mesh = result.mesh(file)
    assert len(trimesh.load(file, force="mesh").faces) == len(mesh.faces)
    assert result.contact_sheet(tmp_path / "sheet.png", resolution=24).any()
    assert result.turntable(tmp_path / "turn.gif", frames=3, resolution=24).exists()
    assert "clip-mesh" in result.report().read_text()


def test_several_prompts_and_a_clip_that_is_open(tmp_path: Path) -> None:
    clip = load_clip(str(tiny_clip.folder()), "cpu")
    options: dict[str, Any] = {"clip": clip, "device": "cpu", "progress": False}
    several = dfast.train(
        [PROMPT, "a ball"], method="clip-mesh", config=TINY_MESH, out=tmp_path / "two", **options
    )
    alone = train("clip-mesh", out=tmp_path / "one")
    assert [result.prompt for result in several] == [PROMPT, "a ball"]
    for name, tensor in alone.scene.object_state().items():
        assert torch.equal(tensor, several[0].scene.object_state()[name]), name


def test_the_method_may_stand_in_the_settings() -> None:
    found = dfast.train(
        PROMPT, config=TINY_MESH, clip=str(tiny_clip.folder()), device="cpu", progress=False
    )
    assert found.config.method.name == "clip-mesh"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "sd15"}, "prior: expected none with method 'clip-mesh', which a CLIP guides"),
        ({"clip": 3}, r"clip: expected the folder of a CLIP .*, got 3"),
        ({"method": "dfast", "config": None}, "clip: expected None with method 'dfast'"),
        ({"method": "dream-fields"}, "method: expected 'clip-mesh', which is that of"),
        ({"method": [], "config": None}, r"'method\.name': expected a string, got \[\]"),
        ({"method": "nerf", "config": None}, r"'method\.name': expected one of dfast, "),
        ({"best_of": 2}, "best_of: expected 1 with method 'clip-mesh', got 2"),
        ({"config": {"dream_fields": {"crops": 2}}}, "'dream_fields': expected with a method"),
        ({"config": {"clip_mesh": {"texels": 3}}}, r"'clip_mesh\.texels': expected a number in"),
        ({"config": {"clip_mesh": {"control": 0}}}, r"'clip_mesh\.control': expected a number"),
        ({"config": {"clip_mesh": {"laplacian": [-1, 1]}}}, "laplacian': expected two numbers >="),
    ],
)
def test_what_cannot_be_is_told_in_one_line(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "method": "clip-mesh", "clip": str(tiny_clip.folder()), "config": TINY_MESH,
        "device": "cpu", "progress": False,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=message) as error:
        dfast.train("a red chair", **given | options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("clip", [None, "shapes"])
def test_the_embedded_clip_reads_what_the_embedded_prior_does(clip: str | None) -> None:
    given: dict[str, Any] = {"clip": clip, "config": TINY_MESH, "device": "cpu", "progress": False}
    with pytest.warns(DfastWarning, match="corgi: made as a dog"):
        made = dfast.train("a red corgi", method="clip-mesh", **given)
    dog = dfast.train("a red dog", method="clip-mesh", **given)
    assert made.prior == "shapes" and made.prompt == "a red corgi"
    for name, tensor in dog.scene.object_state().items():
        assert torch.equal(tensor, made.scene.object_state()[name]), name
    with pytest.raises(PromptError, match="glorb"):
        dfast.train("a glorb", method="clip-mesh", **given)


@pytest.mark.parametrize(
    "settings", [{"crops": 0}, {"crop_size": 2}, {"blur": [3, 2]}, {"opacity": [0, 1]}]
)
def test_settings_of_dream_fields_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^config key 'dream_fields.{next(iter(settings))}': "):
        Config.for_method("dream-fields").replace(dream_fields=settings)


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"^clip .*: expected a folder of transformers"):
        train("clip-mesh", clip=tmp_path)
    train("clip-mesh", out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="begun with other settings"):
        train("dream-fields", out=tmp_path / "run", resume=True)
    with pytest.raises(RunFolderError, match=r"holds another run \(prior"):
        train("clip-mesh", out=tmp_path / "run", clip=tiny_clip.copied(tmp_path), resume=True)
