"""Arguments that no operator takes: one line each, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dfast import ops, reference
from dfast.ops import adam

pytestmark = pytest.mark.usefixtures("needs_native")

GRID = ops.GridSpec(levels=2, features=2, log2_entries=6, base_resolution=2, max_resolution=4)
FIELD = ops.FieldSpec(GRID, width=4, layers=1)
RAYS, SAMPLES, VIEWS = 4, 8, 2
BITS = torch.full((512,), 255, dtype=torch.uint8)
DIRECTIONS = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2 * k, 0.1] for k in range(4)]))


def _march(**changes: Any) -> ops.Samples:
    arguments: dict[str, Any] = {
        "origins": -2 * DIRECTIONS,
        "directions": DIRECTIONS,
        "occupancy_bitfield": BITS,
        "resolution": 16,
        "radius": 1.0,
        "step_size": 0.5,
        "jitter": torch.rand(RAYS),
    }
    return ops.march(**arguments | changes)


def _lights() -> dict[str, Tensor]:
    names = ("ambient", "diffuse", "textureless")
    return {"light_position": torch.rand(VIEWS, 3)} | {n: torch.rand(VIEWS) for n in names}


def _adam(**t: Tensor) -> None:
    adam.adam_step(
        [t["param"]],
        [t["grad"]],
        [t["exp_avg"]],
        [t["exp_avg_sq"]],
        [None],
        [0.01],
        t["factor"],
        t["status"],
        betas=(0.9, 0.99),
        eps=1e-8,
    )


def _calls() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    rand, samples = torch.rand, _march()
    count = len(samples.t)
    table = rand(GRID.entries, GRID.features)
    points = {"x": rand(SAMPLES, 3), "table": table, "spec": GRID, "level_weights": rand(2)}
    per_sample = {"gradient": rand(SAMPLES, 3), "albedo": rand(SAMPLES, 3)}
    clip, faces = rand(2, 4, 4), torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    raster = ops.rasterize(clip, faces, resolution=8)
    moments = {name: rand(5) for name in ("param", "grad", "exp_avg", "exp_avg_sq")}
    return {
        "march": (
            _march,
            {"origins": -2 * DIRECTIONS, "directions": DIRECTIONS, "jitter": rand(4)},
        ),
        "march bits": (_march, {"occupancy_bitfield": BITS}),
        "composite": (
            ops.composite,
            {name: rand(SAMPLES) for name in ("density", "dt", "t")}
            | {"rgb": rand(SAMPLES, 3), "offsets": torch.arange(5, dtype=torch.int32)},
        ),
        "hash_encode": (ops.hash_encode, points),
        "hash_encode_grad": (ops.hash_encode_grad, points | {"a": rand(SAMPLES, 4)}),
        "field": (
            ops.field,
            points | {"spec": FIELD, "mlp": rand(FIELD.parameters)},
        ),
        "shade": (
            ops.shade,
            per_sample
            | _lights()
            | {"position": rand(8, 3), "camera_ids": torch.zeros(8, dtype=torch.int32)},
        ),
        "shade_composite": (
            ops.shade_composite,
            _lights()
            | {"density": rand(count), "albedo": rand(count, 3), "gradient": rand(count, 3)}
            | {"samples": samples, "directions": DIRECTIONS}
            | {"camera_ids": torch.zeros(RAYS, dtype=torch.int32)},
        ),
        "attention": (
            partial(ops.attention, heads=2),
            {"q": rand(2, 3, 4), "k": rand(2, 5, 4), "v": rand(2, 5, 4)},
        ),
        "add_layer_norm": (
            ops.add_layer_norm,
            {"x": rand(2, 4), "add": rand(2, 4), "weight": rand(4), "bias": rand(4)},
        ),
        "geglu": (ops.geglu, {"x": rand(4, 8)}),
        "merge": (ops.merge, {"a": rand(2, 4, 3), "b": rand(2, 4, 3), "bias": rand(4)}),
        "group_norm": (
            ops.group_norm,
            {
                "x": rand(2, 4, 3),
                "groups": 2,
                "weight": rand(4),
                "bias": rand(4),
                "add": rand(2, 4),
            },
        ),
        "normal_variation": (
            partial(ops.normal_variation, edge=0.3, step=0.1),
            {"normal": rand(2, 3, 4, 4), "opacity": rand(2, 1, 4, 4), "depth": rand(2, 1, 4, 4)},
        ),
        "pixel_rays": (
            ops.pixel_rays,
            {"origin": rand(2, 3), "rotation": rand(2, 3, 3), "fov": rand(2), "resolution": 8},
        ),
        "rasterize": (ops.rasterize, {"clip": clip, "faces": faces, "resolution": 8}),
        "interpolate": (
            ops.interpolate,
            {"attributes": rand(4, 2), "faces": faces, "raster": raster},
        ),
        "antialias": (
            ops.antialias,
            {"color": rand(2, 8, 8, 3), "raster": raster, "clip": clip, "faces": faces}
            | {"twins": ops.half_edge_twins(faces)},
        ),
        "texture": (
            ops.texture,
            {"image": rand(4, 4, 3), "uv": rand(SAMPLES, 2), "level": rand(SAMPLES)},
        ),
        "texture_level": (
            ops.texture_level,
            {"raster": raster, "clip": clip, "faces": faces, "uv": rand(4, 2)}
            | {"uv_faces": faces, "height": 4, "width": 4},
        ),
        "pack_bits": (ops.pack_bits, {"occupied": torch.ones(8, 8, 8, dtype=torch.bool)}),
        "unpack_bits": (ops.unpack_bits, {"occupancy_bitfield": BITS, "resolution": 16}),
        "adam_step": (_adam, moments | {"factor": torch.ones(1), "status": torch.zeros(4)}),
    }


def _refused(call: Callable[..., Any], arguments: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises(ValueError) as error:
        call(**arguments | {name: value})
    text = str(error.value)
    assert "\n" not in text and len(text) < 200 and "got" in text


@pytest.mark.parametrize("op", _calls())
def test_sparse_tensors_and_too_many_rows_are_refused(op: str) -> None:
    call, arguments = _calls()[op]
    call(**arguments)
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            continue
        _refused(call, arguments, name, value.to_sparse())
        if value.ndim == 2:
            _refused(call, arguments, name, value.to_sparse_csr())
        if op != "adam_step":
            huge = value[:1].expand(2**31, *value.shape[1:])  # one row of memory
            _refused(call, arguments, name, huge)


WHOLE: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (_march, {}, "resolution"),
    (_march, {}, "max_samples"),
    (ops.pixel_rays, _calls()["pixel_rays"][1], "resolution"),
    (ops.group_norm, _calls()["group_norm"][1], "groups"),
    (ops.rasterize, _calls()["rasterize"][1], "resolution"),
    (ops.texture_level, _calls()["texture_level"][1], "width"),
    (ops.unpack_bits, _calls()["unpack_bits"][1], "resolution"),
    (ops.GridSpec, {}, "levels"),
    (ops.GridSpec, {}, "log2_entries"),
    (ops.GridSpec, {}, "max_resolution"),
    (ops.FieldSpec, {}, "width"),
    (ops.FieldSpec, {}, "layers"),
]


@pytest.mark.parametrize(("call", "arguments", "name"), WHOLE)
@pytest.mark.parametrize("value", [2.5, 16.0, 2**31, 2**63, -1, True, "16", [16], float("nan")])
def test_what_is_no_whole_number_is_refused(
    call: Callable[..., Any], arguments: dict[str, Any], name: str, value: Any
) -> None:
    _refused(call, arguments, name, value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [-49, -30, -1, 1, 20, 40, 49])
def test_marching_is_the_same_at_every_scale(power: int, dtype: torch.dtype) -> None:
    origins, directions = (v.to(dtype) for v in (-2 * DIRECTIONS, DIRECTIONS))
    scale = 2.0**power

    def march(scale: float) -> ops.Samples:
        return ops.march(
            origins * scale,
            directions,
            BITS,
            resolution=16,
            radius=scale,
            step_size=scale / 8,
            cone_angle=1 / 32,
        )

    one, scaled = march(1.0), march(scale)
    assert torch.equal(one.offsets, scaled.offsets) and len(one.t) > 50
    assert torch.equal(one.t * scale, scaled.t) and torch.equal(one.dt * scale, scaled.dt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_marching_at_its_bounds_agrees_with_the_reference(dtype: torch.dtype) -> None:
    bounds = [(1.0, 1e15, 0.0), (1.0, 0.1, 1e15), (1e15, 1e14, 0.0), (1e-15, 1e-16, 0.5)]
    for radius, step_size, cone_angle in bounds:
        arguments: dict[str, Any] = {
            "occupancy_bitfield": BITS,
            "resolution": 16,
            "radius": radius,
            "step_size": step_size,
            "cone_angle": cone_angle,
        }
        rays = (-2 * radius * DIRECTIONS.to(dtype), DIRECTIONS.to(dtype))
        found, expected = ops.march(*rays, **arguments), reference.march(*rays, **arguments)
        assert torch.equal(found.offsets, expected.offsets)
        torch.testing.assert_close(found.dt / radius, expected.dt / radius)


@pytest.mark.parametrize(
    "changes",
    [
        *({"radius": v} for v in (0.0, -1.0, 1e-20, 1e16, 1e20, 1e200, math.inf, math.nan)),
        *({"step_size": v} for v in (0.0, -1.0, 1e-6, 1e16, 1e39, 1e200, math.inf, math.nan)),
        *({"cone_angle": v} for v in (-1.0, 1e16, 1e39, math.inf, math.nan)),
    ],
)
def test_lengths_that_cannot_be_squared_are_refused(changes: dict[str, float]) -> None:
    ((name, value),) = changes.items()
    _refused(_march, {}, name, value)
    arguments = {"resolution": 16, "radius": 1.0, "step_size": 0.5} | changes
    with pytest.raises(ValueError, match=f"^{name} must"):
        reference.march(-2 * DIRECTIONS, DIRECTIONS, BITS, **arguments)  # it would not end


@pytest.mark.parametrize("max_samples", [None, 0, 5])
def test_the_reference_marches_without_rays(max_samples: int | None) -> None:
    rays = torch.zeros(0, 3)
    found, expected = (
        module.march(
            rays, rays, BITS, resolution=16, radius=1.0, step_size=0.1, max_samples=max_samples
        )
        for module in (reference, ops)
    )
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
    assert found.offsets.tolist() == [0] and int(found.num_samples) == 0


def test_the_reference_updates_scalars() -> None:
    def run(module: Any) -> list[Tensor]:
        status = torch.zeros(4)
        state = [torch.tensor(v) for v in (0.5, 0.25, 0.0, 0.0)]
        p, g, m, v = state
        module.gradient_norm([g], status, adam.workspace(torch.device("cpu")))
        module.adam_step(
            [p], [g], [m], [v], [None], [0.1], torch.ones(1), status, betas=(0.9, 0.99), eps=1e-8
        )
        return [*state, status]

    for mine, theirs in zip(run(reference.adam), run(adam), strict=True):
        torch.testing.assert_close(mine, theirs)
