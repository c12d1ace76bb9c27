"""A stand-in for training and for finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import dfast
from dfast import errors
from dfast.config.meshes import format_of
from dfast.mesh.mesh import Mesh


class Cube:
    """A stand-in for a finished run: a red cube."""

    prompt, seed, device = "a red cube", 0, torch.device("cpu")
    prior, steps, config, folder = "shapes", 3, dfast.Config(), None
    parts: ClassVar[dict[str, Any]] = {}

    def density(self, x: Tensor) -> Tensor:
        return 60 * torch.sigmoid((0.5 - x.abs().amax(-1)) / 0.01)

    def albedo(self, x: Tensor) -> Tensor:
        return torch.tensor([0.85, 0.08, 0.08]).expand(len(x), 3)

    def render(self, *, resolution: int, **_: object) -> NDArray[np.uint8]:
        return np.zeros((resolution, resolution, 3), np.uint8)

    def mesh(self, path: str | Path | None = None, **options: Any) -> Mesh:
        """Return its mesh, of few cells and texels unless `options` say otherwise."""
        options.setdefault("resolution", 32)
        if path is not None and format_of(path).textures and not options.get("vertex_colors"):
            options["texture"] = options.get("texture") or 64
        return dfast.Result.mesh(cast(dfast.Result, self), path, **options)

    turntable = dfast.Result.turntable
    contact_sheet = dfast.Result.contact_sheet
    report = dfast.Result.report


@pytest.fixture
def cube(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Make `dfast.train` and `dfast.load` give the cube; return the calls to train.

    The current folder has a finished run by the name of "run".
    """
    calls: list[dict[str, Any]] = []

    def train(prompt: str, **options: object) -> Cube:
        calls.append({"prompt": prompt, **options})
        if not prompt.strip():
            raise errors.PromptError("prompt: expected a description, got ''")
        return Cube()

    monkeypatch.setattr(dfast, "train", train, raising=False)
    monkeypatch.setattr(dfast, "load", lambda path, device="cpu": Cube())
    monkeypatch.chdir(tmp_path_factory.mktemp("cube"))
    Path("run").mkdir()
    Path("run/result.safetensors").touch()
    return calls
