"""The main job with the embedded prior, cut short: every file appears, equal seeds, equal bytes."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dfast
from dfast.cli.main import main

pytestmark = pytest.mark.usefixtures("needs_native")

SHORT = ["--device", "cpu", "--quiet", "--set", "camera.views=1", "--set", "train.steps=3"]


def test_a_sentence_becomes_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "chair"
    assert main(["train", "a red chair", "--out", str(out), *SHORT]) == 0
    said = capsys.readouterr().out.split()
    names = ("object.glb", "contact_sheet.png", "turntable.gif", "report.html")
    assert said == [str(out / name) for name in ("result.safetensors", *names)]
    import trimesh

    mesh = trimesh.load_mesh(out / "object.glb")
    assert mesh.is_watertight and mesh.extents.max() < 2.0
    assert getattr(Image.open(out / "turntable.gif"), "n_frames") > 10  # noqa: B009
    assert np.asarray(Image.open(out / "contact_sheet.png")).std() > 5
    assert dfast.load(out).prompt == "a red chair"


def test_equal_seeds_give_equal_bytes_also_after_resuming(tmp_path: Path) -> None:
    def run(name: str, *arguments: str) -> bytes:
        out = tmp_path / name
        assert main(["train", *arguments, "--out", str(out), "--no-export", *SHORT]) == 0
        return (out / "result.safetensors").read_bytes()

    whole = run("whole", "a red chair")
    assert run("again", "a red chair") == whole
    assert run("other", "a red chair", "--seed", "1") != whole

    def stop(event: dfast.Event) -> None:
        if event.step == 2:
            raise KeyboardInterrupt

    config = dfast.Config.default("cpu").replace(
        camera={"views": 1}, train={"steps": 3, "checkpoint_every": 1}
    )
    half = tmp_path / "half"
    with pytest.raises(KeyboardInterrupt):
        dfast.train("a red chair", out=half, config=config, device="cpu", callbacks=[stop])
    assert main(["train", "--resume", "--out", str(half), "--no-export", "--device", "cpu"]) == 0
    resumed, once = dfast.load(half), dfast.load(tmp_path / "whole")
    states = resumed.scene.object_state(), once.scene.object_state()
    assert all((states[0][key] == value).all() for key, value in states[1].items())


def test_examples_in_docstrings() -> None:
    tried = 0
    for module in pkgutil.walk_packages(dfast.__path__, "dfast."):
        if module.name != "dfast._C":
            found = doctest.testmod(importlib.import_module(module.name))
            tried += found.attempted
            assert found.failed == 0, module.name
    assert tried > 0
