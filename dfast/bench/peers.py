"""nerfacc and tiny-cuda-nn on the same inputs, where they are installed; through their public
Python interfaces only.

They run call by call, not in a CUDA graph: both wait for the device in a step. tiny-cuda-nn keeps
its own parameters, drawn by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dfast.bench import counts, scenes, step
from dfast.bench.case import Case, Sizes, Work, count_name

NAMES = ("nerfacc", "tinycudann")


def missing() -> list[str]:
    """Those that are not installed."""
    return [name for name in NAMES if find_spec(name) is None]


def cases(device_type: str, sizes: Sizes) -> Iterator[Case]:
    """Both need CUDA."""
    absent = missing() if device_type == "cuda" else NAMES
    if "tinycudann" not in absent:
        for layout, count in sizes.points:
            for what in ("forward", "backward"):
                name = f"A-{what}-{layout}-{count_name(count)}"
                yield Case(name, "tinycudann", partial(grid, what, count, layout))
        for what in ("forward", "forward-backward"):
            name = f"D-{what}-{count_name(sizes.field_points)}"
            yield Case(name, "tinycudann", partial(field, what, sizes.field_points))
    if "nerfacc" not in absent:
        for size in sizes.marched:
            yield Case(f"B-march-{size}", "nerfacc", partial(marching, size))
            yield Case(f"C-composite-{size}", "nerfacc", partial(compositing, size))
    if not absent:
        for size in sizes.steps:
            for look in step.SHADING_MODES:
                run = partial(render_step, look, size)
                yield Case(f"E-{look}-{size}", "nerfacc + tinycudann", run)


def _grid_config() -> dict[str, object]:
    g = scenes.GRID
    scale = (g.max_resolution / g.base_resolution) ** (1.0 / (g.levels - 1))
    return {
        "otype": "HashGrid", "n_levels": g.levels, "n_features_per_level": g.features,
        "log2_hashmap_size": g.log2_entries, "base_resolution": g.base_resolution,
        "per_level_scale": scale, "interpolation": "Linear",
    }  # fmt: skip


def _encoding() -> Any:
    return import_module("tinycudann").Encoding(3, _grid_config(), dtype=torch.float16)


def grid(what: str, count: int, layout: str, device: torch.device) -> Work:
    """Workload A, tiny-cuda-nn in fp16."""
    x, encoding = scenes.points(count, device, layout), _encoding()
    a = scenes.normal(device, count, scenes.GRID.outputs).half()
    if what == "forward":
        run: Callable[[], object] = torch.no_grad()(lambda: encoding(x))
        return Work(run, counts.encode(count, scenes.GRID), {"points": count})
    e = encoding(x)
    run = partial(torch.autograd.grad, e, encoding.params, a, retain_graph=True)
    return Work(run, counts.scatter(count, scenes.GRID), {"points": count})


def field(what: str, count: int, device: torch.device) -> Work:
    """Workload D without normals, tiny-cuda-nn's fused network in fp16."""
    network = {
        "otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None",
        "n_neurons": scenes.FIELD.hidden, "n_hidden_layers": scenes.FIELD.layers,
    }  # fmt: skip
    net = import_module("tinycudann").NetworkWithInputEncoding(3, 4, _grid_config(), network)
    x, backward = scenes.uniform(device, count, 3), what.endswith("backward")
    gradients = (scenes.normal(device, count), scenes.normal(device, count, 3, seed=1))

    def run() -> object:
        with torch.set_grad_enabled(backward):
            out = net(x).float()
            results = (torch.exp(out[:, 0]), torch.sigmoid(out[:, 1:4]))
            return torch.autograd.grad(results, net.params, gradients) if backward else results

    cost = counts.field(
        count, scenes.GRID, scenes.FIELD.hidden, scenes.FIELD.layers,
        normal=False, backward=backward,
    )  # fmt: skip
    return Work(run, cost, {"points": count})


def _sampler(device: torch.device) -> Callable[[scenes.View], tuple[Tensor, Tensor, Tensor]]:
    estimator = import_module("nerfacc").OccGridEstimator(
        roi_aabb=[-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], resolution=scenes.CELLS, levels=1
    )
    estimator.binaries = scenes.solid()[None]
    estimator = estimator.to(device).eval()

    @torch.no_grad()
    def sample(v: scenes.View) -> tuple[Tensor, Tensor, Tensor]:
        ray, start, end = estimator.sampling(
            v.origins, v.directions, render_step_size=scenes.STEP, stratified=False,
            early_stop_eps=0.0, alpha_thre=0.0,
        )  # fmt: skip
        return ray, start, end

    return sample


def marching(size: int, device: torch.device) -> Work:
    """Workload B, nerfacc."""
    v, sample = scenes.view(size, device), _sampler(device)
    total = len(sample(v)[0])
    cost = counts.march(size * size, total, scenes.CELLS)
    return Work(lambda: sample(v), cost, {"rays": size * size, "samples": total})


def _composite(
    ray: Tensor, start: Tensor, end: Tensor, tau: Tensor, rgb: Tensor, rays: int
) -> tuple[Tensor, Tensor]:
    nerfacc = import_module("nerfacc")
    weights, _, _ = nerfacc.render_weight_from_density(
        start, end, tau, ray_indices=ray, n_rays=rays
    )
    color = nerfacc.accumulate_along_rays(weights, values=rgb, ray_indices=ray, n_rays=rays)
    opacity = nerfacc.accumulate_along_rays(weights, values=None, ray_indices=ray, n_rays=rays)
    return color, opacity[:, 0]


def compositing(size: int, device: torch.device) -> Work:
    """Workload C, nerfacc; it composites without an early stop."""
    ray, start, end = _sampler(device)(scenes.view(size, device))
    rays, total = size * size, len(ray)
    tau = (10.0 * scenes.uniform(device, total)).requires_grad_()
    rgb = scenes.uniform(device, total, 3, seed=1).requires_grad_()
    gradients = (scenes.normal(device, rays, 3), scenes.normal(device, rays, seed=1))

    def run() -> object:
        results = _composite(ray, start, end, tau, rgb, rays)
        return torch.autograd.grad(results, (tau, rgb), gradients)

    return Work(run, counts.composite(rays, total), {"rays": rays, "samples": total})


def render_step(look: str, size: int, device: torch.device) -> Work:
    """Workload E: nerfacc, tiny-cuda-nn's grid, a torch MLP so that normals have a second order,
    torch's fused Adam."""
    v, sample, lit = scenes.view(size, device), _sampler(device), look != "albedo"
    width = step.FIELD.hidden
    encoding, relu = _encoding(), torch.nn.ReLU
    mlp = torch.nn.Sequential(
        torch.nn.Linear(scenes.GRID.outputs, width), relu(),
        torch.nn.Linear(width, width), relu(), torch.nn.Linear(width, 4),
    ).to(device)  # fmt: skip
    parameters = [encoding.params, *mlp.parameters()]
    optimizer = torch.optim.Adam(
        parameters, lr=step.RATE, betas=step.BETAS, eps=step.EPS, fused=True
    )
    light = scenes.light(step.SHADING_MODES[look], device)
    gradient = scenes.normal(device, size * size, 3)

    def run() -> None:
        ray, start, end = sample(v)
        t = 0.5 * (start + end)
        x = (v.origins[ray] + t[:, None] * v.directions[ray]).requires_grad_(lit)
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

    total = len(sample(v)[0])
    numbers = sum(p.numel() for p in parameters)
    cost = step.cost(look, size * size, total, numbers)
    return Work(run, cost, {"rays": size * size, "samples": total})
