"""The views of the protocols, and images of a scene from them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from tiny_runs import train_tiny

from dfast.evaluation import clip_views
from dfast.evaluation.clip_views import DREAM_FIELDS, DREAMFUSION_COLOR, JANUS, views_of_scene

ALL = (DREAM_FIELDS, DREAMFUSION_COLOR, clip_views.DREAMFUSION_GEOMETRY, JANUS)


def test_cameras_are_where_the_papers_have_them() -> None:
    camera = DREAM_FIELDS.cameras()
    assert (float(camera.azimuth), float(camera.distance)) == pytest.approx((30, 4))
    assert float(camera.elevation) == pytest.approx(45)
    # 1111.11 pixels of focal length for 800 pixels
    assert float(torch.tan(torch.deg2rad(camera.fov / 2))) == pytest.approx(400 / 1111.11)
    around = DREAMFUSION_COLOR.cameras()
    assert around.elevation.tolist() == pytest.approx([30] * 8)
    assert around.azimuth.tolist() == pytest.approx(list(range(0, 360, 45)), abs=1e-3)


def test_the_icosphere_has_twelve_corners_with_five_neighbours() -> None:
    points, neighbours = clip_views.icosphere()
    count = neighbours.sum(1)
    assert (points.norm(dim=1) - 1).abs().max() < 1e-6
    assert ((count == 5).sum(), (count == 6).sum()) == (12, 150)
    assert torch.equal(neighbours, neighbours.mT)
    views = clip_views.t3bench()
    cameras = views.cameras()
    assert len(cameras) == len(views) == 162 * 5
    torch.testing.assert_close(cameras.origin[162:324], 2.2 * points, rtol=1e-4, atol=1e-4)
    assert cameras.fov[::162].tolist() == pytest.approx([60, 45, 36, 30, 24])


def test_reports_of_views_are_json() -> None:
    for views in (*ALL, clip_views.t3bench()):
        about = json.loads(json.dumps(views.about()))
        assert about["name"] == views.name and about["background"] == list(views.background)
        assert len(json.dumps(about)) < 1000


def test_images_of_a_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    result = train_tiny()
    views = dataclasses.replace(JANUS, resolution=16, background=(0.0, 0.5, 1.0))
    images = views_of_scene(result.scene, result.config.march, views)
    assert images.shape == (12, 3, 16, 16)
    assert images[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.5, 1.0], abs=1e-3)
    one = result.render(
        azimuth=90, elevation=15, resolution=16, shading="albedo", background=(0.0, 0.5, 1.0)
    )
    found = images[3].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    assert abs(found.astype(int) - one.astype(int)).max() <= 1
    monkeypatch.setattr(clip_views, "TOGETHER", 5)
    assert torch.equal(views_of_scene(result.scene, result.config.march, views), images)
