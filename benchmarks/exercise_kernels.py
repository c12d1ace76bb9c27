"""Run every CUDA kernel of dfast once, at sizes small enough for compute-sanitizer.

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer python benchmarks/exercise_kernels.py

Without torch's caching allocator each tensor is its own allocation, so that an access one element
past its end is seen. Sizes are not multiples of a block, and marching leaves slots past the total.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from dfast.ops import grid_spec, hashgrid
from dfast.ops.antialias import antialias
from dfast.ops.attention import attention
from dfast.ops.composite import composite
from dfast.ops.field import field
from dfast.ops.field_spec import FieldSpec
from dfast.ops.gated import geglu, merge
from dfast.ops.grid_spec import GridSpec
from dfast.ops.group_norm import Activation, group_norm, group_norm_and_input
from dfast.ops.interpolate import interpolate
from dfast.ops.layer_norm import add_layer_norm
from dfast.ops.march import march
from dfast.ops.normal_variation import normal_variation
from dfast.ops.occupancy import occupancy_points, occupancy_update
from dfast.ops.rasterize import rasterize
from dfast.ops.rays import pixel_rays
from dfast.ops.shade import shade
from dfast.ops.shade_composite import shade_composite
from dfast.ops.texture import texture
from dfast.ops.texture_level import texture_level
from dfast.ops.world import scene_distance, trace_views
from dfast.training.adam import NamedAdam

CUDA = torch.device("cuda")
generator = torch.Generator().manual_seed(0)


def rand(*shape: int, dtype: torch.dtype) -> Tensor:
    """Uniform in [0, 1), made on the host: the fewer kernels run, the less there is to check."""
    return torch.rand(*shape, generator=generator, dtype=dtype).to(CUDA)


def exercise_hash_grid(features: int, interpolation: str, dtype: torch.dtype) -> None:
    """Value, gradient, both backward passes and the fixed-point sums, at the border of the cube."""
    spec = GridSpec(3, features, 6, 3, 9, interpolation)  # type: ignore[arg-type]
    grid, n = grid_spec.pack(spec), 301
    x, table = rand(n, 3, dtype=dtype), rand(spec.entries, features, dtype=dtype)
    x[0], x[1], x[2] = 0.0, 1.0, torch.nan
    a, u = rand(n, spec.outputs, dtype=dtype), rand(n, 3, dtype=dtype)
    weights = torch.tensor([1.0, 0.5, 0.0], dtype=dtype).to(CUDA)
    stored = [None, table.half()] if dtype == torch.float32 else [None]
    for half in stored:
        hashgrid.encode(x, table, grid, weights, half)
        hashgrid.encode_grad(x, table, a, grid, None, half)
        hashgrid.jvp(x, table, u, grid, None, half)
        hashgrid.hvp(x, table, a, u, grid, weights, half)
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        hashgrid.scatter(x, a, None, None, grid, None)
        hashgrid.scatter(x, a, u, a, grid, weights)
    torch.use_deterministic_algorithms(False)


def exercise_rendering(dtype: torch.dtype, cone_angle: float, max_samples: int | None) -> None:
    """March, then shade and composite, in one op and in two, with their backward passes."""
    rays, resolution = 77, 8
    pixel_rays(*(rand(3, *size, dtype=dtype) for size in ((3,), (3, 3), ())), resolution=7)
    origins = torch.nn.functional.normalize(torch.randn(rays, 3, generator=generator), dim=-1)
    aim = 0.3 * torch.randn(rays, 3, generator=generator) - 3.0 * origins
    directions = torch.nn.functional.normalize(aim, dim=-1)
    origins, directions = (v.to(CUDA, dtype) for v in (3.0 * origins, directions))
    bitfield = (
        torch.randint(256, (resolution**3 // 8,), generator=generator).to(torch.uint8).to(CUDA)
    )
    samples = march(
        origins,
        directions,
        bitfield,
        resolution=resolution,
        radius=1.0,
        step_size=0.07,
        cone_angle=cone_angle,
        jitter=rand(rays, dtype=dtype),
        max_samples=max_samples,
    )
    m, views = len(samples.t), 2
    light, one = rand(views, 3, dtype=dtype), rand(views, dtype=dtype)
    view = torch.randint(views, (m,), generator=generator, dtype=torch.int32).to(CUDA)
    gradient = rand(m, 3, dtype=dtype).requires_grad_()
    albedo = rand(m, 3, dtype=dtype).requires_grad_()
    density = (5.0 * rand(m, dtype=dtype)).requires_grad_()
    position = rand(m, 3, dtype=dtype)
    rgb, normal = shade(gradient, albedo, position, light, one, one, one, view)
    backdrop = rand(views, 3, dtype=dtype)
    of_ray = torch.randint(views, (rays,), generator=generator, dtype=torch.int32).to(CUDA)
    for g in (gradient, None):
        sums = shade_composite(
            density,
            albedo,
            g,
            samples,
            directions,
            of_ray,
            light,
            one,
            one,
            one,
            background=backdrop,
            early_stop_eps=0.01,
        )
        torch.autograd.grad(
            [v.sum() for v in sums], (density, albedo) if g is None else (density, g)
        )
    for channels in (rgb, torch.cat([rgb, normal], -1)):
        outputs = composite(
            density, samples.dt, channels, samples.t, samples.offsets, early_stop_eps=0.01
        )
        torch.autograd.grad([v.sum() for v in outputs], (density, gradient), retain_graph=True)
    images = [rand(2, channels, 9, 131, dtype=dtype) for channels in (3, 1, 1)]
    normal_variation(*images, edge=0.3, step=0.1)


def exercise_occupancy(dtype: torch.dtype, runs: int) -> None:
    """Both functions, with cells that were visited, were not, and are not finite."""
    resolution, cells = 12, torch.arange(3, 1700).to(CUDA)
    draw, found = rand(runs, 4, dtype=dtype), rand(runs, dtype=dtype)
    density, bits = 2.0 * rand(resolution**3, dtype=dtype) - 1.0, torch.zeros(resolution**3 // 8)
    density[5], bits = torch.nan, bits.to(CUDA, torch.uint8)
    occupancy_points(cells, draw, resolution=resolution, radius=1.0)
    occupancy_update(
        density, bits, cells, draw, found, resolution=resolution, decay=0.9, threshold=0.5
    )


def exercise_field(levels: int, width: int, layers: int, interpolation: str) -> None:
    """Both passes of both orders, with slots to spare, at the cube's border; then Adam."""
    grid = GridSpec(levels, 2, 6, 3, 9, interpolation)  # type: ignore[arg-type]
    spec, n = FieldSpec(grid, width, layers, blob="linear", blob_height=1.0), 333
    x = 2.0 * rand(n, 3, dtype=torch.float32) - 1.0
    x[0], x[1] = -1.0, 1.0
    table = rand(grid.entries, 2, dtype=torch.float32).requires_grad_()
    mlp = rand(spec.parameters, dtype=torch.float32).sub_(0.5).requires_grad_()
    table_half, count = table.detach().half(), torch.tensor([n - 20], device=CUDA)
    optimizer = NamedAdam([({"table": table, "mlp": mlp}, 1e-2)], betas=(0.9, 0.99), eps=1e-15)
    for want, some, kept in (
        (False, count, 0),
        (True, count, n),
        (True, count, 0),
        (False, None, 0),
        (True, None, n),
    ):
        sys.modules["dfast.ops.field"].KEPT = kept  # type: ignore[attr-defined]
        sample = field(x, table, mlp, spec, table_half=table_half, count=some, want_gradient=want)
        ends = [v for v in sample if v is not None]
        ones = [torch.ones_like(v) for v in ends]
        grads = torch.autograd.grad(ends, (table, mlp), ones)
        optimizer.step(grads, torch.ones(1, device=CUDA), {"table": table_half})


def exercise_world(dtype: torch.dtype) -> None:
    """Every kind of part, one that is left out, and rays that hit and miss."""
    kind = torch.arange(-1, 12).repeat(2, 1).to(CUDA)
    shapes = ((3,), (3, 3), (3,), (), (), (), (3,), (3,), ())
    table = [kind, *(rand(2, 13, *shape, dtype=dtype).mul_(0.5).add_(0.1) for shape in shapes)]
    scene_distance(table, rand(2, 333, 3, dtype=dtype))
    directions = torch.nn.functional.normalize(rand(2, 333, 3, dtype=dtype) - 0.5, dim=-1)
    trace_views(table, -1.5 * directions + 0.2 * rand(2, 333, 3, dtype=dtype), directions)


def exercise_meshes(dtype: torch.dtype, triangles: int, size: float, deterministic: bool) -> None:
    """Both passes of the mesh renderer: triangles of this size, some of them behind the camera."""
    vertices, resolution = 3 * triangles, 37
    at = (rand(2, triangles, 1, 4, dtype=dtype) - 0.5) + size * rand(
        2, triangles, 3, 4, dtype=dtype
    )
    clip = at.reshape(2, vertices, 4)
    clip[..., 3] += 0.45
    faces = torch.arange(vertices, dtype=torch.int32).view(-1, 3)
    faces[1::2, 0] = faces[::2, 0][: len(faces[1::2])]  # shared corners
    faces, clip = faces.to(CUDA), clip.requires_grad_()
    attributes = rand(2, vertices, 5, dtype=dtype).requires_grad_()
    uv, image = rand(vertices, 2, dtype=dtype), rand(24, 16, 3, dtype=dtype).requires_grad_()
    torch.use_deterministic_algorithms(deterministic)
    raster = rasterize(clip, faces, resolution=resolution)
    level = texture_level(raster, clip, faces, uv, faces, height=24, width=16)
    painted = texture(image, interpolate(uv, faces, raster), level)
    seen = torch.cat([painted, interpolate(attributes, faces, raster)], -1)
    out = antialias(seen, raster, clip, faces)
    torch.autograd.grad(out.square().sum(), (clip, attributes, image))
    torch.use_deterministic_algorithms(False)


def exercise_norm(shape: tuple[int, ...], groups: int, dtype: torch.dtype) -> None:
    """Both passes, whole tiles and pieces, and what joins blocks."""
    batch, channels = shape[:2]
    x = rand(*shape, dtype=dtype).requires_grad_()
    weight, add = rand(channels, dtype=dtype), rand(batch, channels, dtype=dtype)
    scale_shift = rand(batch, 2 * channels, dtype=dtype)
    kinds: tuple[Activation, ...] = ("none", "silu", "gelu")
    for kind in kinds:
        options = {"add": add, "scale_shift": scale_shift, "activation": kind}
        y = group_norm(x, groups, weight, weight, **options)
        torch.autograd.grad(y, x, y.detach())
        y, same = group_norm_and_input(x, groups, weight, weight, **options)
        torch.autograd.grad((y, same), x, (y.detach(), same.detach()))
    rows = x.detach().flatten(2).mT.contiguous()
    for other in (None, rows):
        add_layer_norm(rows, other, weight, weight)
    merge(x.detach(), x.detach(), weight, factor=0.5)
    geglu(x.detach()[..., : shape[-1] // 2 * 2])


def exercise_attention(rows: int, keys: int, heads: int, size: int) -> None:
    """Queries, keys and values that are parts of longer rows."""
    q, both = (rand(2, n, heads * size * k, dtype=torch.float16) for n, k in ((rows, 1), (keys, 2)))
    k, v = both.chunk(2, -1)
    attention(q, k, v, heads)


def main() -> None:
    for sizes in ((70, 77, 2, 40), (5, 1, 1, 8), (16, 16, 3, 64), (129, 33, 1, 192)):
        exercise_attention(*sizes)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for shape, groups in (
            ((2, 24, 9, 7), 4),
            ((1, 30, 5, 5), 5),
            ((2, 40, 70, 60), 4),
            ((1, 8, 333, 100), 2),
        ):
            exercise_norm(shape, groups, dtype)
    for width in (16, 32, 64, 128):
        for layers in (1, 2, 3):
            exercise_field(5, width, layers, "smoothstep")
            exercise_field(12, width, layers, "linear")
    for dtype in (torch.float32, torch.float64):
        for features in (1, 2, 4, 8):
            for interpolation in ("linear", "smoothstep"):
                exercise_hash_grid(features, interpolation, dtype)
        exercise_world(dtype)
        for runs in (1, 700, 1697):  # one block, several, every cell
            exercise_occupancy(dtype, runs)
        for deterministic in (False, True):
            exercise_meshes(dtype, 301, 0.05, deterministic)
            exercise_meshes(dtype, 3, 2.0, deterministic)
        for cone_angle in (0.0, 0.02):
            for max_samples in (None, 5000, 100):  # exact, with slots to spare, too few
                exercise_rendering(dtype, cone_angle, max_samples)
    torch.cuda.synchronize()
    print("every kernel ran")


if __name__ == "__main__":
    main()
