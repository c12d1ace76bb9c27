"""Batches of rays."""

from __future__ import annotations

import torch

from dfast.scene.rays import RayBatch


def _rays(n: int = 10) -> RayBatch:
    values = torch.arange(3.0 * n).view(n, 3)
    return RayBatch(values, -values, torch.arange(n, dtype=torch.int32), torch.rand(n))


def test_split_covers_all_rays_in_order() -> None:
    rays = _rays()
    parts = list(rays.split(4))
    assert [len(part) for part in parts] == [4, 4, 2] and len(rays) == 10
    assert torch.equal(torch.cat([part.origins for part in parts]), rays.origins)
    assert torch.equal(torch.cat([part.directions for part in parts]), rays.directions)
    jitter = [part.jitter for part in parts if part.jitter is not None]
    ids = [part.camera_ids for part in parts if part.camera_ids is not None]
    assert rays.jitter is not None and torch.equal(torch.cat(jitter), rays.jitter)
    assert torch.cat(ids).tolist() == [*range(10)]
    assert not list(_rays(0).split(4))


def test_selection_keeps_missing_parts_missing() -> None:
    rays = RayBatch(torch.rand(5, 3), torch.rand(5, 3))
    order = torch.tensor([3, 0])
    picked = rays[order]
    assert torch.equal(picked.origins, rays.origins[order]) and len(picked) == 2
    assert picked.camera_ids is None and picked.jitter is None
    assert len(rays[rays.origins[:, 0] > 2.0]) == 0


def test_rays_move_whole(device: torch.device) -> None:
    rays = _rays().to(device)
    assert rays.origins.device.type == device.type and rays.jitter is not None
    assert rays.jitter.device.type == device.type and rays.camera_ids is not None
    assert rays.camera_ids.dtype == torch.int32
