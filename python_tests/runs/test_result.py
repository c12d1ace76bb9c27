"""The result: files, images, density and albedo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import train_tiny

import dfast
from dfast.config.views import SHADING
from dfast.errors import ConfigError, DeviceError, ExportError, RunFolderError
from dfast.mesh.density_grid import density_grid
from dfast.runs.result import Result

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
    images = set()
    for shading in SHADING:
        image = result.render(resolution=20, shading=shading, background=(0.0, 0.0, 0.0))
        assert image.shape == (20, 20, 3) and image.dtype == np.uint8
        assert image[10, 10].max() > 0 and image[0, 0].max() == 0
        images.add(image.tobytes())
    assert len(images) == len(SHADING)
    together = result.render_modes(SHADING, resolution=20, background=(0.0, 0.0, 0.0))
    assert {image.tobytes() for image in together} == images
    assert result.render_modes(()) == []
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


@pytest.fixture(scope="module")
def tiny() -> Result:
    """A result of four steps."""
    return train_tiny()


@pytest.mark.parametrize(
    "view",
    [
        {"azimuth": float("nan")},
        {"azimuth": "30"},
        {"azimuth": True},
        {"azimuth": None},
        {"azimuth": 1e308},
        {"elevation": 1e308},
        {"elevation": 91},
        {"elevation": "up"},
        {"fov": 0.0},
        {"fov": 180.0},
        {"fov": -40},
        {"fov": [40]},
        {"distance": 0.0},
        {"distance": -3.0},
        {"distance": 10**400},
        {"distance": float("inf")},
        {"resolution": "16"},
        {"resolution": 16.0},
        {"resolution": 10**20},
        {"shading": 3},
        {"shading": ["normal"]},
        {"background": 10**400},
    ],
)
def test_views_that_cannot_be_are_one_line(tiny: Result, view: dict[str, Any]) -> None:
    name = next(iter(view))
    with pytest.raises(ConfigError, match=rf"^{name}: expected .*, got ") as error:
        tiny.render(**({"resolution": 8} | view))
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_numbers_of_other_libraries_are_numbers(tiny: Result) -> None:
    expected = tiny.render(azimuth=40, resolution=8)
    for azimuth in (np.float32(40), np.int64(40), torch.tensor(40.0), np.array(40)):
        assert np.array_equal(tiny.render(azimuth=azimuth, resolution=np.int32(8)), expected)  # type: ignore[arg-type]
    assert tiny.render(distance=0.2, fov=170, elevation=-90, resolution=4).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "a.fbx"}, "path must end in one of .glb"),
        ({"path": 3}, "path must end in one of .glb"),
        ({"resolution": "64"}, "resolution must be in 8..512"),
        ({"level": "1"}, "level must be a positive density"),
        ({"level": float("nan")}, "level must be a positive density"),
        ({"level": 0}, "level must be a positive density"),
        ({"level": 1e30}, "level must be below the largest density"),
        ({"keep": "x"}, "keep must be a fraction"),
    ],
)
def test_meshes_that_cannot_be_are_one_line(
    tiny: Result, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ExportError, match=says) as error:
        tiny.mesh(**({"resolution": 16} | options))
    assert "\n" not in str(error.value)


def test_a_level_just_below_the_top_leaves_a_surface_or_one_line(tiny: Result) -> None:
    top = float(density_grid(tiny, 16).max())
    for level in np.nextafter(np.float64(top), 0) - np.arange(4) * 1e-9 * top:
        try:
            assert len(tiny.mesh(resolution=16, level=float(level)).faces)
        except ExportError as error:
            assert "level must be below" in str(error) and "\n" not in str(error)


def test_the_ending_is_checked_before_the_mesh_is_computed(
    tiny: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfast.mesh.extract.density_grid", None)
    monkeypatch.setattr("dfast.runs.result.pictures", None)
    with pytest.raises(ExportError):
        tiny.mesh("a.fbx")
    with pytest.raises(ExportError):
        tiny.contact_sheet("a.fbx")
    with pytest.raises(ExportError):
        tiny.turntable("a.fbx")
