"""Pixel rays against the cameras' own."""

from __future__ import annotations

import pytest
import torch

from dfast.ops.rays import _pixel_rays, pixel_rays
from dfast.scene.cameras import CameraBatch, look_at

pytestmark = pytest.mark.usefixtures("needs_native")


def make(views: int, dtype: torch.dtype, device: torch.device) -> CameraBatch:
    g = torch.Generator().manual_seed(0)
    origin = 3.0 * torch.nn.functional.normalize(torch.randn(views, 3, generator=g), dim=-1)
    target, up = 0.3 * torch.randn(views, 3, generator=g), torch.tensor([[0.1, 0.0, 1.0]])
    fov = 20.0 + 60.0 * torch.rand(views, generator=g)
    values = (v.to(device, dtype) for v in (origin, target, up.expand(views, 3), fov))
    return look_at(*values)


@pytest.mark.parametrize("resolution", [1, 5, 64])
def test_equals_the_cameras(device: torch.device, dtype: torch.dtype, resolution: int) -> None:
    cameras = make(3, dtype, device)
    got = pixel_rays(cameras.origin, cameras.rotation, cameras.fov, resolution=resolution)
    want = cameras.rays(resolution)
    assert torch.equal(got[0], want[0])
    torch.testing.assert_close(got[1], want[1], rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    none = make(0, dtype, device)
    rays = pixel_rays(none.origin, none.rotation, none.fov, resolution=4)
    assert [v.shape for v in rays] == [(0, 3), (0, 3)]
    c = make(2, dtype, device)
    strided = c.rotation.transpose(1, 2).contiguous().transpose(1, 2)
    got = pixel_rays(c.origin.T.contiguous().T, strided, c.fov.repeat(2, 1).T[:, 0], resolution=4)
    want = pixel_rays(c.origin, c.rotation, c.fov, resolution=4)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_bad_input() -> None:
    c = make(2, torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"rotation must have shape \[2, 3, 3\], got \[1, 3, 3\]"):
        pixel_rays(c.origin, c.rotation[:1], c.fov, resolution=4)
    with pytest.raises(ValueError, match=r"fov must be torch.float32, got torch.float64"):
        pixel_rays(c.origin, c.rotation, c.fov.double(), resolution=4)
    with pytest.raises(ValueError, match="resolution must be positive, got 0"):
        pixel_rays(c.origin, c.rotation, c.fov, resolution=0)


def test_opcheck(device: torch.device) -> None:
    c = make(2, torch.float32, device)
    torch.library.opcheck(_pixel_rays, (c.origin, c.rotation, c.fov, 3))
