"""nerfacc and tiny-cuda-nn on the same inputs, through their public Python interfaces.

They run call by call, not in a CUDA graph, because both wait for the device in a step. tiny-cuda-nn
initialises its own parameters. Each runs in a process of its own (`apart`), because native code of
others may crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dfast.bench import counts, inputs, step
from dfast.bench.case import Case, Work, count_name
from dfast.bench.sizes import Sizes
from dfast.scene.rays import RayBatch

NAMES = ("nerfacc", "tinycudann")


def missing() -> list[str]:
    """Return the names of those that are not installed."""
    return [name for name in NAMES if find_spec(name) is None]


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """Yield the cases of the peers that are installed; both need CUDA."""
    absent = missing() if device_type == "cuda" else NAMES
    if "tinycudann" not in absent:
        for layout, count in sizes.points:
            for passes in ("forward", "backward"):
                name = f"A-{passes}-{layout}-{count_name(count)}"
                yield _case(name, "tinycudann", partial(grid, passes, count, layout))
        for passes in ("forward", "forward-backward"):
            name = f"D-{passes}-{count_name(sizes.field_points)}"
            yield _case(name, "tinycudann", partial(field, passes, sizes.field_points))
    if "nerfacc" not in absent:
        for size in sizes.marched:
            yield _case(f"B-march-{size}", "nerfacc", partial(marching, size))
            yield _case(f"C-composite-{size}", "nerfacc", partial(compositing, size))
    if not absent:
        for size in sizes.steps:
            for shading in step.SHADING_MODES:
                run = partial(render_step, shading, size)
                yield _case(f"E-{shading}-{size}", "nerfacc + tinycudann", run)


_case = partial(Case, apart=__name__)


def _grid_config() -> dict[str, object]:
    """Return the workloads' grid as tiny-cuda-nn's configuration."""
    g = inputs.GRID
    scale = (g.max_resolution / g.base_resolution) ** (1.0 / (g.levels - 1))
    return {
        "otype": "HashGrid",
        "n_levels": g.levels,
        "n_features_per_level": g.features,
        "log2_hashmap_size": g.log2_entries,
        "base_resolution": g.base_resolution,
        "per_level_scale": scale,
        "interpolation": "Linear",
    }


def _encoding() -> Any:
    """Return tiny-cuda-nn's grid in fp16."""
    return import_module("tinycudann").Encoding(3, _grid_config(), dtype=torch.float16)


def grid(passes: str, count: int, layout: str, device: torch.device) -> Work:
    """Return the work of workload A in tiny-cuda-nn, see `dfast.bench.ops.grid`."""
    x, encoding = inputs.points(count, device, layout), _encoding()
    a = inputs.normal(device, count, inputs.GRID.outputs).half()
    if passes == "forward":
        run: Callable[[], object] = torch.no_grad()(lambda: encoding(x))
        return Work(run, counts.encode(count, inputs.GRID), {"points": count})
    e = encoding(x)
    run = partial(torch.autograd.grad, e, encoding.params, a, retain_graph=True)
    return Work(run, counts.scatter(count, inputs.GRID), {"points": count})


def field(passes: str, count: int, device: torch.device) -> Work:
    """Return the work of workload D without normals in tiny-cuda-nn's fused network in fp16."""
    network = {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": inputs.FIELD.hidden,
        "n_hidden_layers": inputs.FIELD.layers,
    }
    net = import_module("tinycudann").NetworkWithInputEncoding(3, 4, _grid_config(), network)
    x, backward = inputs.uniform(device, count, 3), passes.endswith("backward")
    gradients = (inputs.normal(device, count), inputs.normal(device, count, 3, seed=1))

    def run() -> object:
        with torch.set_grad_enabled(backward):
            out = net(x).float()
            results = (torch.exp(out[:, 0]), torch.sigmoid(out[:, 1:4]))
            return torch.autograd.grad(results, net.params, gradients) if backward else results

    cost = counts.field(
        count,
        inputs.GRID,
        inputs.FIELD.hidden,
        inputs.FIELD.layers,
        normal=False,
        backward=backward,
    )
    return Work(run, cost, {"points": count})


def _sampler(device: torch.device) -> Callable[[RayBatch], tuple[Tensor, Tensor, Tensor]]:
    """Return nerfacc's marching: rays to ray index, start and end of each sample, each [M]."""
    estimator = import_module("nerfacc").OccGridEstimator(
        roi_aabb=[-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], resolution=inputs.CELLS, levels=1
    )
    estimator.binaries = inputs.solid()[None]
    estimator = estimator.to(device).eval()

    @torch.no_grad()
    def sample(rays: RayBatch) -> tuple[Tensor, Tensor, Tensor]:
        ray, start, end = estimator.sampling(
            rays.origins,
            rays.directions,
            render_step_size=inputs.STEP,
            stratified=False,
            early_stop_eps=0.0,
            alpha_thre=0.0,
        )
        return ray, start, end

    return sample


def marching(size: int, device: torch.device) -> Work:
    """Return the work of workload B in nerfacc."""
    rays, sample = inputs.rays(size, device), _sampler(device)
    total = len(sample(rays)[0])
    cost = counts.march(size * size, total, inputs.CELLS)
    return Work(lambda: sample(rays), cost, {"rays": size * size, "samples": total})


def _composite(
    ray: Tensor, start: Tensor, end: Tensor, density: Tensor, rgb: Tensor, num_rays: int
) -> tuple[Tensor, Tensor]:
    """Return colour [R, 3] and opacity [R] composited by nerfacc."""
    nerfacc = import_module("nerfacc")
    weights, _, _ = nerfacc.render_weight_from_density(
        start, end, density, ray_indices=ray, n_rays=num_rays
    )
    color = nerfacc.accumulate_along_rays(weights, values=rgb, ray_indices=ray, n_rays=num_rays)
    opacity = nerfacc.accumulate_along_rays(weights, values=None, ray_indices=ray, n_rays=num_rays)
    return color, opacity[:, 0]


def compositing(size: int, device: torch.device) -> Work:
    """Return the work of workload C in nerfacc, which composites without an early stop."""
    ray, start, end = _sampler(device)(inputs.rays(size, device))
    num_rays, total = size * size, len(ray)
    density = (10.0 * inputs.uniform(device, total)).requires_grad_()
    rgb = inputs.uniform(device, total, 3, seed=1).requires_grad_()
    gradients = (inputs.normal(device, num_rays, 3), inputs.normal(device, num_rays, seed=1))

    def run() -> object:
        results = _composite(ray, start, end, density, rgb, num_rays)
        return torch.autograd.grad(results, (density, rgb), gradients)

    return Work(run, counts.composite(num_rays, total), {"rays": num_rays, "samples": total})


def render_step(shading: str, size: int, device: torch.device) -> Work:
    """Return the work of workload E in nerfacc, tiny-cuda-nn and torch.

    The grid is tiny-cuda-nn's, the MLP torch's, because normals need its second order, and Adam is
    torch's fused one.
    """
    rays, sample, lit = inputs.rays(size, device), _sampler(device), shading != "albedo"
    width = step.FIELD.hidden
    encoding, relu = _encoding(), torch.nn.ReLU
    mlp = torch.nn.Sequential(
        torch.nn.Linear(inputs.GRID.outputs, width),
        relu(),
        torch.nn.Linear(width, width),
        relu(),
        torch.nn.Linear(width, 4),
    ).to(device)
    parameters = [encoding.params, *mlp.parameters()]
    optimizer = torch.optim.Adam(
        parameters, lr=step.RATE, betas=step.BETAS, eps=step.EPS, fused=True
    )
    light = inputs.lighting(step.SHADING_MODES[shading], device)
    gradient = inputs.normal(device, size * size, 3)

    def run() -> None:
        ray, start, end = sample(rays)
        t = 0.5 * (start + end)
        x = (rays.origins[ray] + t[:, None] * rays.directions[ray]).requires_grad_(lit)
        out = mlp(encoding((x + 1.0) * 0.5).float())
        blob = step.FIELD.blob_height * torch.exp(
            x.square().sum(-1) * (-0.5 / step.FIELD.blob_width**2)
        )
        logit, rgb = out[:, 0] + blob, torch.sigmoid(out[:, 1:])
        if lit:
            (g,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
            n = -g / (g.square().sum(-1, keepdim=True) + 1e-6).sqrt()
            to_light = torch.nn.functional.normalize(light.light_position - x.detach(), dim=-1)
            lambert = (n * to_light).sum(-1, keepdim=True).clamp(min=0.0)
            rgb = rgb * (light.ambient + light.diffuse * lambert)
        color, opacity = _composite(ray, start, end, torch.exp(logit), rgb, size * size)
        image = color + (1.0 - opacity)[:, None]
        image.backward(gradient)
        optimizer.step()
        optimizer.zero_grad()

    total = len(sample(rays)[0])
    numbers = sum(p.numel() for p in parameters)
    cost = step.cost(shading, size * size, total, numbers)
    return Work(run, cost, {"rays": size * size, "samples": total})
