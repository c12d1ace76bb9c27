"""Texture look-up and its levels: known answers, the reference, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from surfaces import cube, seen_by
from torch import Tensor

from dfast import reference
from dfast.ops.interpolate import interpolate
from dfast.ops.rasterize import rasterize
from dfast.ops.texture import _texture, _texture_backward, mip_chain, texture
from dfast.ops.texture_level import _texture_level, texture_level

pytestmark = pytest.mark.usefixtures("needs_native")


def make(
    device: torch.device, dtype: torch.dtype, height: int = 8, width: int = 12, points: int = 50
) -> tuple[Tensor, Tensor, Tensor]:
    """Return an image [H, W, 3], positions [N, 2] in it and beyond, and levels [N]."""
    g = torch.Generator().manual_seed(0)
    image = torch.randn(height, width, 3, generator=g, dtype=torch.float64)
    uv = 1.4 * torch.rand(points, 2, generator=g, dtype=torch.float64) - 0.2
    level = 4 * torch.rand(points, generator=g, dtype=torch.float64) - 0.5
    return image.to(device, dtype), uv.to(device, dtype), level.to(device, dtype)


def test_centres_of_texels_and_points_between(device: torch.device, dtype: torch.dtype) -> None:
    image = torch.arange(12.0).view(3, 4, 1).to(device, dtype)
    y, x = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    uv = torch.stack([(x + 0.5) / 4, (y + 0.5) / 3], -1).to(device, dtype)
    torch.testing.assert_close(texture(image, uv), image)
    between = torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 1.0], [-3.0, 9.0]]).to(device, dtype)
    want = torch.tensor([[5.5], [0.0], [11.0], [8.0]]).to(device, dtype)
    torch.testing.assert_close(texture(image, between), want)


def test_levels_are_means(device: torch.device, dtype: torch.dtype) -> None:
    image = make(device, dtype, 8, 8)[0]
    chain = mip_chain(image)
    assert [len(one) for one in chain] == [8, 4, 2, 1]
    assert [one.shape[:2] for one in mip_chain(image[:, :6])] == [(8, 6), (4, 3)]
    anywhere = torch.rand(5, 2).to(device, dtype)
    mean = texture(image, anywhere, torch.full((5,), 99.0).to(device, dtype))
    torch.testing.assert_close(mean, image.mean((0, 1)).expand(5, 3))
    half = texture(image, anywhere, torch.full((5,), 0.5).to(device, dtype))
    both = [texture(one, anywhere) for one in chain[:2]]
    torch.testing.assert_close(half, (both[0] + both[1]) / 2)


@pytest.mark.parametrize("size", [(8, 12), (1, 1), (16, 16), (5, 4)])
@pytest.mark.parametrize("mipmapped", [True, False])
def test_equals_the_reference(
    device: torch.device, dtype: torch.dtype, size: tuple[int, int], mipmapped: bool
) -> None:
    image, uv, level = (v.requires_grad_() for v in make(device, dtype, *size, 200))
    inputs = (image, uv, level) if mipmapped else (image, uv)
    got, want = texture(*inputs), reference.texture(*inputs)
    eps = torch.finfo(dtype).eps
    # A position is right to 16 texels' roundings, and texels differ by up to 6.
    torch.testing.assert_close(got, want, rtol=0, atol=400 * eps)
    upstream = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad(got, inputs, upstream, allow_unused=True),
        torch.autograd.grad(want, inputs, upstream, allow_unused=True),
        strict=True,
    ):
        b = torch.zeros_like(a) if b is None else b
        torch.testing.assert_close(a, b, rtol=0, atol=6400 * eps)


def test_gradcheck(device: torch.device) -> None:
    inputs = tuple(v.requires_grad_() for v in make(device, torch.float64, 4, 8, 12))
    torch.autograd.gradcheck(texture, inputs)
    torch.autograd.gradcheck(texture, inputs[:2])


def test_leading_dimensions_empty_and_non_contiguous(
    device: torch.device, dtype: torch.dtype
) -> None:
    image, uv, level = make(device, dtype, points=24)
    want = texture(image, uv, level)
    cut = texture(image, uv.view(2, 3, 4, 2), level.view(2, 3, 4))
    assert torch.equal(cut, want.view(2, 3, 4, 3))
    strided = image.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert torch.equal(texture(strided, uv.T.contiguous().T, level), want)
    assert texture(image, uv[:0], level[:0]).shape == (0, 3)
    assert texture(image[..., :0], uv).shape == (24, 0)


def test_nan_positions_give_nan(device: torch.device, dtype: torch.dtype) -> None:
    image, uv, level = make(device, dtype)
    uv[3, 1], level[5] = torch.nan, torch.nan
    found = texture(image, uv, level).isnan().all(-1)
    assert found[3] and found[5] and found.sum() == 2


def test_transforms(device: torch.device) -> None:
    image, uv, level = make(device, torch.float64)
    upstream = torch.randn_like(texture(image, uv, level))
    leaves = tuple(v.clone().requires_grad_() for v in (image, uv, level))
    want = torch.autograd.grad(texture(*leaves), leaves, upstream)
    got = torch.func.vjp(texture, image, uv, level)[1](upstream)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    stacked = torch.func.vmap(lambda one: texture(one, uv, level))(torch.stack([image, -image]))
    torch.testing.assert_close(stacked[1], texture(-image, uv, level))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    inputs = tuple(v.requires_grad_() for v in make(torch.device("cpu"), torch.float32, 8, 8, 9000))
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        out = texture(*inputs)
        results.append((out, *torch.autograd.grad(out, inputs, out.detach().sin())))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_level_of_a_face_seen_from_the_front(device: torch.device, dtype: torch.dtype) -> None:
    """A square that fills the view: 64 texels on 16 pixels are 4 texels a pixel, level 2."""
    corner = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).to(device, dtype)
    zero, one = torch.zeros_like(corner[:, :1]), torch.ones_like(corner[:, :1])
    clip = (2 * torch.cat([corner, zero, one], -1))[None]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32, device=device)
    raster = rasterize(clip, faces, resolution=16)
    level = texture_level(raster, clip, faces, (corner + 1) / 2, faces, height=64, width=16)
    torch.testing.assert_close(level, torch.full_like(level, 2.0), rtol=0, atol=1e-5)
    level = texture_level(raster, clip, faces, (corner + 1) / 2, faces, height=8, width=8)
    assert not level.any()


def test_level_is_that_of_neighbouring_pixels(device: torch.device) -> None:
    """Differences between pixels of a fine raster are the derivatives of a coarse one."""
    vertices, faces = cube()
    uv, faces = vertices[:, :2].to(device) / 2 + 0.5, faces.to(device)
    clip = seen_by(vertices.to(device), 2, 6.0)
    n, times, size = 21, 15, 4096
    raster = rasterize(clip, faces, resolution=n)
    level = texture_level(raster, clip, faces, uv, faces, height=size, width=size)
    fine = rasterize(clip, faces, resolution=n * times)
    at, seen = interpolate(uv, faces, fine), fine.face
    middle = slice(times // 2, None, times)
    beside = slice(times // 2 + 1, None, times)
    steps = torch.stack(
        [
            at[:, middle, beside] - at[:, middle, middle],
            at[:, beside, middle] - at[:, middle, middle],
        ]
    )
    same = (seen[:, middle, middle] == seen[:, middle, beside]) & (
        seen[:, middle, middle] == seen[:, beside, middle]
    )
    kept = same & (raster.face >= 0) & (level > 0)
    want = torch.log2(steps.norm(dim=-1).amax(0) * size * times)
    assert kept.sum() > 100
    torch.testing.assert_close(level[kept], want[kept], rtol=0, atol=math.log2(1.02))


def test_bad_input() -> None:
    image, uv, level = make(torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match=r"^image must have texels, got \[0, 12, 3\]$"):
        texture(image[:0], uv)
    with pytest.raises(ValueError, match=r"^uv must have shape \[..., 2\], got \[50, 1\]$"):
        texture(image, uv[:, :1])
    with pytest.raises(ValueError, match=r"^level must have shape \[50\], got \[49\]$"):
        texture(image, uv, level[1:])
    with pytest.raises(ValueError, match=r"^uv must be torch.float32, got torch.float64$"):
        texture(image, uv.double())
    vertices, faces = cube()
    clip = seen_by(vertices)
    raster = rasterize(clip, faces, resolution=3)
    with pytest.raises(ValueError, match=r"^uv_faces must be \[12, 3\], got \[11, 3\]$"):
        texture_level(raster, clip, faces, clip[0, :, :2], faces[1:], height=4, width=4)
    with pytest.raises(ValueError, match=r"^height must be a whole number in \[1, .*, got 0$"):
        texture_level(raster, clip, faces, clip[0, :, :2], faces, height=0, width=4)


def test_opcheck(device: torch.device) -> None:
    image, uv, level = make(device, torch.float32, 4, 4, 6)
    texels = torch.cat([one.flatten(0, 1) for one in mip_chain(image)])
    for one, levels in ((level, 3), (None, 1)):
        leaves = [None if v is None else v.clone().requires_grad_() for v in (texels, uv, one)]
        torch.library.opcheck(_texture, (*leaves, 4, 4, levels))
        gradient = torch.randn(6, 3, device=device)
        torch.library.opcheck(_texture_backward, (texels, uv, one, gradient, 4, 4, levels))
    vertices, faces = cube()
    clip, faces = seen_by(vertices).to(device), faces.to(device)
    face = rasterize(clip, faces, resolution=3).face
    where = clip[0, :, :2].contiguous()
    torch.library.opcheck(_texture_level, (clip, faces, where, faces, face, 4, 4))


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_cuda_sums_in_a_fixed_order_on_request() -> None:
    image, uv, level = make(torch.device("cpu"), torch.float32, 8, 8, 5000)
    texels = torch.cat([one.flatten(0, 1) for one in mip_chain(image)])
    arguments = (texels, uv, level, torch.randn(5000, 3))
    want = _texture_backward(*arguments, 8, 8, 4)[0]
    on_gpu = tuple(v.cuda() for v in arguments)
    plain = _texture_backward(*on_gpu, 8, 8, 4)[0]
    torch.testing.assert_close(plain.cpu(), want, rtol=0, atol=1e-3)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (_texture_backward(*on_gpu, 8, 8, 4)[0] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.cpu(), want, rtol=0, atol=1e-3)
