"""Shading: known answers, the reference, gradients."""

from __future__ import annotations

import pytest
import torch

from dfast import reference
from dfast.ops.shade import _shade, shade

pytestmark = pytest.mark.usefixtures("needs_native")


def make(n: int, dtype: torch.dtype, device: torch.device, views: int = 3) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=g, dtype=dtype).to(device)

    camera_ids = torch.randint(views, (n,), generator=g, dtype=torch.int32).to(device)
    gradient, position, light = rand(n, 3) * 4 - 2, rand(n, 3) * 2 - 1, rand(views, 3) * 6 - 3
    return [
        gradient,
        rand(n, 3),
        position,
        light,
        rand(views),
        rand(views),
        rand(views),
        camera_ids,
    ]


def test_albedo_and_textureless(device: torch.device, dtype: torch.dtype) -> None:
    gradient, albedo, position, light, _, _, _, camera_ids = make(50, dtype, device)
    one, zero = torch.ones(3).to(light), torch.zeros(3).to(light)
    rgb, _ = shade(gradient, albedo, position, light, one, zero, zero, camera_ids)
    torch.testing.assert_close(rgb, albedo)
    rgb, _ = shade(gradient, albedo, position, light, one, zero, one, camera_ids)
    torch.testing.assert_close(rgb, torch.ones_like(rgb))


def test_normals_of_radially_falling_density_point_outwards(device: torch.device) -> None:
    position = torch.randn(100, 3, dtype=torch.float64).to(device)
    gradient = -3 * position  # of -1.5 |x|^2
    rest = make(100, torch.float64, device)[1:]
    rest[1] = position
    _, normal = shade(gradient, *rest, eps=1e-12)
    torch.testing.assert_close(normal, torch.nn.functional.normalize(position, dim=-1))


def test_frontally_lit_sphere_has_the_known_mean(device: torch.device) -> None:
    """Over the disc of an orthographic picture, mean n.l is 2/3 for a light at the camera."""
    n = 200
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1
    y, z = torch.meshgrid(u, u, indexing="ij")
    disc = y**2 + z**2 < 1
    y, z = y[disc], z[disc]
    x = torch.stack([(1 - y**2 - z**2).sqrt(), y, z], -1).to(device)
    light = torch.tensor([[1e6, 0, 0]]).to(x)
    camera_ids = torch.zeros(len(x), dtype=torch.int32, device=device)
    ambient, diffuse, white = (torch.tensor([v]).to(x) for v in (0.1, 0.9, 1.0))
    rgb, _ = shade(-x, torch.rand_like(x), x, light, ambient, diffuse, white, camera_ids)
    assert float(rgb.mean()) == pytest.approx(0.1 + 0.9 * 2 / 3, abs=1e-3)


def test_equals_the_reference(device: torch.device, dtype: torch.dtype) -> None:
    args = make(1000, dtype, device)
    args[0].requires_grad_()
    args[1].requires_grad_()
    got, want = shade(*args), reference.shade(*args)
    atol = 16 * torch.finfo(dtype).eps
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)
    upstream = [torch.randn_like(v) for v in got]
    got_grad = torch.autograd.grad(got, args[:2], upstream)
    want_grad = torch.autograd.grad(want, args[:2], upstream)
    for a, b in zip(got_grad, want_grad, strict=True):
        torch.testing.assert_close(a, b, rtol=32 * torch.finfo(dtype).eps, atol=32 * atol)


def test_gradcheck(device: torch.device) -> None:
    gradient, albedo, *rest = make(6, torch.float64, device)
    torch.autograd.gradcheck(
        lambda g, a: shade(g, a, *rest), (gradient.requires_grad_(), albedo.requires_grad_())
    )
    torch.autograd.gradcheck(lambda g: shade(g, albedo.detach(), *rest)[1], (gradient,))


def test_zero_gradient_is_finite(device: torch.device, dtype: torch.dtype) -> None:
    args = make(4, dtype, device)
    args[0].zero_().requires_grad_()
    rgb, normal = shade(*args)
    assert not normal.any()
    (gradient,) = torch.autograd.grad(rgb.sum() + normal.sum(), args[0])
    assert bool(gradient.isfinite().all())


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    rgb, normal = shade(*make(0, dtype, device))
    assert rgb.shape == normal.shape == (0, 3)
    args = make(20, dtype, device)
    strided = [v.repeat_interleave(2, dim=0)[::2] for v in args]
    for a, b in zip(shade(*strided), shade(*args), strict=True):
        assert torch.equal(a, b)


def test_bad_input() -> None:
    args = make(5, torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"albedo must have shape \[5, 3\], got \[4, 3\]"):
        shade(args[0], args[1][:4], *args[2:])
    with pytest.raises(ValueError, match=r"ambient must have shape \[3\], got \[2\]"):
        shade(*args[:4], args[4][:2], *args[5:])
    with pytest.raises(ValueError, match=r"camera_ids must be in \[0, 3\), got values in"):
        shade(*args[:7], args[7] + 3)
    with pytest.raises(ValueError, match=r"camera_ids must be int32 \[5\]"):
        shade(*args[:7], args[7].long())
    with pytest.raises(ValueError, match="eps must be positive"):
        shade(*args, eps=0.0)


def test_opcheck(device: torch.device) -> None:
    args = make(6, torch.float32, device)
    torch.library.opcheck(
        _shade, (args[0].requires_grad_(), args[1].requires_grad_(), *args[2:], 1e-6)
    )
