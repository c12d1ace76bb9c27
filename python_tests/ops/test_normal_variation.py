"""The variation of normals: the reference, gradients, layouts, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfast import reference
from dfast.ops.normal_variation import _normal_variation, normal_variation

pytestmark = pytest.mark.usefixtures("needs_native")

SIZES = [(2, 7, 5), (1, 2, 2), (3, 2, 9), (1, 5, 130), (8, 64, 64)]
"""Views, rows and columns: fewer and more columns than a block has threads."""
EDGE, STEP = 0.3, 0.1


def make(views: int, height: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Normals, opacities and depths of surfaces with steps between them."""
    g = torch.Generator().manual_seed(height * width)
    shape = (views, 1, height, width)
    opacity = torch.rand(shape, generator=g, dtype=dtype).mul(1.2).sub(0.1).clamp(0, 1)
    surface = 2 + 0.3 * torch.randint(3, shape, generator=g) + 0.05 * torch.rand(shape, generator=g)
    normal = 0.5 * torch.randn(views, 3, height, width, generator=g, dtype=dtype)
    return [normal, opacity, (surface * opacity).to(dtype)]


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_reference(
    size: tuple[int, int, int], device: torch.device, dtype: torch.dtype
) -> None:
    normal, opacity, depth = (t.to(device) for t in make(*size, dtype))
    normal.requires_grad_()
    got, want = (
        f(normal, opacity, depth, edge=EDGE, step=STEP)
        for f in (normal_variation, reference.normal_variation)
    )
    torch.testing.assert_close(got, want)
    gradients = [torch.autograd.grad(3 * cost, normal)[0] for cost in (got, want)]
    torch.testing.assert_close(*gradients)
    assert size == SIZES[1] or float(gradients[0].abs().amax()) > 0


def test_gradcheck(device: torch.device) -> None:
    normal, *rest = (t.to(device) for t in make(2, 4, 3, torch.float64))
    torch.autograd.gradcheck(
        lambda n: normal_variation(n, *rest, edge=EDGE, step=STEP),
        (normal.requires_grad_(),),
        check_forward_ad=True,
    )


def test_second_derivatives_are_refused() -> None:
    normal, *rest = make(2, 4, 3, torch.float64)

    def cost(n: Tensor) -> Tensor:
        return normal_variation(n, *rest, edge=EDGE, step=STEP)

    with pytest.raises(RuntimeError, match="normal_variation_backward"):
        torch.func.grad(lambda n: torch.func.grad(cost)(n).sum())(normal)
    (slope,) = torch.autograd.grad(cost(normal.requires_grad_()), normal, create_graph=True)
    with pytest.raises(RuntimeError, match="normal_variation_backward"):
        torch.autograd.grad(slope.sum(), normal)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_not_a_number_is_told_as_the_reference_tells_it(
    which: int, device: torch.device
) -> None:
    images = [t.to(device) for t in make(1, 4, 3, torch.float32)]
    images[which][0, 0, 1, 1] = torch.nan
    got, want = (
        f(*images, edge=EDGE, step=STEP) for f in (normal_variation, reference.normal_variation)
    )
    torch.testing.assert_close(got, want, equal_nan=True)
    assert bool(want.isnan()) == (which < 2)


def test_layouts(device: torch.device, dtype: torch.dtype) -> None:
    normal, opacity, depth = (t.to(device) for t in make(2, 6, 5, dtype))
    whole = normal_variation(normal, opacity, depth, edge=EDGE, step=STEP)
    turned = [
        t.contiguous(memory_format=torch.channels_last).mT.contiguous().mT
        for t in (normal, opacity, depth)
    ]
    assert torch.equal(normal_variation(*turned, edge=EDGE, step=STEP), whole)


def test_bad_input() -> None:
    normal, opacity, depth = make(2, 4, 3, torch.float32)
    sizes = {"edge": EDGE, "step": STEP}
    with pytest.raises(ValueError, match=r"normal must have shape \[B, 3, H, W\], got \[2, 1, 4"):
        normal_variation(opacity, opacity, depth, **sizes)
    with pytest.raises(ValueError, match=r"normal must have an image of 2 x 2 pixels or more"):
        normal_variation(normal[:, :, :1], opacity[:, :, :1], depth[:, :, :1], **sizes)
    with pytest.raises(ValueError, match=r"normal must have an image .* got \[0, 3, 4, 3\]"):
        normal_variation(normal[:0], opacity[:0], depth[:0], **sizes)
    with pytest.raises(ValueError, match=r"opacity must have shape \[2, 1, 4, 3\], got \[1, 1"):
        normal_variation(normal, opacity[:1], depth, **sizes)
    with pytest.raises(ValueError, match=r"depth must be torch.float32, got torch.float64"):
        normal_variation(normal, opacity, depth.double(), **sizes)
    for name in sizes:
        with pytest.raises(ValueError, match=f"{name} must be positive, got nan"):
            normal_variation(normal, opacity, depth, **(sizes | {name: float("nan")}))


def test_opcheck(device: torch.device) -> None:
    normal, *rest = (t.to(device) for t in make(2, 4, 3, torch.float32))
    pixels = normal.movedim(1, -1).contiguous().requires_grad_()
    torch.library.opcheck(_normal_variation, (pixels, *rest, EDGE, STEP))
