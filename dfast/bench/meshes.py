"""Workload G: images of a mesh with coloured vertices, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from dfast import reference
from dfast.bench import inputs
from dfast.bench.case import REFERENCE, Case, Work, dfast_cases
from dfast.bench.counts import FLOAT, Cost
from dfast.bench.sizes import Sizes
from dfast.ops.antialias import antialias, half_edge_twins
from dfast.ops.interpolate import interpolate
from dfast.ops.rasterize import rasterize
from dfast.scene.cameras import spherical
from dfast.scene.projection import clip_coordinates

VIEWS = 8
CHANNELS = 4
"""Colour and opacity."""


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """Yield the cases of workload G: 50 000 triangles at 256 pixels a side, fewer if quick."""
    segments, size = ((50, 20), 64) if sizes.quick else ((250, 100), 256)
    name = f"G-mesh-{size}"
    yield from dfast_cases(device_type, name, partial(rendering, segments, size))
    yield Case(name, REFERENCE, partial(rendering, segments, size, plain=True))


def torus(around: int, along: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return vertices and 2 * around * along triangles of the torus of the other workloads.

    Args:
        around: segments of the large circle.
        along: segments of the small one.
        device: where the tensors live.
    """
    a = torch.arange(around, device=device) * (2 * math.pi / around)
    b = torch.arange(along, device=device) * (2 * math.pi / along)
    radius = 0.5 + 0.2 * b.cos()
    x, y = a.cos()[:, None] * radius, a.sin()[:, None] * radius
    vertices = torch.stack([x, y, (0.2 * b.sin()).expand_as(x)], -1).reshape(-1, 3)
    index = torch.arange(around * along, dtype=torch.int32, device=device).view(around, along)
    next_a, next_b = index.roll(-1, 0), index.roll(-1, 1)
    both = next_a.roll(-1, 1)
    first, second = torch.stack([index, next_a, both], -1), torch.stack([index, both, next_b], -1)
    return vertices, torch.cat([first, second]).reshape(-1, 3)


def rendering(
    segments: tuple[int, int], size: int, device: torch.device, *, plain: bool = False
) -> Work:
    """Return the work of rendering 8 views of a torus, and of the gradients of its vertices.

    Colours and opacity are antialiased; the backward pass is from a random gradient of both, to
    positions and colours.

    Args:
        segments: of the torus.
        size: pixels a side.
        device: where it runs.
        plain: use `dfast.reference`.
    """
    vertices, faces = torus(*segments, device)
    positions = vertices.requires_grad_()
    colors = inputs.uniform(device, len(vertices), 3).requires_grad_()
    azimuth = torch.arange(VIEWS) * (360.0 / VIEWS)
    camera = spherical(azimuth, 20.0, 2.5, 50.0).to(device)
    twins = half_edge_twins(faces)
    gradient = inputs.normal(device, VIEWS, size, size, CHANNELS, seed=1)
    draw, mix, blend = (
        (reference.rasterize, reference.interpolate, reference.antialias)
        if plain
        else (rasterize, interpolate, antialias)
    )

    def run() -> object:
        clip = clip_coordinates(positions, camera)
        raster = draw(clip, faces, resolution=size)
        opacity = (raster.face >= 0).to(clip.dtype)[..., None]
        image = torch.cat([mix(colors, faces, raster), opacity], -1)
        out = blend(image, raster, clip, faces, twins)
        return torch.autograd.grad(out, (positions, colors), gradient)

    pixels = VIEWS * size * size
    return Work(
        run,
        cost(len(vertices), len(faces), pixels),
        {"vertices": len(vertices), "triangles": len(faces), "pixels": pixels},
    )


def cost(vertices: int, triangles: int, pixels: int) -> Cost:
    """Return the cost of all views, forward and backward.

    Every view reads the triangles and the clip coordinates of the vertices; image and gradient of
    each pixel are moved once, and so are its triangle and its two barycentric coordinates in either
    direction. Operations: 40 of the edge functions and the depth for one pixel a triangle and view,
    120 for each pixel of the image and its gradient.
    """
    corners = 3 * triangles + 2 * 4 * vertices
    moved = VIEWS * corners * FLOAT + pixels * (2 * CHANNELS + 2 * 3) * FLOAT
    return Cost(moved, 40 * VIEWS * triangles + 120 * pixels)
