"""Workloads A to D in dfast and in plain torch: hash grid, marching, compositing, field."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from dfast import reference
from dfast.bench import counts, inputs
from dfast.bench.case import REFERENCE, Case, Work, baseline_cases, count_name, dfast_cases
from dfast.bench.sizes import Sizes
from dfast.bench.torch_baseline import TorchField, gathered_encode
from dfast.nn.field import Field
from dfast.ops import grid_spec, hashgrid
from dfast.ops.composite import composite
from dfast.ops.march import Samples, march
from dfast.ops.shade_composite import shade_composite
from dfast.scene.scene import hash_field


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """Yield the cases of workloads A to D at these sizes."""
    for layout, count in sizes.points:
        for passes in ("forward", "backward", "backward-positions"):
            name = f"A-{passes}-{layout}-{count_name(count)}"
            yield from dfast_cases(device_type, name, partial(grid, passes, count, layout))
            if passes != "backward-positions" and count <= sizes.reference_points:
                build = partial(torch_grid, passes, count, layout)
                yield from baseline_cases(name, build, quick=sizes.quick)
    for size in sizes.marched:
        yield from dfast_cases(device_type, f"B-march-{size}", partial(marching, size))
        if size <= sizes.reference_pixels:
            yield Case(f"B-march-{size}", REFERENCE, partial(marching, size, plain=True))
    for size in sizes.marched:
        yield from dfast_cases(device_type, f"C-composite-{size}", partial(compositing, size))
        build = partial(lit_compositing, size)
        yield from dfast_cases(device_type, f"C-shade-composite-{size}", build)
        if size <= sizes.reference_pixels:
            yield Case(f"C-composite-{size}", REFERENCE, partial(compositing, size, plain=True))
    for passes in ("forward", "forward-backward", "normal", "normal-backward"):
        name = f"D-{passes}-{count_name(sizes.field_points)}"
        yield from dfast_cases(device_type, name, partial(field, passes, sizes.field_points))
        if sizes.field_points <= sizes.reference_points:
            build = partial(torch_field, passes, sizes.field_points)
            yield from baseline_cases(name, build, quick=sizes.quick)


def _table(device: torch.device) -> Tensor:
    """Return a random table [entries, features] of the workloads' grid."""
    g = inputs.GRID
    return inputs.normal(device, g.entries, g.features, seed=1).mul_(0.1)


def _grid_cost(passes: str, count: int) -> counts.Cost:
    """Return the cost of workload A, see `grid`."""
    g = inputs.GRID
    if passes == "forward":
        return counts.encode(count, g)
    cost = counts.scatter(count, g)
    return cost + counts.encode(count, g) if passes == "backward-positions" else cost


def grid(passes: str, count: int, layout: str, device: torch.device) -> Work:
    """Return the work of workload A in dfast.

    Args:
        passes: "forward" for the encoding, "backward" for the gradient of the table, and
            "backward-positions" for that of the positions as well.
        count: number of points.
        layout: of the points, see `inputs.points`.
        device: where it runs. On CUDA the half copy of the table is read.
    """
    x, table = inputs.points(count, device, layout), _table(device)
    table_half = table.half() if device.type == "cuda" else None
    spec, a = grid_spec.pack(inputs.GRID), inputs.normal(device, count, inputs.GRID.outputs)

    @torch.no_grad()
    def run() -> object:
        if passes == "forward":
            return hashgrid.encode(x, table, spec, None, table_half)
        d_table = hashgrid.scatter(x, a, None, None, spec, None)
        if passes == "backward":
            return d_table
        return d_table, hashgrid.encode_grad(x, table, a, spec, None, table_half)

    return Work(run, _grid_cost(passes, count), {"points": count})


def torch_grid(
    passes: str, count: int, layout: str, device: torch.device, *, gathered: bool
) -> Work:
    """Return the same in torch and by autograd, in float32."""
    op = gathered_encode if gathered else reference.hash_encode
    x, table = inputs.points(count, device, layout), _table(device)
    a = inputs.normal(device, count, inputs.GRID.outputs)
    if passes == "forward":
        forward = torch.no_grad()(lambda: op(x, table, inputs.GRID))
        return Work(forward, _grid_cost(passes, count), {"points": count})
    table.requires_grad_()
    e = op(x, table, inputs.GRID)
    run = partial(torch.autograd.grad, e, table, a, retain_graph=True)
    return Work(run, _grid_cost(passes, count), {"points": count})


def marching(size: int, device: torch.device, *, plain: bool = False) -> Work:
    """Return the work of workload B, with a fixed number of samples as in training on a GPU.

    Args:
        size: pixels a side.
        device: where it runs.
        plain: use `dfast.reference`.
    """
    rays, grid = inputs.rays(size, device), inputs.occupancy(device)
    total = int(inputs.samples(size, device).num_samples)
    op = reference.march if plain else march

    def run() -> Samples:
        return op(
            rays.origins,
            rays.directions,
            grid.bits,
            resolution=inputs.CELLS,
            radius=1.0,
            step_size=inputs.STEP,
            jitter=rays.jitter,
            max_samples=total,
        )

    cost = counts.march(size * size, total, inputs.CELLS)
    return Work(run, cost, {"rays": size * size, "samples": total})


def compositing(size: int, device: torch.device, *, plain: bool = False) -> Work:
    """Return the work of workload C: compositing forward, and backward from random gradients.

    Args:
        size: pixels a side.
        device: where it runs.
        plain: use `dfast.reference`.
    """
    s = inputs.samples(size, device)
    num_rays, total = size * size, len(s.t)
    density = (10.0 * inputs.uniform(device, total)).requires_grad_()
    rgb = inputs.uniform(device, total, 3, seed=1).requires_grad_()
    gradients = (inputs.normal(device, num_rays, 3), inputs.normal(device, num_rays, seed=1))
    op = reference.composite if plain else composite

    def run() -> object:
        color, _, opacity, _ = op(
            density, s.dt, rgb, s.t, s.offsets, early_stop_eps=inputs.EARLY_STOP
        )
        return torch.autograd.grad((color, opacity), (density, rgb), gradients)

    return Work(run, counts.composite(num_rays, total), {"rays": num_rays, "samples": total})


def lit_compositing(size: int, device: torch.device) -> Work:
    """Return the work of shading and compositing in one op, as the render step does.

    There are normals and a light; the backward pass is from a random gradient of the colours.
    """
    s, rays = inputs.samples(size, device), inputs.rays(size, device)
    num_rays, total = size * size, len(s.t)
    density = (10.0 * inputs.uniform(device, total)).requires_grad_()
    albedo = inputs.uniform(device, total, 3, seed=1).requires_grad_()
    gradient = inputs.normal(device, total, 3, seed=2).requires_grad_()
    lit = inputs.lighting("diffuse", device)
    lights = (lit.light_position, lit.ambient, lit.diffuse, lit.textureless)
    white, d_color = torch.ones(1, 3, device=device), inputs.normal(device, num_rays, 3)

    def run() -> object:
        pixels = shade_composite(
            density,
            albedo,
            gradient,
            s,
            rays.directions,
            None,
            *lights,
            background=white,
            early_stop_eps=inputs.EARLY_STOP,
        )
        return torch.autograd.grad(pixels.color, (density, albedo, gradient), d_color)

    cost = counts.shaded(num_rays, total, lit=True)
    return Work(run, cost, {"rays": num_rays, "samples": total})


def field(passes: str, count: int, device: torch.device) -> Work:
    """Return the work of workload D in dfast.

    Args:
        passes: "forward" for density and albedo, "normal" for the density's gradient as well, and
            either with "-backward" for the backward pass to every parameter.
        count: number of points.
        device: where it runs.
    """
    made = hash_field(inputs.FIELD, inputs.generator()).to(device)
    made.refresh_table_half()
    return _field_work(made, list(made.parameters()), passes, count, device)


def torch_field(passes: str, count: int, device: torch.device, *, gathered: bool) -> Work:
    """Return the same in torch and by autograd, in float32."""
    like = hash_field(inputs.FIELD, inputs.generator()).to(device)
    made = TorchField(like, gathered=gathered)
    return _field_work(made, made.parameters(), passes, count, device)


def _field_work(
    net: Field | TorchField, parameters: list[Tensor], passes: str, count: int, device: torch.device
) -> Work:
    """Return the work of a field at random points."""
    normal, backward = passes.startswith("normal"), passes.endswith("backward")
    x = 2.0 * inputs.uniform(device, count, 3) - 1.0
    shapes = ((count,), (count, 3), (count, 3))
    gradients = [inputs.normal(device, *shape, seed=i) for i, shape in enumerate(shapes)]

    def run() -> object:
        with torch.set_grad_enabled(backward):
            results = [r for r in net(x, want_gradient=normal) if r is not None]
            if not backward:
                return results
            return torch.autograd.grad(results, parameters, gradients[: len(results)])

    hidden, layers = inputs.FIELD.hidden, inputs.FIELD.layers
    cost = counts.field(count, inputs.GRID, hidden, layers, normal=normal, backward=backward)
    details: dict[str, object] = {"fused": net.fused} if isinstance(net, Field) else {}
    return Work(run, cost, {"points": count}, details)
