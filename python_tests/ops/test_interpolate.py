"""Interpolation over a raster: known answers, the reference, gradients."""

from __future__ import annotations

import pytest
import torch
from surfaces import cube, seen_by, sphere
from torch import Tensor

from dfast import reference
from dfast.ops.interpolate import _interpolate, _interpolate_backward, interpolate
from dfast.ops.rasterize import Raster, corners_seen, rasterize, summed

pytestmark = pytest.mark.usefixtures("needs_native")


def scene(device: torch.device, dtype: torch.dtype, n: int = 20) -> tuple[Tensor, Tensor, Raster]:
    """Return vertices, faces and what two cameras see of a sphere."""
    vertices, faces = sphere(7, 9)
    faces = faces.to(device)
    raster = rasterize(seen_by(vertices).to(device, dtype), faces, resolution=n)
    return vertices.to(device, dtype), faces, raster


def test_points_on_a_cube(device: torch.device, dtype: torch.dtype) -> None:
    """Interpolated positions lie on the cube, and nothing is seen elsewhere."""
    vertices, faces = cube()
    vertices, faces = vertices.to(device, dtype), faces.to(device)
    raster = rasterize(seen_by(vertices, 3, 6.0), faces, resolution=33)
    points = interpolate(vertices, faces, raster)
    hit = raster.face >= 0
    assert 0.1 < hit.double().mean() < 0.9 and not points[~hit].any()
    torch.testing.assert_close(
        points[hit].abs().amax(-1), torch.ones_like(points[hit][:, 0]), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("shared", [True, False])
def test_equals_the_reference(
    device: torch.device, dtype: torch.dtype, channels: int, shared: bool
) -> None:
    vertices, faces, raster = scene(device, dtype)
    shape = (len(vertices), channels) if shared else (2, len(vertices), channels)
    attributes = torch.randn(shape, dtype=dtype, device=device, requires_grad=True)
    barycentric = raster.barycentric.clone().requires_grad_()
    raster = raster._replace(barycentric=barycentric)
    got = interpolate(attributes, faces, raster)
    want = reference.interpolate(attributes, faces, raster)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(got, want, rtol=0, atol=16 * eps)
    upstream = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad(got, (attributes, barycentric), upstream),
        torch.autograd.grad(want, (attributes, barycentric), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=200 * eps)  # sums of up to 100 pixels


def test_rows_may_be_others_than_vertices(device: torch.device) -> None:
    _, faces, raster = scene(device, torch.float32)
    own = torch.arange(3 * len(faces), dtype=torch.int32, device=device).view(-1, 3)
    number = torch.arange(len(faces), device=device).repeat_interleave(3).float()[:, None]
    out = interpolate(number, own, raster)[..., 0]
    hit = raster.face >= 0
    torch.testing.assert_close(out[hit], raster.face[hit].float(), rtol=1e-5, atol=1e-5)


def test_gradcheck(device: torch.device) -> None:
    vertices, faces, raster = scene(device, torch.float64, 4)
    inputs = (vertices.requires_grad_(), raster.barycentric.clone().requires_grad_())
    torch.autograd.gradcheck(
        lambda a, b: interpolate(a, faces, raster._replace(barycentric=b)), inputs
    )
    views = torch.stack([vertices, -vertices]).detach().requires_grad_()
    torch.autograd.gradcheck(lambda a: interpolate(a, faces, raster), (views,))


def test_transforms(device: torch.device) -> None:
    vertices, faces, raster = scene(device, torch.float64, 6)

    def run(attributes: Tensor) -> Tensor:
        return interpolate(attributes, faces, raster)

    upstream = torch.randn_like(run(vertices))
    leaf = vertices.clone().requires_grad_()
    (want,) = torch.autograd.grad(run(leaf), leaf, upstream)
    # Atomic additions on a GPU come in any order.
    assert torch.allclose(torch.func.vjp(run, vertices)[1](upstream)[0], want, rtol=1e-10)
    assert torch.equal(torch.func.vmap(run)(torch.stack([vertices, vertices]))[1], run(vertices))


def test_empty_and_non_contiguous(device: torch.device, dtype: torch.dtype) -> None:
    vertices, faces, raster = scene(device, dtype)
    assert interpolate(vertices[:, :0], faces, raster).shape == (2, 20, 20, 0)
    nothing = Raster(*(v[:0] for v in raster))
    assert interpolate(vertices, faces, nothing).shape == (0, 20, 20, 3)
    strided = vertices.T.contiguous().T.requires_grad_()
    out = interpolate(strided, faces.long(), raster)
    assert torch.equal(out, interpolate(vertices, faces, raster))
    (gradient,) = torch.autograd.grad(out.mean(0)[..., 0].sum(), strided)
    assert gradient.isfinite().all() and not gradient[:, 1:].any()


@pytest.mark.parametrize("shared", [True, False])
def test_terms_summed_by_torch_are_the_gradient(device: torch.device, shared: bool) -> None:
    """The sums in a fixed order, with the terms of each corner computed here."""
    vertices, faces, raster = scene(device, torch.float64)
    attributes = vertices if shared else torch.stack([vertices, -vertices])
    d_out = torch.randn(2, 20, 20, 3, dtype=torch.float64, device=device)
    want = _interpolate_backward(attributes, faces, raster.face, raster.barycentric, d_out)[0]
    b = raster.barycentric
    weight = torch.cat([b, 1 - b.sum(-1, keepdim=True)], -1) * (raster.face >= 0)[..., None]
    terms = (weight[..., None] * d_out[..., None, :]).reshape(-1, 3)
    rows = corners_seen(raster.face, faces, 0 if shared else len(vertices))
    got = summed(rows, terms, attributes.numel() // 3).view_as(attributes)
    torch.testing.assert_close(got, want)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    vertices, faces, raster = scene(torch.device("cpu"), torch.float32, 64)
    vertices.requires_grad_()
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        out = interpolate(vertices, faces, raster)
        results.append((out, *torch.autograd.grad(out, vertices, out.detach().sin())))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_bad_input() -> None:
    vertices, faces, raster = scene(torch.device("cpu"), torch.float32)
    with pytest.raises(
        ValueError, match=r"^attributes must have shape \[2, \*, \*\], got \[3, 56, "
    ):
        interpolate(vertices.expand(3, 56, 3), faces, raster)
    with pytest.raises(ValueError, match=r"^faces must be in \[0, 9\), got values in \[0, 55\]$"):
        interpolate(vertices[:9], faces, raster)
    with pytest.raises(
        ValueError, match=r"^raster.barycentric must be torch.float64, got torch.fl"
    ):
        interpolate(vertices.double(), faces, raster)


def test_opcheck(device: torch.device) -> None:
    vertices, faces, raster = scene(device, torch.float32, 5)
    arguments = (faces, raster.face, raster.barycentric.requires_grad_())
    torch.library.opcheck(_interpolate, (vertices.requires_grad_(), *arguments))
    arguments = (vertices.detach(), faces, raster.face, raster.barycentric.detach())
    torch.library.opcheck(_interpolate_backward, (*arguments, torch.randn(2, 5, 5, 3).to(device)))


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("shared", [True, False])
def test_cuda_sums_in_a_fixed_order_on_request(shared: bool) -> None:
    vertices, faces, raster = scene(torch.device("cpu"), torch.float32, 64)
    attributes = vertices if shared else torch.stack([vertices, -vertices])
    arguments = (attributes, faces, raster.face, raster.barycentric, torch.randn(2, 64, 64, 3))
    want = _interpolate_backward(*arguments)[0]
    on_gpu = tuple(v.cuda() for v in arguments)
    torch.testing.assert_close(_interpolate_backward(*on_gpu)[0].cpu(), want, rtol=0, atol=1e-4)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (_interpolate_backward(*on_gpu)[0] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.cpu(), want, rtol=0, atol=1e-4)
