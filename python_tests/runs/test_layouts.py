"""Runs of layouts: their bytes, resuming, results, files with named nodes, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node import run_js
from oracle import OraclePrior
from tiny_refine import refine_tiny
from tiny_runs import TINY, train_tiny

import dfast
from dfast.config import Config, Layout
from dfast.errors import CollapsedError, ConfigError, DfastError, ExportError, PromptError
from dfast.mesh.layout import LayoutMesh
from dfast.runs.events import Event
from dfast.runs.layouts import laid_out
from dfast.runs.refine import refine
from dfast.runs.result import Result
from dfast.training.build import build_trainer

pytestmark = pytest.mark.usefixtures("needs_native")

CUBE = {"name": "cube", "prompt": "a red cube", "position": [0.0, -0.5, 0.0], "size": 0.45}
BALL = {"name": "ball", "prompt": "a blue ball", "position": [0.1, 0.5, 0.2], "size": 0.3,
        "heading": 90.0}  # fmt: skip
LAYOUT: dict[str, Any] = {"prompt": "a red cube next to a blue ball", "parts": [CUBE, BALL]}


TINIER = TINY.replace(train={"preview_every": 0})
"""No previews, which take most of the time of a run of seconds."""
COARSE: dict[str, Any] = {"resolution": 16, "faces": 400}
"""Options of meshes of seconds."""


def lay_out(**options: Any) -> Result:
    """Train the layout with tiny settings unless options differ."""
    defaults = {"layout": LAYOUT, "steps": 6, "config": TINIER}
    return train_tiny(None, **defaults | options)  # type: ignore[arg-type]


def test_a_run_is_the_same_interrupted_or_not(tmp_path: Path) -> None:
    lay_out(out=tmp_path / "once")
    stop = threading.Event()

    def stop_after_3(event: Event) -> None:
        if event.step == 3:
            event.stop()

    part = lay_out(out=tmp_path / "twice", callbacks=[stop_after_3])
    assert part.steps == 3
    done = lay_out(out=tmp_path / "twice", resume=True, stop=stop)
    assert done.steps == 6 and done.folder == tmp_path / "twice"
    for name in ("result.safetensors", "checkpoint.safetensors", "config.toml", "run.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    about = json.loads((tmp_path / "once/run.json").read_text())
    assert about["prompt"] == LAYOUT["prompt"]
    settings = dfast.Config.load(tmp_path / "once/config.toml")
    again = dfast.train(  # from the folder alone, as `dfast train --resume --out DIR` does it
        about["prompt"], prior=OraclePrior(12), config=settings,
        out=tmp_path / "once", resume=True, progress=False, device="cpu",
    )  # fmt: skip
    assert again.steps == 6


def test_prompts_are_asked_for_in_turn() -> None:
    asked: list[str] = []

    class Listening(OraclePrior):
        def predict_noise(self, noisy: Any, t: Any, condition: str, **more: Any) -> Any:
            asked.append(condition)
            return super().predict_noise(noisy, t, condition, **more)

    lay_out(prior=Listening(12), steps=8)
    whole = LAYOUT["prompt"]
    assert list(dict.fromkeys(asked)) == ["a red cube", whole, "a blue ball"]
    assert asked.count(whole) == asked.count("a red cube") + asked.count("a blue ball")
    asked.clear()
    lay_out(prior=Listening(12), layout=LAYOUT | {"whole": 0})
    assert set(asked) == {"a red cube", "a blue ball"}


def test_every_part_follows_its_own_guidance() -> None:
    layout = LAYOUT | {"whole": 0.0}
    config = TINY.replace(layout=layout)
    trainer = build_trainer(config, OraclePrior(12), layout["prompt"], 0, torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in trainer.scene.named_parameters()}
    trainer.train_step()  # shows the first part alone
    changed = {name for name, p in trainer.scene.named_parameters() if not p.equal(before[name])}
    assert changed == {"field.parts.0.table", "field.parts.0.mlp"}


def test_settings_are_laid_over_a_layout(tmp_path: Path) -> None:
    Layout.from_dict(LAYOUT).save(tmp_path / "scene.toml")
    for config in (None, {}, {"layout": {"whole": 0.25}}, TINY):
        prompt, settings = laid_out(tmp_path / "scene.toml", None, config)
        layout = settings.layout if isinstance(settings, Config) else settings["layout"]  # type: ignore[index]
        found = layout if isinstance(layout, Layout) else Layout.from_dict(layout)
        whole = 0.25 if config == {"layout": {"whole": 0.25}} else 0.5
        assert prompt == LAYOUT["prompt"] and found == Layout.from_dict(LAYOUT | {"whole": whole})
    prompt, settings = laid_out(None, None, TINY.replace(layout=LAYOUT))
    assert prompt == LAYOUT["prompt"]


def test_a_part_that_stays_empty_ends_the_run() -> None:
    config = TINY.replace(
        layout=LAYOUT | {"whole": 0.7}, train={"log_every": 1, "collapse_limit": 2, "steps": 40}
    )
    trainer = build_trainer(config, OraclePrior(12), LAYOUT["prompt"], 0, torch.device("cpu"))
    trainer.scene.reset = lambda generator=None: None  # type: ignore[method-assign]
    with torch.no_grad():
        trainer.scene.field.parts[1].mlp[-4:] = -1e4  # type: ignore[index, union-attr]
    with pytest.raises(CollapsedError, match="empty"):
        for _ in range(40):
            trainer.train_step()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, needs_native: None) -> Result:
    """A run of the layout that kept its first blobs, and its folder."""
    out = tmp_path_factory.mktemp("runs") / "pair"
    return lay_out(steps=2, out=out)


def test_a_result_has_its_parts(finished: Result) -> None:
    assert finished.folder is not None
    loaded = dfast.load(finished.folder)
    assert isinstance(loaded, Result) and list(loaded.parts) == ["cube", "ball"]
    assert loaded.config.layout == Layout.from_dict(LAYOUT)
    ball = loaded.parts["ball"]
    assert ball.prompt == "a blue ball" and ball.config.layout == Layout() and ball.parts == {}
    x = torch.rand(100, 3) * 0.3
    turned = torch.stack([-x[:, 1], x[:, 0], x[:, 2]], 1)  # by its heading
    there = torch.tensor(BALL["position"]) + BALL["size"] * turned
    torch.testing.assert_close(loaded.density(there), ball.density(x) / BALL["size"])
    saved = Result.load(ball.save(finished.folder / "ball.safetensors"))
    assert torch.equal(saved.density(x), ball.density(x))
    image = loaded.render(resolution=48, azimuth=0.0, elevation=0.0, shading="opacity")[..., 0]
    assert image[:, :24].max() > 100 < image[:, 24:].max()  # one on the left, one on the right


@pytest.fixture(scope="module")
def textured(finished: Result) -> tuple[Path, LayoutMesh]:
    """A GLB file of the run with textures, and its mesh."""
    assert finished.folder is not None
    path = finished.folder / "textured.glb"
    mesh = finished.mesh(path, texture=64, **COARSE)
    assert isinstance(mesh, LayoutMesh)
    return path, mesh


def test_a_part_is_refined_alone(finished: Result) -> None:
    stage = {"steps": 1, "resolution": 12, "grid": 16, "faces": 300, "texture": 32}
    found = refine_tiny(finished.parts["ball"], config={"refine": stage})
    assert found.prompt == "a blue ball" and found.steps == 1
    assert "layout" not in found.config.to_dict()


def check_box(points: Any, part: dict[str, Any], scale: float = 1.0) -> None:
    """Check that points [N, 3] in the axes of glTF lie around the centre of a part."""
    x, y, z = part["position"]
    low, high = np.min(points, 0), np.max(points, 0)
    middle = scale * np.array([y, z, x])  # glTF has y up and the front at +z
    assert np.allclose((low + high) / 2, middle, atol=0.06 * scale)
    assert np.all(high - low < 2.0 * part["size"] * scale) and np.all(high > low)


@pytest.mark.parametrize("size", [None, 0.1])
def test_a_glb_file_has_a_node_for_each_part(
    textured: tuple[Path, LayoutMesh], tmp_path: Path, size: float | None
) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh, path = textured[1], tmp_path / "a.glb"
    assert mesh.save(path, size) == path
    assert (textured[0].read_bytes() == path.read_bytes() == mesh.glb()) is (size is None)
    scene = trimesh.load_scene(path, process=False)
    assert set(scene.graph.nodes_geometry) == {"cube", "ball"}
    everything = []
    whole = np.ptp(mesh.vertices, axis=0).max()
    scale = (size or whole) / whole
    for part in (CUBE, BALL):
        transform, name = scene.graph[part["name"]]
        points = trimesh.transform_points(scene.geometry[name].vertices, transform)
        everything.append(points)
        check_box(points, part, scale)
        assert np.allclose(transform[:3, 3], scale * np.array(part["position"])[[1, 2, 0]])
    extent = np.ptp(np.concatenate(everything), axis=0).max()
    assert extent == pytest.approx(size or whole, rel=1e-4)
    assert len(mesh.faces) == sum(len(g.faces) for g in scene.geometry.values()) <= 400


def test_a_glb_file_of_a_layout_is_valid(textured: tuple[Path, LayoutMesh]) -> None:
    pygltflib = pytest.importorskip("pygltflib")
    found = pygltflib.GLTF2().load(textured[0])
    assert [node.name for node in found.nodes] == ["cube", "ball"]
    assert found.scenes[0].nodes == [0, 1] and len(found.materials) == 2
    for node in found.nodes:
        primitive = found.meshes[node.mesh].primitives[0]
        material = found.materials[primitive.material]
        pbr = material.pbrMetallicRoughness
        images = {
            found.textures[t.index].source for t in (pbr.baseColorTexture, material.normalTexture)
        }
        assert images == {2 * node.mesh, 2 * node.mesh + 1}
        corners = {found.accessors[getattr(primitive.attributes, name)].count
                   for name in ("POSITION", "NORMAL", "TANGENT", "TEXCOORD_0")}  # fmt: skip
        assert len(corners) == 1 and found.accessors[primitive.indices].count % 3 == 0
    assert len(found.images) == len(found.textures) == 4


def test_the_validator_has_nothing_to_say(textured: tuple[Path, LayoutMesh]) -> None:
    issues = run_js("read_glb", textured[0])["issues"]
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]


@pytest.mark.parametrize("ending", ["obj", "ply", "stl"])
def test_other_formats_hold_one_mesh(
    textured: tuple[Path, LayoutMesh], tmp_path: Path, ending: str
) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = textured[1]
    path = mesh.save(tmp_path / f"a.{ending}")
    read = trimesh.load(path, force="mesh", process=False)
    assert len(read.faces) == len(mesh.faces)
    assert read.extents[2 if ending == "ply" else 1] > 0
    if ending == "obj":  # each half of the texture's upper row is that of a part
        assert mesh.texture is not None and mesh.texture.color.shape == (64, 64, 3)
        uv = mesh.texture.atlas.uv[mesh.texture.atlas.faces]  # [F, 3, 2]
        first = mesh.vertices[mesh.faces][:, :, 1].mean(1) < 0  # the cube is on the left
        assert uv[first][..., 0].max() <= 0.5 <= uv[~first][..., 0].min()
        assert uv[..., 1].max() <= 0.5


def test_what_does_not_go_with_a_layout_is_refused(finished: Result, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[], Any], type[DfastError], str]] = [
        (lambda: lay_out(best_of=2), ConfigError, "best_of: expected 1 with a layout, got 2"),
        (lambda: lay_out(particles=2), ConfigError, "layout: expected none where several objects"),
        (lambda: train_tiny(["a", "b"], layout=LAYOUT), ConfigError, "layout: expected none where"),  # type: ignore[arg-type]
        (
            lambda: train_tiny("a cat", layout=LAYOUT),
            ConfigError,
            "prompt: expected that of the la",
        ),
        (lambda: train_tiny(None), PromptError, "prompt: expected a description such as"),  # type: ignore[arg-type]
        (lambda: lay_out(layout=5), ConfigError, "layout: expected a dfast.Layout, a file or a di"),
        (lambda: lay_out(layout="no.toml"), ConfigError, "layout file 'no.toml': cannot be read"),
        (lambda: lay_out(layout={}), ConfigError, "config key 'layout.parts': expected 1 to 8"),
        (lambda: refine(finished), ConfigError, "run: expected one thing to refine, such as one"),
    ]
    for call, error, message in cases:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (LAYOUT | {"prompt": "a mess"}, "layout.prompt: expected one that the prior knows"),
        ({"prompt": "a mess", "whole": 0, "parts": [CUBE, BALL | {"prompt": "a dragon"}]},
         'layout.parts[1]: prompt: the embedded prior does not know the word "dragon"'),
    ],
)  # fmt: skip
def test_prompts_that_the_embedded_prior_does_not_know(
    layout: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PromptError) as error:
        dfast.train(layout=layout, out=tmp_path / "run", device="cpu")
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_part_without_a_surface_is_named(finished: Result) -> None:
    part = finished.scene.field.fields[1]  # type: ignore[union-attr]
    kept = part.mlp.detach().clone()
    with torch.no_grad():
        part.mlp[-4:] = -1e4
    with pytest.raises(ExportError, match=r"^part 'ball': no surface to export"):
        finished.mesh(resolution=16)
    with torch.no_grad():
        part.mlp.copy_(kept)
