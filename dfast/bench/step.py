"""Workload E: the whole render step as the trainer takes it, and what runs beside it.

March, field, shading, compositing onto white, the backward pass of a fixed random gradient of the
image, and Adam over every parameter; the occupancy stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from dfast import reference
from dfast.bench import counts, scenes
from dfast.bench.case import Case, Sizes, Work, dfast_cases, plain_cases
from dfast.bench.plain import PlainField
from dfast.bench.trace import stage
from dfast.config import BackgroundConfig
from dfast.nn.field import Field
from dfast.nn.occupancy import OccupancyGrid
from dfast.render.options import RenderOptions
from dfast.render.volume import render_rays
from dfast.scene.background import Background
from dfast.scene.rays import RayBatch
from dfast.scene.scene import Scene, build_field
from dfast.training.adam import NamedAdam
from dfast.training.sample_budget import SampleBudget

FIELD = dataclasses.replace(scenes.FIELD, blob="gaussian", blob_height=5.0, blob_width=0.2)
RATE = 1e-6
"""Small: the scene must be the same after a thousand steps. Adam's work does not depend on it."""
BETAS, EPS = (0.9, 0.99), 1e-15
SHADING_MODES = {"albedo": "albedo", "lambertian": "diffuse"}


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """E at these sizes."""
    for size in sizes.steps:
        for look in SHADING_MODES:
            name = f"E-{look}-{size}"
            yield from dfast_cases(device_type, name, partial(render_step, look, size))
            if size <= sizes.reference_pixels:
                build = partial(plain_step, look, size)
                yield from plain_cases(name, build, quick=sizes.quick)
    yield from dfast_cases(device_type, "E-adam", adam)
    build = partial(occupancy_update, sizes.cells)
    yield from dfast_cases(device_type, f"E-occupancy-{sizes.cells}", build)


def _field(device: torch.device) -> Field:
    made = build_field(FIELD, scenes.generator()).to(device)
    made.refresh_storage()
    return made


def _optimizer(field: Field) -> NamedAdam:
    named = [({"table": field.table}, RATE), ({"mlp": field.mlp}, RATE)]
    return NamedAdam(named, betas=BETAS, eps=EPS)


def _slots(total: int, device: torch.device) -> int | None:
    """As many as the trainer reserves; on the CPU it counts."""
    if device.type == "cpu":
        return None
    return (int(total * SampleBudget.SLACK) // 16384 + 1) * 16384


def cost(look: str, rays: int, total: int, parameters: int) -> counts.Cost:
    """A whole step's."""
    lit = look != "albedo"
    return (
        counts.march(rays, total, scenes.CELLS)
        + counts.field(
            total, scenes.GRID, FIELD.hidden, FIELD.layers, normal=lit, backward=True
        )
        + counts.shaded(rays, total, lit)
        + counts.adam(parameters)
    )  # fmt: skip


def render_step(look: str, size: int, device: torch.device) -> Work:
    """dfast's step. On CUDA in as many sample slots as the trainer reserves."""
    field, v = _field(device), scenes.view(size, device)
    scene = Scene(field, scenes.occupancy(device), Background(BackgroundConfig())).to(device)
    rays = RayBatch(v.origins, v.directions, jitter=v.jitter)
    optimizer, lighting = _optimizer(field), scenes.light(SHADING_MODES[look], device)
    parameters, factor = list(optimizer.parameters.values()), torch.ones(1, device=device)
    total = int(scenes.samples(size, device).num_samples)
    capacity = _slots(total, device)
    normals: Literal["shading", "none"] = "shading" if lighting.lit else "none"
    options = RenderOptions(scenes.MARCH, normals=normals, max_samples=capacity)
    white = torch.ones(1, 3, device=device)
    gradient = scenes.normal(device, size * size, 3)

    def run() -> tuple[Tensor, ...]:
        with stage("render"):
            seen = render_rays(scene, rays, lighting, options, background=white)
        with stage("backward"):
            gradients = torch.autograd.grad(seen.color, parameters, gradient)
        with stage("adam"):
            optimizer.step(gradients, factor, {"table": field.storage})
        return gradients

    numbers = sum(p.numel() for p in parameters)
    amounts = {"rays": size * size, "samples": total}
    needed = cost(look, size * size, total, numbers)
    return Work(run, needed, amounts, {"fused": field.fused, "slots": capacity})


def plain_step(look: str, size: int, device: torch.device, *, gathered: bool) -> Work:
    """The same step from `dfast.reference`, autograd and torch's own Adam."""
    v, bits, shading = (
        scenes.view(size, device),
        scenes.occupancy(device).bits,
        scenes.light(SHADING_MODES[look], device),
    )
    field, lit = PlainField(_field(device), gathered=gathered), look != "albedo"
    parameters = field.parameters()
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=BETAS, eps=EPS)
    gradient = scenes.normal(device, size * size, 3)
    lights = (shading.light_position, shading.ambient, shading.diffuse, shading.textureless)
    total = int(scenes.samples(size, device).num_samples)

    def run() -> tuple[Tensor, ...]:
        with stage("render"):
            s = reference.march(
                v.origins, v.directions, bits, resolution=scenes.CELLS, radius=1.0,
                step_size=scenes.STEP, jitter=v.jitter,
            )  # fmt: skip
            tau, color, normal = field(s.x, want_gradient=lit)
            if normal is not None:
                color, _ = reference.shade(normal, color, s.x, *lights, torch.zeros_like(s.ray))
            out, _, opacity, _ = reference.composite(
                tau, s.dt, color, s.t, s.offsets, early_stop_eps=scenes.EARLY_STOP
            )
            image = out + (1.0 - opacity)[:, None]
        with stage("backward"):
            gradients = torch.autograd.grad(image, parameters, gradient)
        with stage("adam"):
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            optimizer.step()
            optimizer.zero_grad()
        return gradients

    numbers = sum(p.numel() for p in parameters)
    return Work(
        run, cost(look, size * size, total, numbers), {"rays": size * size, "samples": total}
    )


def adam(device: torch.device) -> Work:
    """Adam alone, over the field's parameters."""
    field = _field(device)
    optimizer, factor = _optimizer(field), torch.ones(1, device=device)
    gradients = [scenes.normal(device, *p.shape) for p in optimizer.parameters.values()]
    numbers = sum(g.numel() for g in gradients)
    run = partial(optimizer.step, gradients, factor, {"table": field.storage})
    return Work(run, counts.adam(numbers), {"parameters": numbers})


def occupancy_update(cells: int, device: torch.device) -> Work:
    """A look at half the cells of a grid of cells^3, as the trainer takes now and then."""
    field, occupancy = _field(device), OccupancyGrid(cells, device=device)
    draws = torch.Generator(device).manual_seed(scenes.SEED)
    count = round(int((occupancy.density < 0).sum()) * 0.5)
    hidden, layers = FIELD.hidden, FIELD.layers
    cost = counts.field(count, scenes.GRID, hidden, layers, normal=False, backward=False)
    return Work(
        lambda: occupancy.update(field.density, draws, fraction=0.5), cost, {"cells": count},
        generators=(draws,),
    )  # fmt: skip
