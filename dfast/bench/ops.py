"""Workloads A to D: the hash grid, marching, compositing and the field, dfast's and in plain
torch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from dfast import reference
from dfast.bench import counts, scenes
from dfast.bench.case import REFERENCE, Case, Sizes, Work, count_name, dfast_cases, plain_cases
from dfast.bench.plain import PlainField, encode
from dfast.nn.field import Field
from dfast.ops import grid_spec, hashgrid
from dfast.ops.composite import composite
from dfast.ops.march import Samples, march
from dfast.ops.shade_composite import shade_composite
from dfast.scene.scene import build_field


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """A to D at these sizes."""
    for layout, count in sizes.points:
        for what in ("forward", "backward", "backward-positions"):
            name = f"A-{what}-{layout}-{count_name(count)}"
            yield from dfast_cases(device_type, name, partial(grid, what, count, layout))
            if what != "backward-positions" and count <= sizes.reference_points:
                build = partial(plain_grid, what, count, layout)
                yield from plain_cases(name, build, quick=sizes.quick)
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
    for what in ("forward", "forward-backward", "normal", "normal-backward"):
        name = f"D-{what}-{count_name(sizes.field_points)}"
        yield from dfast_cases(device_type, name, partial(field, what, sizes.field_points))
        if sizes.field_points <= sizes.reference_points:
            build = partial(plain_field, what, sizes.field_points)
            yield from plain_cases(name, build, quick=sizes.quick)


def _table(device: torch.device) -> Tensor:
    g = scenes.GRID
    return scenes.normal(device, g.entries, g.features, seed=1).mul_(0.1)


def _grid_cost(what: str, count: int) -> counts.Cost:
    g = scenes.GRID
    if what == "forward":
        return counts.encode(count, g)
    cost = counts.scatter(count, g)
    return cost + counts.encode(count, g) if what == "backward-positions" else cost


def grid(what: str, count: int, layout: str, device: torch.device) -> Work:
    """Workload A: the encoding, or from its gradient the table's, or the positions' as well.

    On CUDA the half copy of the table is read.
    """
    x, table = scenes.points(count, device, layout), _table(device)
    storage = table.half() if device.type == "cuda" else None
    spec, a = grid_spec.pack(scenes.GRID), scenes.normal(device, count, scenes.GRID.outputs)

    @torch.no_grad()
    def run() -> object:
        if what == "forward":
            return hashgrid.encode(x, table, spec, None, storage)
        d_table = hashgrid.scatter(x, a, None, None, spec, None)
        if what == "backward":
            return d_table
        return d_table, hashgrid.encode_grad(x, table, a, spec, None, storage)

    return Work(run, _grid_cost(what, count), {"points": count})


def plain_grid(what: str, count: int, layout: str, device: torch.device, *, gathered: bool) -> Work:
    """The same in torch and by autograd, in float32."""
    op = encode if gathered else reference.hash_encode
    x, table = scenes.points(count, device, layout), _table(device)
    a = scenes.normal(device, count, scenes.GRID.outputs)
    if what == "forward":
        forward = torch.no_grad()(lambda: op(x, table, scenes.GRID))
        return Work(forward, _grid_cost(what, count), {"points": count})
    table.requires_grad_()
    e = op(x, table, scenes.GRID)
    run = partial(torch.autograd.grad, e, table, a, retain_graph=True)
    return Work(run, _grid_cost(what, count), {"points": count})


def marching(size: int, device: torch.device, *, plain: bool = False) -> Work:
    """Workload B. dfast has a fixed number of slots, as in training on a GPU."""
    v, bits = scenes.view(size, device), scenes.occupancy(device).bits
    total = int(scenes.samples(size, device).num_samples)
    op = reference.march if plain else march

    def run() -> Samples:
        return op(
            v.origins, v.directions, bits, resolution=scenes.CELLS, radius=1.0,
            step_size=scenes.STEP, jitter=v.jitter, max_samples=total,
        )  # fmt: skip

    cost = counts.march(size * size, total, scenes.CELLS)
    return Work(run, cost, {"rays": size * size, "samples": total})


def compositing(size: int, device: torch.device, *, plain: bool = False) -> Work:
    """Workload C: forward, and backward from random gradients of colour and opacity."""
    s = scenes.samples(size, device)
    rays, total = size * size, len(s.t)
    tau = (10.0 * scenes.uniform(device, total)).requires_grad_()
    rgb = scenes.uniform(device, total, 3, seed=1).requires_grad_()
    gradients = (scenes.normal(device, rays, 3), scenes.normal(device, rays, seed=1))
    op = reference.composite if plain else composite

    def run() -> object:
        color, _, opacity, _ = op(tau, s.dt, rgb, s.t, s.offsets, early_stop_eps=scenes.EARLY_STOP)
        return torch.autograd.grad((color, opacity), (tau, rgb), gradients)

    return Work(run, counts.composite(rays, total), {"rays": rays, "samples": total})


def lit_compositing(size: int, device: torch.device) -> Work:
    """C with the shading in it, as the render step has it: normals and a light; backward from a
    random gradient of the picture."""
    s, v = scenes.samples(size, device), scenes.view(size, device)
    rays, total = size * size, len(s.t)
    tau = (10.0 * scenes.uniform(device, total)).requires_grad_()
    albedo = scenes.uniform(device, total, 3, seed=1).requires_grad_()
    gradient = scenes.normal(device, total, 3, seed=2).requires_grad_()
    light = scenes.light("diffuse", device)
    lights = (light.light_position, light.ambient, light.diffuse, light.textureless)
    white, d_color = torch.ones(1, 3, device=device), scenes.normal(device, rays, 3)

    def run() -> object:
        seen = shade_composite(
            tau, albedo, gradient, s, v.directions, None, *lights, background=white,
            early_stop_eps=scenes.EARLY_STOP,
        )  # fmt: skip
        return torch.autograd.grad(seen.color, (tau, albedo, gradient), d_color)

    cost = counts.shaded(rays, total, lit=True)
    return Work(run, cost, {"rays": rays, "samples": total})


def field(what: str, count: int, device: torch.device) -> Work:
    """Workload D: density and albedo, with `normal` their gradient too, and the backward pass to
    every parameter."""
    made = build_field(scenes.FIELD, scenes.generator()).to(device)
    made.refresh_storage()
    return _field_work(made, list(made.parameters()), what, count, device)


def plain_field(what: str, count: int, device: torch.device, *, gathered: bool) -> Work:
    """The same in torch and by autograd, in float32."""
    like = build_field(scenes.FIELD, scenes.generator()).to(device)
    made = PlainField(like, gathered=gathered)
    return _field_work(made, made.parameters(), what, count, device)


def _field_work(
    net: Field | PlainField, parameters: list[Tensor], what: str, count: int, device: torch.device
) -> Work:
    normal, backward = what.startswith("normal"), what.endswith("backward")
    x = 2.0 * scenes.uniform(device, count, 3) - 1.0
    shapes = ((count,), (count, 3), (count, 3))
    gradients = [scenes.normal(device, *shape, seed=i) for i, shape in enumerate(shapes)]

    def run() -> object:
        with torch.set_grad_enabled(backward):
            results = [r for r in net(x, want_gradient=normal) if r is not None]
            if not backward:
                return results
            return torch.autograd.grad(results, parameters, gradients[: len(results)])

    hidden, layers = scenes.FIELD.hidden, scenes.FIELD.layers
    cost = counts.field(
        count, scenes.GRID, hidden, layers, normal=normal, backward=backward
    )  # fmt: skip
    details: dict[str, object] = {"fused": net.fused} if isinstance(net, Field) else {}
    return Work(run, cost, {"points": count}, details)
