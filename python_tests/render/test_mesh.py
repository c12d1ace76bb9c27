"""Images of meshes: analytic sphere and cube, rays of the same cameras, gradients, textures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from surfaces import cameras, cube, sphere
from torch import Tensor

from dfast.ops import half_edge_twins
from dfast.render.mesh import MeshRendering, Surface, render_mesh
from dfast.scene.cameras import CameraBatch
from dfast.scene.projection import clip_coordinates

pytestmark = pytest.mark.usefixtures("needs_native")


def rendered(
    made: tuple[Tensor, Tensor], n: int, like: Tensor, views: int = 3
) -> tuple[MeshRendering, CameraBatch]:
    """Return images of a mesh whose colours are its positions, and the cameras."""
    vertices, faces = made[0].to(like), made[1].to(like.device)
    camera = cameras(views, 4.0, like)
    surface = Surface(vertices, faces, colors=vertices)
    return render_mesh(surface, camera, resolution=n, want_normal=True), camera


def fine(camera: CameraBatch, n: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return origins and directions [B, n * samples, n * samples, 3] of rays within pixels."""
    origins, directions = camera.rays(n * samples)
    shape = (len(camera), n * samples, n * samples, 3)
    return origins.view(shape), directions.view(shape)


def mean(values: Tensor, samples: int) -> Tensor:
    """Return the means over pixels [B, C, n, n] of samples [B, n samples, n samples, C]."""
    return torch.nn.functional.avg_pool2d(values.permute(0, 3, 1, 2), samples)


def hit_sphere(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether rays meet the unit sphere, and the distances."""
    along = (origins * directions).sum(-1)
    root = along.square() - origins.square().sum(-1) + 1
    return root > 0, -along - root.clamp(min=0).sqrt()


def hit_cube(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether rays meet the cube [-1, 1]^3, and the distances."""
    near = (-origins - directions.sign()) / directions
    far = (-origins + directions.sign()) / directions
    return near.amax(-1) < far.amin(-1), near.amax(-1)


SHAPES = {"sphere": (sphere(300, 400), hit_sphere), "cube": (cube(), hit_cube)}
SMALL = {"sphere": (sphere(24, 36), hit_sphere), "cube": (cube(), hit_cube)}


@pytest.mark.parametrize("name", SHAPES)
def test_silhouettes_and_colours_are_the_analytic_ones(
    device: torch.device, dtype: torch.dtype, name: str
) -> None:
    """Against 256 rays a pixel.

    Opacity is right to 0.04 on average where there is an outline (it would be 0.23 without
    antialiasing), to 0.02 elsewhere, and 0.1 % in sum; colours to 0.05 and 0.001 on average.
    """
    made, hit = SHAPES[name]
    n, samples = 64, 16
    out, camera = rendered(made, n, torch.zeros(1, dtype=dtype, device=device))
    origins, directions = fine(camera, n, samples)
    meets, distance = hit(origins, directions)
    cover = mean(meets.to(dtype)[..., None], samples)
    error = (out.opacity - cover).abs()
    outline = (cover > 0) & (cover < 1)
    assert outline.sum() > 300
    assert error[~outline].max() < 0.02 and error[outline].mean() < 0.04
    total = out.opacity.sum((1, 2, 3)) / cover.sum((1, 2, 3))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-3)
    points = torch.where(meets[..., None], origins + distance[..., None] * directions, 0.0)
    color = mean(points, samples)
    inner = torch.nn.functional.avg_pool2d(cover, 3, 1, 1) == 1
    difference = (out.color - color).abs().amax(1, keepdim=True)
    assert difference[inner].mean() < 1e-3 and difference[outline].mean() < 0.05


@pytest.mark.parametrize("name", SHAPES)
def test_centres_see_what_their_rays_meet(
    device: torch.device, dtype: torch.dtype, name: str
) -> None:
    made, hit = SHAPES[name]
    n = 60
    out, camera = rendered(made, n, torch.zeros(1, dtype=dtype, device=device))
    origins, directions = fine(camera, n, 1)
    meets, distance = hit(origins, directions)
    seen = out.raster.face >= 0
    assert (seen != meets).double().mean() < 1e-3  # the sphere's triangles lie within it
    inner = torch.nn.functional.avg_pool2d(meets.to(dtype)[:, None], 5, 1, 2) == 1
    assert inner.double().mean() > 0.1
    torch.testing.assert_close(
        out.depth[inner], distance[:, None][inner], rtol=0, atol=2e-3 if name == "sphere" else 1e-4
    )
    points = (origins + distance[..., None] * directions).permute(0, 3, 1, 2)
    where = inner.expand_as(points)
    torch.testing.assert_close(out.color[where], points[where], rtol=0, atol=2e-3)
    if name == "sphere":
        assert out.normal is not None
        torch.testing.assert_close(out.normal[where], points[where], rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_of_positions_are_differences_of_the_image(
    device: torch.device, name: str
) -> None:
    """Along random directions: 1e-4 over a tiny step of all vertices."""
    vertices, faces = (v.to(device) for v in SMALL[name][0])
    camera = cameras(3, 4.0, vertices)
    twins, generator = half_edge_twins(faces), torch.Generator().manual_seed(0)
    positions = vertices.clone().requires_grad_()
    target = torch.rand(3, 5, 40, 40, generator=generator, dtype=torch.float64).to(device)

    def loss(positions: Tensor) -> Tensor:
        surface = Surface(positions, faces, colors=vertices, twins=twins)
        out = render_mesh(surface, camera, resolution=40)
        image = torch.cat([out.color, out.opacity, out.depth], 1)
        return (image - target).square().sum()

    (gradient,) = torch.autograd.grad(loss(positions), positions)
    for _ in range(4):
        push = torch.randn(vertices.shape, generator=generator, dtype=torch.float64).to(device)
        h = 1e-7
        with torch.no_grad():
            found = float(loss(positions + h * push) - loss(positions - h * push)) / (2 * h)
        assert float((gradient * push).sum()) == pytest.approx(found, rel=1e-4)


def test_a_sphere_is_fitted_to_silhouettes(device: torch.device) -> None:
    """Gradients of the opacity alone find position and size."""
    vertices, faces = sphere(16, 24)
    vertices, faces = vertices.float().to(device), faces.to(device)
    camera = cameras(4, 4.0, vertices)
    twins = half_edge_twins(faces)

    def opacity(shift: Tensor, size: Tensor) -> Tensor:
        surface = Surface(vertices * size + shift, faces, twins=twins)
        return render_mesh(surface, camera, resolution=48).opacity

    want = (torch.tensor([0.2, -0.1, 0.15]).to(vertices), torch.tensor(0.8).to(vertices))
    target = opacity(*want)
    found = [torch.zeros(3, device=device), torch.tensor(0.5, device=device)]
    optimizer = torch.optim.Adam([v.requires_grad_() for v in found], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        (opacity(*found) - target).square().mean().backward()
        optimizer.step()
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=0, atol=0.01)


def test_textures_show_the_colours_of_their_texels(
    device: torch.device, dtype: torch.dtype
) -> None:
    """A texture that is linear in uv is that of vertex colours, away from its border."""
    vertices, faces = (v.to(device) for v in sphere(40, 60))
    vertices = vertices.to(dtype)
    uv = vertices[:, 1:] * 0.4 + 0.5
    size = 128
    line = (torch.arange(size, dtype=dtype, device=device) + 0.5) / size
    image = torch.stack([line.expand(size, size), line[:, None].expand(size, size)], -1)
    camera = cameras(2, 4.0, vertices)
    plain = render_mesh(Surface(vertices, faces, colors=uv), camera, resolution=50)
    surface = Surface(vertices, faces, texture=image.requires_grad_(), uv=uv)
    textured = render_mesh(surface, camera, resolution=50)
    inner = torch.nn.functional.avg_pool2d(plain.opacity, 5, 1, 2) == 1
    inner = inner.expand_as(plain.color)
    assert inner.double().mean() > 0.2
    torch.testing.assert_close(textured.color[inner], plain.color[inner], rtol=0, atol=2e-3)
    (gradient,) = torch.autograd.grad(textured.color.sum(), image)
    torch.testing.assert_close(gradient.sum(), 2 * textured.opacity.sum(), rtol=1e-4, atol=0)


def test_compiles_to_one_graph(device: torch.device) -> None:
    vertices, faces = (v.to(device) for v in sphere(6, 8))
    camera = cameras(2, 4.0, vertices)
    image = torch.rand(8, 8, 3, dtype=torch.float64, device=device, requires_grad=True)
    twins = half_edge_twins(faces)

    def run(positions: Tensor) -> Tensor:
        uv = vertices[:, 1:] / 2 + 0.5
        surface = Surface(positions, faces, texture=image, uv=uv, twins=twins)
        return render_mesh(surface, camera, resolution=12, want_normal=True).color

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    positions = vertices.clone().requires_grad_()
    got, want = compiled(positions), run(positions)
    torch.testing.assert_close(got, want)
    upstream = torch.randn_like(want)
    for a, b in zip(
        torch.autograd.grad(got, (positions, image), upstream),
        torch.autograd.grad(want, (positions, image), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_background(device: torch.device) -> None:
    out, _ = rendered(cube(), 16, torch.zeros(1, device=device))
    white = out.on(torch.ones(3, 1, 1, device=device))
    outside = (out.opacity == 0).expand_as(white)
    assert outside.any() and (white[outside] == 1).all()
    inside = (out.opacity == 1).expand_as(white)
    torch.testing.assert_close(white[inside], out.color[inside])


def test_clip_coordinates_are_those_of_the_rays(device: torch.device, dtype: torch.dtype) -> None:
    camera = cameras(3, 4.0, torch.zeros(1, dtype=dtype, device=device))
    origins, directions = fine(camera, 6, 1)
    points = (origins + 2.5 * directions).flatten(1, 2)
    clip = clip_coordinates(points, camera, near=1.0, far=9.0)
    x, y = (clip[..., :2] / clip[..., 3:]).unbind(-1)
    centre = (torch.arange(6, dtype=dtype, device=device) * 2 + 1) / 6 - 1
    torch.testing.assert_close(x.view(3, 6, 6), centre.expand(3, 6, 6))
    torch.testing.assert_close(y.view(3, 6, 6), -centre[:, None].expand(3, 6, 6))
    ends = (
        camera.origin[:, None]
        - torch.tensor([[1.0], [9.0]]).to(clip) * camera.rotation[:, None, :, 2]
    )
    planes = clip_coordinates(ends, camera, near=1.0, far=9.0)
    depth = planes[..., 2] / planes[..., 3]
    torch.testing.assert_close(depth, torch.tensor([-1.0, 1.0]).to(clip).expand(3, 2))


def test_bad_input() -> None:
    vertices, faces = cube()
    camera = cameras(1, 4.0, vertices)
    surface = Surface(vertices, faces, colors=vertices, texture=torch.rand(4, 4, 3))
    with pytest.raises(ValueError, match="a surface with a texture must have uv and no colors"):
        render_mesh(surface, camera, resolution=4)
    with pytest.raises(ValueError, match="a surface with a texture must have uv and no colors"):
        render_mesh(dataclasses.replace(surface, colors=None), camera, resolution=4)
    with pytest.raises(ValueError, match=r"^near and far must be 0 < near < far, got 1 and 1$"):
        render_mesh(Surface(vertices, faces), camera, resolution=4, near=1, far=1)
