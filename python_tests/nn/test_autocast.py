"""Every op takes what layers under autocast compute: 16-bit values beside float32 ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dfast import ops
from dfast.ops import FieldSpec, GridSpec

pytestmark = pytest.mark.usefixtures("needs_native")

GRID = GridSpec(levels=2, log2_entries=8, base_resolution=3, max_resolution=9)
FIELD = FieldSpec(GRID, width=16)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.rand(*shape, generator=generator)


def narrow(*shape: int, seed: int = 0) -> Tensor:
    return numbers(*shape, seed=seed).bfloat16().requires_grad_()


def cases() -> dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]]:
    """Return ops as functions of the inputs that a layer may have computed in 16 bits."""
    dt, t, offsets = numbers(6), numbers(6, seed=1), torch.tensor([0, 4, 6], dtype=torch.int32)
    x, one = numbers(6, 3, seed=2), torch.zeros(1, dtype=torch.int64)
    samples = ops.Samples(t, dt, one.int(), x, offsets, one, one.bool(), one)
    directions = torch.nn.functional.normalize(numbers(2, 3), dim=-1)
    light = (numbers(1, 3) * 4, numbers(1), numbers(1, seed=1), torch.zeros(1))
    ids, weight = torch.zeros(6, dtype=torch.int32), numbers(4)
    table, mlp = numbers(GRID.entries, 2), numbers(FIELD.parameters, seed=3) - 0.5
    return {
        "composite": (
            lambda density, rgb: ops.composite(density, dt, rgb, t, offsets),
            (narrow(6), narrow(6, 3)),
        ),
        "shade": (
            lambda gradient, albedo: ops.shade(gradient, albedo, x, *light, ids),
            (narrow(6, 3), narrow(6, 3, seed=4)),
        ),
        "shade_composite": (
            lambda density, albedo, gradient: ops.shade_composite(
                density, albedo, gradient, samples, directions, None, *light
            ),
            (narrow(6), narrow(6, 3), narrow(6, 3, seed=4)),
        ),
        "hash_encode": (lambda x, table: ops.hash_encode(x, table, GRID), (narrow(6, 3), table)),
        "hash_encode_grad": (
            lambda x, a: ops.hash_encode_grad(x, table, a, GRID),
            (narrow(6, 3), narrow(6, 4)),
        ),
        "field": (
            lambda x, mlp: ops.field(x, table, mlp, FIELD)[:2],
            (narrow(6, 3), mlp.bfloat16().requires_grad_()),
        ),
        "group_norm": (lambda x: ops.group_norm(x, 2, weight, weight), (narrow(2, 4, 5),)),
        "merge": (lambda a, b: ops.merge(a, b, weight), (numbers(2, 4, 5), narrow(2, 4, 5))),
        "march": (
            lambda origins, directions: ops.march(
                origins, directions, torch.full((8,), 255, dtype=torch.uint8),
                resolution=4, radius=1.0, step_size=0.1,
            ),
            (numbers(2, 3), narrow(2, 3)),
        ),
        "pixel_rays": (
            lambda rotation: ops.pixel_rays(numbers(1, 3), rotation, numbers(1), resolution=2),
            (narrow(1, 3, 3),),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(cases()))
def test_sixteen_bits_beside_float32(name: str) -> None:
    op, inputs = cases()[name]
    wide = op(*[i.detach().float() for i in inputs])
    with torch.autocast("cpu", torch.bfloat16):
        found = op(*inputs)
    found, wide = (r if isinstance(r, tuple) else (r,) for r in (found, wide))
    own = name == "group_norm"  # its arithmetic is float32, its results have the dtype of x
    for a, b in zip(found, wide, strict=True):
        if a.is_floating_point():
            assert a.dtype == (torch.bfloat16 if own else torch.float32)
        torch.testing.assert_close(a, b, check_dtype=False, rtol=0.02 if own else 0, atol=0)
    learned = [r for r in found if r.requires_grad]
    if learned:
        sum(r.float().sum() for r in learned).backward()
        trained = [i for i in inputs if i.requires_grad]
        assert any(i.grad is not None and i.grad.dtype == i.dtype for i in trained)


def test_without_autocast_mixed_types_are_refused() -> None:
    op, inputs = cases()["composite"]
    with pytest.raises(ValueError, match=r"dt must be torch\.bfloat16"):
        op(*inputs)
