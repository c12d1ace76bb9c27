"""The result: files, images, density and albedo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import train_tiny

import dfast
from dfast.errors import (
    ConfigError,
    DeviceError,
    RunFolderError,
)

pytestmark = pytest.mark.usefixtures("needs_native")


def test_result_round_trips(tmp_path: Path) -> None:
    result = train_tiny(out=tmp_path / "run")
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


def test_result_renders_every_shading_mode() -> None:
    result = train_tiny()
    for shading in ("albedo", "diffuse", "textureless", "normal"):
        image = result.render(resolution=20, shading=shading, background=(0.0, 0.0, 0.0))
        assert image.shape == (20, 20, 3) and image.dtype == np.uint8
        assert image[10, 10].max() > 0 and image[0, 0].max() == 0
    with pytest.raises(ConfigError, match="shading: expected one of"):
        result.render(shading="shiny")
    for size in (0, 8.5, True):
        with pytest.raises(ConfigError, match="resolution: expected 1 to 8192"):
            result.render(resolution=size)  # type: ignore[arg-type]
    for color in ((2, 0), (0, 0, 2), (0, 0, float("nan")), 0.5, "red"):
        with pytest.raises(ConfigError, match=r"background: expected three numbers in \[0, 1\]"):
            result.render(background=color)  # type: ignore[arg-type]


def test_density_is_zero_outside_the_sphere() -> None:
    result = train_tiny()
    x = torch.tensor([[0.0, 0.0, 0.0], [0.8, 0.8, 0.8], [5.0, 0.0, 0.0]])
    density = result.density(x)
    assert density[0] > 1.0 and density[1:].tolist() == [0.0, 0.0]


def test_loading_on_an_absent_device_is_named(tmp_path: Path) -> None:
    path = train_tiny().save(tmp_path)
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
