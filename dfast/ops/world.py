"""Procedural scenes in one launch: signed distances at points, and views by sphere tracing.

A table is the ten tensors of `dfast.world.scenes.PartTable` of B scenes with K parts each, in its
order: `FIELDS`. The reference in plain torch is `dfast.world.scenes.table_distance`, which is also
what to differentiate, and `dfast.world.tracer.trace` with ``distance=table_distance``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op

FIELDS: dict[str, tuple[int, ...]] = {
    "kind": (),
    "center": (3,),
    "rotation": (3, 3),
    "size": (3,),
    "rounding": (),
    "extra": (),
    "blend": (),
    "offset": (3,),
    "scale": (3,),
    "taper": (),
}
"""Tensors of a table and their sizes behind [B, K]; `kind` is int64."""


def scene_distance(table: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the signed distances of B scenes. Nothing here is differentiable.

    Args:
        table: the tensors of `FIELDS`, [B, K, ...] each; a part with a negative kind is left out.
        x: world points [B, P, 3], P of each scene, float32 or float64.

    Returns:
        The distance [B, P] and the index of the nearest part, int64 [B, P].

    Raises:
        ValueError: on a wrong shape, dtype, device or number of parts.
    """
    (x,) = transforms.widen(x)
    x = _native.contiguous("x", transforms.constant(x), (None, None, 3), x)
    result: tuple[Tensor, Tensor] = transforms.call(_scene_distance, *_checked(table, x), x)
    return result


def trace_views(
    table: Sequence[Tensor],
    origins: Tensor,
    directions: Tensor,
    *,
    steps: int = 48,
    tolerance: float = 2e-3,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sphere-trace R rays through each of B scenes. Nothing here is differentiable.

    Args:
        table: the tensors of `FIELDS`, [B, K, ...] each; a part with a negative kind is left out.
        origins: world [B, R, 3], outside the unit sphere, float32 or float64.
        directions: [B, R, 3] of unit length (not checked).
        steps: most steps along a ray.
        tolerance: half the largest distance to the surface at which a ray hits, world units.

    Returns:
        The part that each ray hits, 255 for none, uint8 [B, R]; the outward normal times 127, int8
        [B, R, 3]; and where each pattern shows its second colour as bits, uint8 [B, R].

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    steps = _native.whole_number("steps", steps, 0)
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be in (0, 1), got {tolerance}")
    origins, directions = transforms.widen(origins, directions)
    origins = _native.contiguous("origins", transforms.constant(origins), (None, None, 3), origins)
    directions = _native.contiguous(
        "directions", transforms.constant(directions), tuple(origins.shape), origins
    )
    result: tuple[Tensor, Tensor, Tensor] = transforms.call(
        _trace_views, *_checked(table, origins), origins, directions, steps, tolerance
    )
    return result


def _checked(table: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Return the tensors of a table contiguous, for points or rays x [B, P, 3]."""
    if len(table) != len(FIELDS):
        raise ValueError(f"table must have {len(FIELDS)} tensors, got {len(table)}")
    kind = _native.dense("kind", table[0])
    if kind.dtype != torch.int64 or kind.ndim != 2 or kind.shape[0] != x.shape[0]:
        raise ValueError(
            f"kind must be int64 [{x.shape[0]}, *], got {kind.dtype} {list(kind.shape)}"
        )
    if kind.device != x.device:
        raise ValueError(f"kind must be on {x.device}, got {kind.device}")
    most = _native.constant("world_max_parts")
    if not 1 <= kind.shape[1] <= most:
        raise ValueError(f"a scene must have 1 to {most} parts, got {kind.shape[1]}")
    if not torch.compiler.is_compiling() and x.shape[0] * x.shape[1] > _native.MOST_ROWS:
        raise ValueError(f"points must be fewer than 2**31, got {list(x.shape[:2])}")
    rest = zip(list(FIELDS.items())[1:], table[1:], strict=True)
    return [kind.contiguous()] + [
        _native.contiguous(name, transforms.constant(tensor), (*kind.shape, *sizes), x)
        for (name, sizes), tensor in rest
    ]


_TABLE = ", ".join(f"Tensor {name}" for name in FIELDS)
"""The table in the schemas of the operators."""


@custom_op("scene_distance", f"({_TABLE}, Tensor x) -> (Tensor, Tensor)")
def _scene_distance(
    kind: Tensor,
    center: Tensor,
    rotation: Tensor,
    size: Tensor,
    rounding: Tensor,
    extra: Tensor,
    blend: Tensor,
    offset: Tensor,
    scale: Tensor,
    taper: Tensor,
    x: Tensor,
) -> tuple[Tensor, Tensor]:
    distance = x.new_empty(x.shape[:2])
    part = torch.empty_like(distance, dtype=torch.int64)
    rows = (kind, center, rotation, size, rounding, extra, blend, offset, scale, taper)
    _native.call(
        "scene_distance",
        like=x,
        **dict(zip(FIELDS, rows, strict=True)),
        scenes=kind.shape[0],
        parts=kind.shape[1],
        x=x,
        points=x.shape[1],
        distance=distance,
        part=part,
    )
    return distance, part


@_scene_distance.register_fake
def _(  # type: ignore[no-untyped-def]
    kind, center, rotation, size, rounding, extra, blend, offset, scale, taper, x
):
    distance = x.new_empty(x.shape[:2])
    return distance, torch.empty_like(distance, dtype=torch.int64)


@custom_op(
    "trace_views",
    f"({_TABLE}, Tensor origins, Tensor directions, SymInt steps, float tolerance)"
    " -> (Tensor, Tensor, Tensor)",
)
def _trace_views(
    kind: Tensor,
    center: Tensor,
    rotation: Tensor,
    size: Tensor,
    rounding: Tensor,
    extra: Tensor,
    blend: Tensor,
    offset: Tensor,
    scale: Tensor,
    taper: Tensor,
    origins: Tensor,
    directions: Tensor,
    steps: int,
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor]:
    part = origins.new_empty(origins.shape[:2], dtype=torch.uint8)
    normal = torch.empty_like(origins, dtype=torch.int8)
    pattern = torch.empty_like(part)
    rows = (kind, center, rotation, size, rounding, extra, blend, offset, scale, taper)
    _native.call(
        "trace_views",
        like=origins,
        **dict(zip(FIELDS, rows, strict=True)),
        scenes=kind.shape[0],
        parts=kind.shape[1],
        origins=origins,
        directions=directions,
        rays=origins.shape[1],
        steps=steps,
        tolerance=tolerance,
        part=part,
        normal=normal,
        pattern=pattern,
    )
    return part, normal, pattern


@_trace_views.register_fake
def _(  # type: ignore[no-untyped-def]
    kind,
    center,
    rotation,
    size,
    rounding,
    extra,
    blend,
    offset,
    scale,
    taper,
    origins,
    directions,
    steps,
    tolerance,
):
    part = origins.new_empty(origins.shape[:2], dtype=torch.uint8)
    return part, torch.empty_like(origins, dtype=torch.int8), torch.empty_like(part)


transforms.register(_scene_distance)
transforms.register(_trace_views)
