"""Rasterisation: known answers, the reference, gradients, the same bits everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from surfaces import cube, seen_by, soup, sphere
from torch import Tensor

from dfast import reference
from dfast.ops.rasterize import Raster, _rasterize, _rasterize_backward, rasterize

pytestmark = pytest.mark.usefixtures("needs_native")


def ground(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return a plane one unit below a camera that looks along it, reaching behind the camera."""
    corner = torch.tensor([[-50.0, -50], [50, -50], [50, 50], [-50, 50]]).to(like)  # right, ahead
    right, ahead = corner.unbind(1)
    z = 1.0002 * ahead - 0.02
    clip = torch.stack([right, -torch.ones_like(right), z, ahead], -1)[None]
    return clip, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32, device=like.device)


def net(cells: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return a net of triangles over the whole screen, with vertices on pixels' centres."""
    g = torch.Generator().manual_seed(0)
    index = torch.arange(cells + 1)
    x = (2.0 * index / cells - 1).expand(cells + 1, -1)
    moved = torch.randint(-1, 2, (2, cells + 1, cells + 1), generator=g) / (2.0 * cells)
    inner = torch.zeros(cells + 1, cells + 1)
    inner[1:-1, 1:-1] = 1
    w = 1 + torch.rand(cells + 1, cells + 1, generator=g)
    flat = torch.stack([(x + inner * moved[0]) * w, (x.T + inner * moved[1]) * w, 0 * w, w], -1)
    a = (index[:-1, None] * (cells + 1) + index[:-1]).flatten()
    b, c, d = a + 1, a + cells + 1, a + cells + 2
    faces = torch.cat([torch.stack([a, b, d], 1), torch.stack([a, d, c], 1)]).to(torch.int32)
    return flat.reshape(1, -1, 4).to(like), faces.to(like.device)


def test_a_triangle_by_hand(device: torch.device, dtype: torch.dtype) -> None:
    """Corners at the centres of three corner pixels of 4 x 4, the third twice as far."""
    at, like = 0.75, torch.zeros(1, dtype=dtype, device=device)
    clip = torch.tensor([[[-at, at, 0, 1], [at, at, 0, 1], [-2 * at, -2 * at, 1, 2]]]).to(like)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    raster = rasterize(clip, faces, resolution=4)
    inside = [[0, 0, 0, 0], [0, 0, 0, -1], [0, 0, -1, -1], [0, -1, -1, -1]]
    assert raster.face[0].tolist() == inside
    middle = raster.barycentric[0, 1, 0]  # a third of the way down on the screen: 2 : 0 : 1 / 2
    torch.testing.assert_close(middle, torch.tensor([0.8, 0.0]).to(like))
    torch.testing.assert_close(raster.depth[0, 1, 0], torch.tensor(1 / 6).to(like)[()])
    empty = raster.face[0] < 0
    assert not raster.barycentric[0][empty].any() and (raster.depth[0][empty] == 1).all()


def test_a_plane_under_the_camera_reaches_the_horizon(
    device: torch.device, dtype: torch.dtype
) -> None:
    clip, faces = ground(torch.zeros(1, dtype=dtype, device=device))
    seen = rasterize(clip, faces, resolution=32).face[0] >= 0
    assert not seen[:16].any()
    assert seen[17:].all()  # the first row below the horizon sees ahead = 32, the last 1


@pytest.mark.parametrize("resolution", [1, 7, 64])
def test_equals_the_reference(device: torch.device, dtype: torch.dtype, resolution: int) -> None:
    like = torch.zeros(1, dtype=dtype, device=device)
    meshes = [(seen_by(vertices, 3), faces) for vertices, faces in (sphere(9, 14), cube())]
    for clip, faces in (*meshes, soup(60, 0.3), soup(400, 0.08), soup(6, 3.0)):
        clip, faces = clip.to(like).requires_grad_(), faces.to(device)
        got = rasterize(clip, faces, resolution=resolution)
        want = reference.rasterize(clip, faces, resolution=resolution)
        same = got.face == want.face
        assert same.double().mean() >= (1 if dtype == torch.float64 else 0.99)  # ties on edges
        tolerance = 2e3 * torch.finfo(dtype).eps  # edge functions cancel to 1e-3 of their terms
        for a, b in zip(got[1:], want[1:], strict=True):
            torch.testing.assert_close(a[same], b[same], rtol=0, atol=tolerance)
        upstream = [torch.randn_like(v) for v in got[1:]]
        upstream = [
            torch.where(same.view(*same.shape, *[1] * (v.ndim - 3)), v, 0) for v in upstream
        ]
        a, b = (torch.autograd.grad(v[1:], clip, upstream)[0] for v in (got, want))
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()) + 1e-30)


def test_no_pixel_falls_between_triangles(device: torch.device, dtype: torch.dtype) -> None:
    like = torch.zeros(1, dtype=dtype, device=device)
    for cells in (1, 5, 64):
        clip, faces = net(cells, like)
        assert (rasterize(clip, faces, resolution=64).face >= 0).all()


def test_the_first_of_equal_triangles_is_seen(device: torch.device, dtype: torch.dtype) -> None:
    vertices, faces = cube()
    clip = seen_by(vertices).to(device, dtype)
    once = rasterize(clip, faces.to(device), resolution=32)
    twice = rasterize(clip, faces.to(device).repeat(3, 1), resolution=32)
    assert torch.equal(once.face, twice.face) and (once.face >= 0).any()


def test_nothing_is_seen_beyond_the_depth_range(device: torch.device) -> None:
    vertices, faces = cube()
    clip = seen_by(vertices, 1)
    for shift in (-3, 3):
        moved = clip.clone()
        moved[..., 2] += shift * moved[..., 3]
        assert (rasterize(moved.to(device), faces.to(device), resolution=16).face < 0).all()


def test_nan_vertices_are_not_seen(device: torch.device, dtype: torch.dtype) -> None:
    vertices, faces = cube()
    clip = seen_by(vertices, 1).to(device, dtype)
    clip[0, 0] = torch.nan
    face = rasterize(clip, faces.to(device), resolution=16).face
    hit = faces.to(device)[face[face >= 0].long()]
    assert len(hit) and (hit != 0).all()


def test_gradcheck(device: torch.device) -> None:
    vertices, faces = cube()
    clip = seen_by(vertices, 1, 5.0).to(device).requires_grad_()

    def run(clip: Tensor) -> tuple[Tensor, ...]:
        return tuple(rasterize(clip, faces.to(device), resolution=5)[1:])

    torch.autograd.gradcheck(run, (clip,), eps=1e-7)


def test_transforms(device: torch.device) -> None:
    vertices, faces = sphere(5, 6)
    clip, faces = seen_by(vertices).to(device), faces.to(device)

    def run(clip: Tensor) -> Tensor:
        return rasterize(clip, faces, resolution=9).barycentric

    upstream = torch.randn_like(run(clip))
    leaf = clip.clone().requires_grad_()
    (want,) = torch.autograd.grad(run(leaf), leaf, upstream)
    # Atomic additions on a GPU come in any order.
    assert torch.allclose(torch.func.vjp(run, clip)[1](upstream)[0], want, rtol=1e-10)
    assert torch.equal(torch.func.vmap(run)(torch.stack([clip, clip]))[1], run(clip))
    with pytest.raises(RuntimeError, match=r"dfast\.ops\.rasterize has no forward-mode derivative"):
        torch.func.jvp(run, (clip,), (clip,))


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    vertices, faces = cube()
    clip, faces = seen_by(vertices).to(device, dtype).requires_grad_(), faces.to(device)
    for raster in (
        rasterize(clip, faces[:0], resolution=3),
        rasterize(clip[:, :0], faces[:0], resolution=3),
    ):
        assert (raster.face == -1).all() and raster.barycentric.shape == (2, 3, 3, 2)
        (gradient,) = torch.autograd.grad(raster.depth.sum() + raster.barycentric.sum(), clip)
        assert not gradient.any()
    assert rasterize(clip[:0], faces, resolution=3).face.shape == (0, 3, 3)
    strided = clip.detach().transpose(1, 2).contiguous().transpose(1, 2)
    for a, b in zip(
        rasterize(strided, faces.long(), resolution=9),
        rasterize(clip, faces, resolution=9),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    vertices, faces = sphere(20, 30)
    clip = seen_by(vertices, 3).float().requires_grad_()
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3, 7):
        torch.set_num_threads(count)
        raster = rasterize(clip, faces, resolution=33)
        upstream = torch.linspace(-1, 1, raster.barycentric.numel()).view_as(raster.barycentric)
        (gradient,) = torch.autograd.grad(raster.barycentric, clip, upstream)
        results.append((*raster, gradient))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_bad_input() -> None:
    vertices, faces = cube()
    clip = seen_by(vertices)
    with pytest.raises(ValueError, match=r"^clip must have shape \[\*, \*, 4\], got \[8, 4\]$"):
        rasterize(clip[0], faces, resolution=4)
    with pytest.raises(
        ValueError, match=r"^faces must be int32 or int64 \[F, 3\], got torch.float"
    ):
        rasterize(clip, faces.float(), resolution=4)
    with pytest.raises(ValueError, match=r"^faces must be in \[0, 8\), got values in \[1, 8\]$"):
        rasterize(clip, faces + 1, resolution=4)
    with pytest.raises(ValueError, match=r"^resolution must be a whole number in \[1, .*, got 0$"):
        rasterize(clip, faces, resolution=0)
    with pytest.raises(ValueError, match=r"^clip must have at most 65535 views, got \[65536, 1, 4"):
        rasterize(clip[:1, :1].expand(65536, 1, 4), faces[:0], resolution=1)
    with pytest.raises(TypeError, match="rasterize takes float32, float64 tensors"):
        rasterize(clip.half(), faces, resolution=4)


def test_opcheck(device: torch.device) -> None:
    vertices, faces = cube()
    clip, faces = seen_by(vertices).float().to(device), faces.to(device)
    torch.library.opcheck(_rasterize, (clip.requires_grad_(), faces, 5))
    barycentric, depth, face = _rasterize(clip.detach(), faces, 5)
    torch.library.opcheck(_rasterize_backward, (clip.detach(), faces, face, barycentric, depth))


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("make", [lambda: sphere(40, 60), cube, lambda: sphere(3, 5)])
def test_cuda_finds_the_same_bits(
    dtype: torch.dtype, make: Callable[[], tuple[Tensor, Tensor]]
) -> None:
    vertices, faces = make()
    clip = seen_by(vertices, 5).to(dtype)
    for resolution in (16, 200):
        want: Raster = rasterize(clip, faces, resolution=resolution)
        got = rasterize(clip.cuda(), faces.cuda(), resolution=resolution)
        assert all(torch.equal(a.cpu(), b) for a, b in zip(got, want, strict=True))


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_cuda_sums_in_a_fixed_order_on_request() -> None:
    vertices, faces = sphere(30, 40)
    clip = seen_by(vertices, 3).float()
    raster = rasterize(clip, faces, resolution=64)
    upstream = torch.randn_like(raster.barycentric)
    arguments = (clip, faces, raster.face, upstream, None)
    want = _rasterize_backward(*arguments)
    on_gpu = tuple(v if v is None else v.cuda() for v in arguments)
    torch.testing.assert_close(_rasterize_backward(*on_gpu).cpu(), want, rtol=1e-4, atol=1e-3)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (_rasterize_backward(*on_gpu) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.cpu(), want, rtol=1e-4, atol=1e-3)
