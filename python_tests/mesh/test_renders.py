"""Exported files look like the field's own renders, drawn by code that shares nothing with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mesh_renderer
import numpy as np
import pytest
import torch
from density_fields import SceneField
from torch.nn.functional import softplus

from dfast.config import Config
from dfast.render.picture import see
from dfast.runs.result import Result
from dfast.scene.cameras import spherical
from dfast.scene.scene import Scene

VIEWS = [(45.0 * k, elevation) for k, elevation in enumerate((10, 30, -15, 20, 45, 0, 25, 60))]
RESOLUTION = 128
CAPTIONS = ("a green house with a red roof", "a red cube next to a blue sphere")


def fitted(caption: str, steps: int = 250) -> Result:
    """Return a result whose field was fitted to the densities and colours of a scene."""
    truth, generator = SceneField(caption, peak=80.0), torch.Generator().manual_seed(0)
    config = Config.default("cpu")
    scene = Scene.from_config(config, generator)
    optimizer = torch.optim.Adam(scene.field.parameters(), lr=0.02)
    surface = torch.rand(1 << 18, 3, generator=generator) * 2 - 1
    surface = surface[(truth.density(surface) - 40).abs() < 39.9]  # near it
    for _ in range(steps):
        near = surface[torch.randint(len(surface), (4096,), generator=generator)]
        near = near + 0.02 * torch.randn(near.shape, generator=generator)
        points = torch.cat([near, torch.rand(4096, 3, generator=generator) * 2 - 1])
        sample = scene.field(points, level_weights=scene.level_weights)
        density, target = sample.density, truth.density(points)
        # The opacity of a length of 0.03, so that high densities need not be exact.
        miss = (torch.exp(-0.03 * density) - torch.exp(-0.03 * target)).square().mean()
        paint = (sample.albedo[:4096] - truth.albedo(points[:4096])).square().mean()
        haze = 0.001 * softplus(density[4096:])[target[4096:] < 0.1].mean()
        optimizer.zero_grad()
        (miss + paint + haze).backward()
        optimizer.step()
    scene.rebuild_occupancy(generator)
    return Result(scene, config, caption, 0, "none", steps)


@pytest.fixture(scope="module", params=CAPTIONS)
def result(request: pytest.FixtureRequest, needs_native: None) -> Result:
    """A field as a long run would leave it: sharp, coloured, without haze."""
    return fitted(request.param)


@pytest.fixture(scope="module")
def renders(result: Result) -> list[tuple[np.ndarray, np.ndarray]]:
    """Colour before black [H, W, 3] and opacity [H, W] of every view, by the field's renderer."""
    found = []
    for azimuth, elevation in VIEWS:
        cameras = spherical(torch.tensor([azimuth]), elevation, 3.0, 40.0)
        march = result.config.march
        pixels = see(result.scene, cameras, march, resolution=RESOLUTION, shading="albedo")
        size = RESOLUTION, RESOLUTION
        found.append((pixels.color.view(*size, 3).numpy(), pixels.opacity.view(size).numpy()))
    return found


def compare(path: Path, renders: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Return the silhouettes' IoU and the PSNR of the colours where both are opaque, in dB."""
    model, both, either, error, count = mesh_renderer.read(path), 0, 0, 0.0, 0
    for (azimuth, elevation), (color, opacity) in zip(VIEWS, renders, strict=True):
        image, cover = mesh_renderer.render(model, azimuth, elevation, RESOLUTION)
        both += ((opacity > 0.5) & (cover > 0.5)).sum()
        either += ((opacity > 0.5) | (cover > 0.5)).sum()
        solid = (opacity > 0.95) & (cover > 0.95)
        miss = color[solid] / opacity[solid][:, None] - image[solid] / cover[solid][:, None]
        error, count = error + float((miss**2).sum()), count + miss.size
    return both / either, -10 * np.log10(error / count)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"faces": 50_000}, 25.0),
        ({"faces": 10_000}, 23.0),
        ({"faces": 10_000, "vertex_colors": True}, 23.0),
    ],
)
def test_files_look_like_renders(
    result: Result, renders: Any, tmp_path: Path, options: dict[str, Any], least: float
) -> None:
    mesh = result.mesh(tmp_path / "a.glb", **options)
    assert 0.9 * options["faces"] < len(mesh.faces) <= options["faces"] or mesh.notes == ()
    iou, psnr = compare(tmp_path / "a.glb", renders)
    print(f"{result.prompt}, {options}: IoU {iou:.4f}, PSNR {psnr:.2f} dB")
    assert iou >= 0.97 and psnr >= least


def test_a_wrong_file_does_not_pass(result: Result, renders: Any, tmp_path: Path) -> None:
    result.mesh(tmp_path / "a.glb", faces=2000, texture=64, size=1.0)  # not as large as it was
    iou, _ = compare(tmp_path / "a.glb", renders)
    assert iou < 0.9
