"""Workload E: the whole render step as the trainer takes it, Adam and the occupancy update.

A step marches rays, evaluates the field, shades, composites onto white, goes backward from a fixed
random gradient of the image and updates every parameter by Adam. The occupancy grid stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from dfast import reference
from dfast.bench import counts, inputs
from dfast.bench.case import Case, Work, baseline_cases, dfast_cases
from dfast.bench.sizes import Sizes
from dfast.bench.torch_baseline import TorchField
from dfast.bench.trace import stage
from dfast.config import BackgroundConfig
from dfast.nn.field import Field
from dfast.nn.occupancy import OccupancyGrid
from dfast.render.options import Normals, RenderOptions
from dfast.render.volume import render_rays
from dfast.scene.background import Background
from dfast.scene.scene import Scene, hash_field
from dfast.training.adam import NamedAdam
from dfast.training.sample_budget import SampleBudget

FIELD = dataclasses.replace(inputs.FIELD, blob="gaussian", blob_height=5.0, blob_width=0.2)
"""The field of workload E: that of D with a Gaussian blob."""
RATE = 1e-6
"""Learning rate, so small that the scene is the same after a thousand steps."""
BETAS, EPS = (0.9, 0.99), 1e-15
SHADING_MODES = {"albedo": "albedo", "lambertian": "diffuse"}
"""dfast's shading mode for each shading of a workload's name."""


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """Yield the cases of workload E at these sizes."""
    for size in sizes.steps:
        for shading in SHADING_MODES:
            name = f"E-{shading}-{size}"
            yield from dfast_cases(device_type, name, partial(render_step, shading, size))
            if size <= sizes.reference_pixels:
                build = partial(torch_step, shading, size)
                yield from baseline_cases(name, build, quick=sizes.quick)
    yield from dfast_cases(device_type, "E-adam", adam)
    build = partial(occupancy_update, sizes.cells)
    yield from dfast_cases(device_type, f"E-occupancy-{sizes.cells}", build)


def render_step(shading: str, size: int, device: torch.device) -> Work:
    """Return the work of a step in dfast.

    Args:
        shading: a key of `SHADING_MODES`.
        size: pixels a side.
        device: where it runs. On CUDA it has the number of samples that the trainer reserves.
    """
    background = Background(BackgroundConfig())
    field = _field(device)
    scene = Scene(field, inputs.occupancy(device), background).to(device)
    rays, lighting = inputs.rays(size, device), inputs.lighting(SHADING_MODES[shading], device)
    total = int(inputs.samples(size, device).num_samples)
    max_samples = _max_samples(total, device)
    normals: Normals = "shading" if lighting.lit else "none"
    options = RenderOptions(inputs.MARCH, normals=normals, max_samples=max_samples)
    optimizer, rate_factor = _optimizer(field), torch.ones(1, device=device)
    parameters = list(optimizer.parameters.values())
    white = torch.ones(1, 3, device=device)
    gradient = inputs.normal(device, size * size, 3)

    def run() -> tuple[Tensor, ...]:
        with stage("render"):
            pixels = render_rays(scene, rays, lighting, options, background=white)
        with stage("backward"):
            gradients = torch.autograd.grad(pixels.color, parameters, gradient)
        with stage("adam"):
            optimizer.step(gradients, rate_factor, {"table": field.table_half})
        return gradients

    details: dict[str, object] = {"fused": field.fused, "slots": max_samples}
    return _step_work(run, shading, size, total, parameters, details)


def torch_step(shading: str, size: int, device: torch.device, *, gathered: bool) -> Work:
    """Return the work of the same step from `dfast.reference`, autograd and torch's own Adam.

    Args:
        shading: a key of `SHADING_MODES`.
        size: pixels a side.
        device: where it runs.
        gathered: gather all corners of the grid in one go, see `TorchField`.
    """
    rays, bits = inputs.rays(size, device), inputs.occupancy(device).bits
    field, lit = TorchField(_field(device), gathered=gathered), shading != "albedo"
    lighting = inputs.lighting(SHADING_MODES[shading], device)
    lights = (lighting.light_position, lighting.ambient, lighting.diffuse, lighting.textureless)
    parameters = field.parameters()
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=BETAS, eps=EPS)
    gradient = inputs.normal(device, size * size, 3)
    total = int(inputs.samples(size, device).num_samples)

    def render() -> Tensor:
        s = reference.march(
            rays.origins,
            rays.directions,
            bits,
            resolution=inputs.CELLS,
            radius=1.0,
            step_size=inputs.STEP,
            jitter=rays.jitter,
        )
        density, color, normal = field(s.x, want_gradient=lit)
        if normal is not None:
            color, _ = reference.shade(normal, color, s.x, *lights, torch.zeros_like(s.ray))
        out, _, opacity, _ = reference.composite(
            density, s.dt, color, s.t, s.offsets, early_stop_eps=inputs.EARLY_STOP
        )
        return out + (1.0 - opacity)[:, None]

    def run() -> tuple[Tensor, ...]:
        with stage("render"):
            image = render()
        with stage("backward"):
            gradients = torch.autograd.grad(image, parameters, gradient)
        with stage("adam"):
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            optimizer.step()
            optimizer.zero_grad()
        return gradients

    return _step_work(run, shading, size, total, parameters, {})


def cost(shading: str, rays: int, samples: int, parameters: int) -> counts.Cost:
    """Return the cost of a whole step.

    Args:
        shading: a key of `SHADING_MODES`.
        rays: number of rays.
        samples: number of samples.
        parameters: number of parameters.
    """
    lit, width, layers = shading != "albedo", FIELD.hidden, FIELD.layers
    field = counts.field(samples, inputs.GRID, width, layers, normal=lit, backward=True)
    march = counts.march(rays, samples, inputs.CELLS)
    return march + field + counts.shaded(rays, samples, lit) + counts.adam(parameters)


def adam(device: torch.device) -> Work:
    """Return the work of Adam alone, over the field's parameters."""
    field = _field(device)
    optimizer, rate_factor = _optimizer(field), torch.ones(1, device=device)
    gradients = [inputs.normal(device, *p.shape) for p in optimizer.parameters.values()]
    numbers = sum(g.numel() for g in gradients)
    run = partial(optimizer.step, gradients, rate_factor, {"table": field.table_half})
    return Work(run, counts.adam(numbers), {"parameters": numbers})


def occupancy_update(cells: int, device: torch.device) -> Work:
    """Return the work of an update of half the cells of an occupancy grid of cells^3."""
    field, occupancy = _field(device), OccupancyGrid(cells, device=device)
    draws = torch.Generator(device).manual_seed(inputs.SEED)
    count = round(int((occupancy.density < 0).sum()) * 0.5)
    hidden, layers = FIELD.hidden, FIELD.layers
    cost = counts.field(count, inputs.GRID, hidden, layers, normal=False, backward=False)
    run = partial(occupancy.update, field.density, draws, fraction=0.5)
    return Work(run, cost, {"cells": count}, generators=(draws,))


def _field(device: torch.device) -> Field:
    """Return the field of workload E with random parameters."""
    field = hash_field(FIELD, inputs.generator()).to(device)
    field.refresh_table_half()
    return field


def _optimizer(field: Field) -> NamedAdam:
    """Return Adam over the field's parameters."""
    named = [({"table": field.table}, RATE), ({"mlp": field.mlp}, RATE)]
    return NamedAdam(named, betas=BETAS, eps=EPS)


def _max_samples(total: int, device: torch.device) -> int | None:
    """Return the number of samples that the trainer reserves; on the CPU it counts them."""
    if device.type == "cpu":
        return None
    granularity = SampleBudget.GRANULARITY
    return (int(total * SampleBudget.SLACK) // granularity + 1) * granularity


def _step_work(
    run: Callable[[], object],
    shading: str,
    size: int,
    samples: int,
    parameters: list[Tensor],
    details: dict[str, object],
) -> Work:
    """Return the work of a step with its costs."""
    numbers = sum(p.numel() for p in parameters)
    needed = cost(shading, size * size, samples, numbers)
    return Work(run, needed, {"rays": size * size, "samples": samples}, details)
