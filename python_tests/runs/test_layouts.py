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
from oracle import OraclePrior
from tiny_refine import refine_tiny
from tiny_runs import TINY, train_tiny

import dfast
from dfast.config import Config, Layout
from dfast.errors import ConfigError, DfastError, ExportError, PromptError
from dfast.mesh.layout import LayoutMesh
from dfast.runs.events import Event
from dfast.runs.layouts import laid_out
from dfast.runs.refine import refine
from dfast.runs.result import Result

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


def test_settings_are_laid_over_a_layout(tmp_path: Path) -> None:
    Layout.from_dict(LAYOUT).save(tmp_path / "scene.toml")
    for config in (None, {}, {"layout": {"whole": 0.25}}, TINY):
        prompt, settings = laid_out(tmp_path / "scene.toml", None, config)
        layout = settings.layout if isinstance(settings, Config) else settings["layout"]  # type: ignore[index]
        found = layout if isinstance(layout, Layout) else Layout.from_dict(layout)
        whole = 0.25 if config == {"layout": {"whole": 0.25}} else 0.5
        assert prompt == LAYOUT["prompt"] and found == Layout.from_dict(LAYOUT | {"whole": whole})
    for config in (TINY.replace(layout=LAYOUT), {"layout": LAYOUT}):
        assert laid_out(None, None, config) == (LAYOUT["prompt"], config)


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


def test_a_part_is_refined_alone(finished: Result) -> None:
    stage = {"steps": 1, "resolution": 12, "grid": 16, "faces": 300, "texture": 32}
    found = refine_tiny(finished.parts["ball"], config={"refine": stage})
    assert found.prompt == "a blue ball" and found.steps == 1
    assert "layout" not in found.config.to_dict()


def test_an_exported_file_has_the_parts_by_name(finished: Result, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / "a.glb"
    mesh = finished.mesh(path, vertex_colors=True, **COARSE)
    assert isinstance(mesh, LayoutMesh) and mesh.glb() == path.read_bytes()
    scene = trimesh.load_scene(path, process=False)
    assert set(scene.graph.nodes_geometry) == {"cube", "ball"}
    for part in (CUBE, BALL):
        transform, name = scene.graph[part["name"]]
        low, high = trimesh.transform_points(scene.geometry[name].bounds, transform)
        x, y, z = part["position"]
        assert np.allclose((low + high) / 2, (y, z, x), atol=0.06)  # glTF: y up, the front at +z
        assert np.all(high - low < 2.0 * part["size"])


def test_a_layout_is_estimated() -> None:
    given: dict[str, Any] = {"prior": OraclePrior(12), "device": "cpu"}
    one = dfast.estimate(config=TINY, **given)
    found = dfast.estimate(layout=LAYOUT, config=TINY, **given)
    assert found.steps == TINY.train.steps and found.state > 1.9 * one.state
    assert dfast.estimate(config=TINY.replace(layout=LAYOUT), **given).state == found.state


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
        (lambda: train_tiny(None, config={"layout": 5}), PromptError, "prompt: expected a descri"),  # type: ignore[arg-type]
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
        ({"prompt": "a mess", "whole": 0, "parts": [CUBE, BALL | {"prompt": "a glorb"}]},
         'layout.parts[1]: prompt: cannot read "a glorb"'),
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
