"""Antialiasing: known coverage, the reference, gradients of silhouettes."""

from __future__ import annotations

import math

import pytest
import torch
from surfaces import cube, seen_by, soup, sphere
from torch import Tensor

from dfast import reference
from dfast.ops.antialias import (
    _antialias,
    _antialias_backward,
    _edge_ends,
    antialias,
    half_edge_twins,
)
from dfast.ops.interpolate import interpolate
from dfast.ops.rasterize import Raster, rasterize

pytestmark = pytest.mark.usefixtures("needs_native")


MESHES = {
    "sphere": (seen_by(sphere(9, 14)[0], 3), sphere(9, 14)[1]),
    "fine sphere": (seen_by(sphere(40, 60)[0], 3), sphere(40, 60)[1]),
    "cube": (seen_by(cube()[0], 3), cube()[1]),
    "soup": soup(60, 0.3),
    "large soup": soup(6, 3.0),
}
"""Vertices in the clip space of three views, and triangles."""


def flat(points: list[tuple[float, float]], like: Tensor) -> Tensor:
    """Return points in pixels from the top left corner of 16 x 16 in clip space, [1, V, 4]."""
    x, y = torch.tensor(points, dtype=torch.float64).unbind(1)
    clip = torch.stack([x / 8 - 1, 1 - y / 8, torch.zeros_like(x), torch.ones_like(x)], -1)
    return clip[None].to(like)


def quad(device: torch.device) -> Tensor:
    return torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32, device=device)


def opacity(clip: Tensor, faces: Tensor, resolution: int = 16) -> Tensor:
    """Return how much each pixel is covered, [B, N, N]."""
    raster = rasterize(clip, faces, resolution=resolution)
    hit = (raster.face >= 0).to(clip.dtype)[..., None]
    return antialias(hit, raster, clip, faces)[..., 0]


def painted(clip: Tensor, faces: Tensor, colors: Tensor, resolution: int) -> Tensor:
    """Return the antialiased image [B, N, N, C] of a mesh with coloured vertices."""
    raster = rasterize(clip, faces, resolution=resolution)
    return antialias(interpolate(colors, faces, raster), raster, clip, faces)


@pytest.mark.parametrize("shift", [0.0, 0.13, 0.5, 0.77])
@pytest.mark.parametrize("upright", [True, False])
def test_straight_edges_cover_their_share(
    device: torch.device, dtype: torch.dtype, shift: float, upright: bool
) -> None:
    left, right = 4.2 + shift, 9.6 + shift
    box = [(left, -1.0), (right, -1.0), (right, 17.0), (left, 17.0)]
    points = box if upright else [(y, x) for x, y in box]
    clip = flat(points, torch.zeros(1, dtype=dtype, device=device))
    cover = opacity(clip, quad(device))[0]
    edge = torch.arange(17.0, dtype=dtype, device=device)
    want = (edge[1:].clamp(left, right) - edge[:-1].clamp(left, right)).expand(16, 16)
    torch.testing.assert_close(cover, want if upright else want.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("angle", [5.0, 20.0, 40.0, 60.0, 85.0])
def test_turned_square_covers_its_area(device: torch.device, angle: float) -> None:
    turn = [math.radians(angle + 90 * k) for k in range(4)]
    points = [(8 + 6.3 * math.cos(t), 8 + 6.3 * math.sin(t)) for t in turn]
    clip = flat(points, torch.zeros(1, dtype=torch.float64, device=device))
    cover = opacity(clip, quad(device))
    assert float(cover.sum()) == pytest.approx(2 * 6.3**2, abs=1)  # a quarter of a pixel a corner


def test_edges_inside_a_surface_change_nothing(device: torch.device, dtype: torch.dtype) -> None:
    vertices, faces = sphere(12, 20)
    clip, faces = seen_by(vertices, 3).to(device, dtype), faces.to(device)
    raster = rasterize(clip, faces, resolution=40)
    color = torch.rand(3, 40, 40, 2).to(device, dtype)
    change = (antialias(color, raster, clip, faces) - color).abs().amax(-1) > 0
    hit = raster.face >= 0
    inner = torch.nn.functional.max_pool2d((~hit).float(), 3, 1, 1) == 0
    assert inner.any() and change.any() and not change[inner].any()


def test_triangles_smaller_than_pixels_have_silhouettes(device: torch.device) -> None:
    """A fine sphere's disc is right to 0.1 % of its area, and every border pixel is blended."""
    vertices, faces = sphere(200, 300)
    clip = seen_by(vertices.to(device), 2)
    raster = rasterize(clip, faces.to(device), resolution=64)
    cover = opacity(clip, faces.to(device), 64)
    radius = math.tan(math.asin(1 / 3)) / math.tan(math.radians(20)) * 32
    for one in cover.sum((1, 2)):
        assert float(one) == pytest.approx(math.pi * radius**2, rel=1e-3)
    hit = (raster.face >= 0).double()
    border = (torch.nn.functional.max_pool2d(hit, 3, 1, 1) - hit > 0) & (cover > 0)
    assert border.sum() > 2 * radius  # about half of the crossings lie outside the last centre


def test_twins(device: torch.device) -> None:
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 1, 4]], dtype=torch.int32, device=device)
    want = [[5, -1, -1], [8, -1, 0], [-1, -1, 3]]  # edge 0 of [0, 1, 2] is (1, 2), ...
    assert half_edge_twins(faces).tolist() == want
    crossed = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4]], device=device)
    assert (half_edge_twins(crossed) == -1).all()  # three at one edge
    turned = torch.tensor([[0, 1, 2], [1, 2, 3]], device=device)
    assert (half_edge_twins(turned) == -1).all()  # both go from 1 to 2
    closed = half_edge_twins(sphere(5, 6)[1].to(device)).flatten().long()
    assert (closed >= 0).all()
    assert torch.equal(closed[closed], torch.arange(len(closed), device=device))
    assert half_edge_twins(faces[:0]).shape == (0, 3)


@pytest.mark.parametrize("resolution", [9, 40])
@pytest.mark.parametrize("name", MESHES)
def test_equals_the_reference(
    device: torch.device,
    dtype: torch.dtype,
    resolution: int,
    name: str,
) -> None:
    clip, faces = MESHES[name]
    clip, faces = clip.to(device, dtype).requires_grad_(), faces.to(device)
    raster = Raster(*(v.detach() for v in rasterize(clip, faces, resolution=resolution)))
    color = torch.rand(3, resolution, resolution, 4).to(device, dtype).requires_grad_()
    got = antialias(color, raster, clip, faces)
    want = reference.antialias(color, raster, clip, faces)
    assert (got - color).abs().max() > 0
    upstream = torch.randn_like(got)
    results = [(got, want)]
    results += zip(
        torch.autograd.grad(got, (color, clip), upstream),
        torch.autograd.grad(want, (color, clip), upstream),
        strict=True,
    )
    for a, b in results:
        # Edge functions cancel to a hundredth of their terms, and gradients are sums of several.
        atol = 200 * torch.finfo(dtype).eps * max(1.0, float(b.detach().abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_rows_of_the_ends_of_edges(device: torch.device) -> None:
    """Edge 3 f + k goes from corner k + 1 to corner k + 2, in its view's rows."""
    faces = torch.tensor([[5, 6, 7], [8, 9, 4]], device=device)
    edge = torch.tensor([0, 1, 2, 3, 4, 5, -1, -1], device=device).view(2, 2, 1, 2)
    rows = _edge_ends(edge, faces, 10).view(8, 2)[:6].tolist()
    assert rows == [[6, 7], [7, 5], [5, 6], [9, 4], [14, 18], [18, 19]]
    assert _edge_ends(edge, faces[:0], 10).shape == (16,)


def test_gradcheck(device: torch.device) -> None:
    for vertices, faces in (cube(), sphere(5, 7)):
        clip = seen_by(vertices, 1, 4.0).to(device).requires_grad_()
        faces = faces.to(device)
        raster = Raster(*(v.detach() for v in rasterize(clip, faces, resolution=8)))
        color = torch.rand(1, 8, 8, 2, dtype=torch.float64).to(device).requires_grad_()

        def run(color: Tensor, clip: Tensor, r: Raster = raster, f: Tensor = faces) -> Tensor:
            return antialias(color, r, clip, f)

        torch.autograd.gradcheck(run, (color, clip), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("push", [(1.0, 0.0), (0.0, 1.0), (0.6, -0.8)])
def test_silhouettes_follow_vertices(device: torch.device, push: tuple[float, float]) -> None:
    """A moving white sphere under a linear weight: the derivative is area times slope.

    The gradient is that of differences over a tiny step, and right to 5 %; over a whole pixel,
    through all changes of what is seen, differences are right to 0.1 %.
    """
    vertices, faces = sphere(48, 72)
    faces, n = faces.to(device), 64
    clip = seen_by(vertices.to(device), 2, 3.5).requires_grad_()
    line = torch.linspace(-1, 1, n, dtype=torch.float64, device=device)
    weight = line[:, None] + 0.5 * line  # down, right
    pixel = torch.tensor([push[0], push[1], 0, 0]).to(clip) * clip.detach()[..., 3:] * (2 / n)

    def loss(clip: Tensor) -> Tensor:
        return (opacity(clip, faces, n) * weight).sum()

    (gradient,) = torch.autograd.grad(loss(clip), clip)
    found = float((gradient * pixel).sum())
    with torch.no_grad():
        area = float(opacity(clip, faces, n).sum())
        want = area * (0.5 * push[0] - push[1]) * 2 / (n - 1)
        tiny, whole = (
            float(loss(clip + h * pixel) - loss(clip - h * pixel)) / (2 * h) for h in (1e-6, 1.0)
        )
    assert found == pytest.approx(tiny, rel=1e-5)
    assert found == pytest.approx(want, rel=0.05)
    assert whole == pytest.approx(want, rel=1e-3)


def test_transforms(device: torch.device) -> None:
    vertices, faces = cube()
    clip, faces = seen_by(vertices).to(device), faces.to(device)
    raster = rasterize(clip, faces, resolution=9)
    color = torch.rand(2, 9, 9, 3, dtype=torch.float64).to(device)

    def run(color: Tensor, clip: Tensor) -> Tensor:
        return antialias(color, raster, clip, faces)

    upstream = torch.randn_like(color)
    leaves = (color.clone().requires_grad_(), clip.clone().requires_grad_())
    want = torch.autograd.grad(run(*leaves), leaves, upstream)
    for a, b in zip(torch.func.vjp(run, color, clip)[1](upstream), want, strict=True):
        torch.testing.assert_close(a, b)
    many = torch.func.vmap(run, in_dims=(0, None))(torch.stack([color, -color]), clip)
    assert torch.equal(many[1], run(-color, clip))


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    vertices, faces = cube()
    clip, faces = seen_by(vertices).to(device, dtype), faces.to(device)
    raster = rasterize(clip, faces, resolution=9)
    color = torch.rand(2, 9, 9, 3).to(device, dtype)
    strided = color.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    want = antialias(color, raster, clip, faces)
    assert torch.equal(antialias(strided, raster, clip, faces.long()), want)
    assert torch.equal(antialias(color, raster, clip, faces, half_edge_twins(faces)), want)
    nothing = rasterize(clip, faces[:0], resolution=9)
    leaves = (color.requires_grad_(), clip.clone().requires_grad_())
    out = antialias(color, nothing, leaves[1], faces[:0])
    assert torch.equal(out, color)
    d_color, d_clip = torch.autograd.grad(out.sum(), leaves)
    assert (d_color == 1).all() and not d_clip.any()
    none = Raster(*(v[:0] for v in raster))
    assert antialias(color[:0], none, clip[:0], faces).shape == (0, 9, 9, 3)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    vertices, faces = sphere(12, 20)
    clip = seen_by(vertices, 3).float().requires_grad_()
    raster = rasterize(clip.detach(), faces, resolution=40)
    color = torch.rand(3, 40, 40, 2).requires_grad_()
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        out = antialias(color, raster, clip, faces)
        results.append((out, *torch.autograd.grad(out, (color, clip), out.detach().sin())))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_bad_input() -> None:
    vertices, faces = cube()
    clip = seen_by(vertices)
    raster = rasterize(clip, faces, resolution=5)
    color = torch.rand(2, 5, 5, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^color must have shape \[2, 5, 5, \*\], got \[2, 5, 4"):
        antialias(color[:, :, :4], raster, clip, faces)
    with pytest.raises(ValueError, match=r"^color must be torch.float64, got torch.float32$"):
        antialias(color.float(), raster, clip, faces)
    with pytest.raises(ValueError, match=r"^clip must have 2 views, got \[1, 8, 4\]$"):
        antialias(color, raster, clip[:1], faces)
    with pytest.raises(ValueError, match=r"^twins must be int32 \[12, 3\] on cpu, got torch.int64"):
        antialias(color, raster, clip, faces, half_edge_twins(faces).long())
    with pytest.raises(ValueError, match=r"^twins must be in \[-1, 36\), got values in \[1, 36\]$"):
        antialias(color, raster, clip, faces, half_edge_twins(faces) + 1)


def test_opcheck(device: torch.device) -> None:
    vertices, faces = cube()
    clip, faces = seen_by(vertices).float().to(device), faces.to(device)
    raster = rasterize(clip, faces, resolution=6)
    seen = (faces, half_edge_twins(faces), raster.face, raster.depth)
    color = torch.rand(2, 6, 6, 3, device=device)
    torch.library.opcheck(
        _antialias, (color.clone().requires_grad_(), clip.clone().requires_grad_(), *seen)
    )
    out, *rest = _antialias(color, clip, *seen)
    torch.library.opcheck(_antialias_backward, (color, clip, *seen, *rest, out))


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_cuda_sums_in_a_fixed_order_on_request() -> None:
    vertices, faces = sphere(30, 40)
    clip = seen_by(vertices, 3)
    raster = rasterize(clip, faces, resolution=64)
    seen = (faces, half_edge_twins(faces), raster.face, raster.depth)
    color = torch.rand(3, 64, 64, 3, dtype=torch.float64)
    out, *rest = _antialias(color, clip, *seen)
    arguments = (color, clip, *seen, *rest, torch.randn_like(out))
    want = _antialias_backward(*arguments)[1]
    on_gpu = tuple(v.cuda() for v in arguments)
    for a, b in zip(_antialias(*on_gpu[:6]), (out, *rest), strict=True):
        torch.testing.assert_close(a.cpu(), b)
    torch.testing.assert_close(_antialias_backward(*on_gpu)[1].cpu(), want)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (_antialias_backward(*on_gpu)[1] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.cpu(), want)
