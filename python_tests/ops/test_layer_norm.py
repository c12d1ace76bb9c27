"""The residual addition with its layer normalisation: the reference, layouts, bad input."""

from __future__ import annotations

import pytest
import torch

from dfast import reference
from dfast.ops.layer_norm import _add_layer_norm, add_layer_norm

pytestmark = pytest.mark.usefixtures("needs_native")

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SIZES = [(2, 5, 320), (3, 1280), (7, 6), (1, 1), (2, 2050), (513, 64), (4, 8, 2640)]
"""Rows that fit into registers and rows that do not, of whole vectors and of single numbers."""


def rand(*size: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(sum(size) + seed)
    return (2 * torch.randn(*size, generator=g, dtype=torch.float64)).to(device, dtype)


@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_reference(
    size: tuple[int, ...], storage: torch.dtype, device: torch.device
) -> None:
    x, add = (rand(*size, dtype=storage, device=device, seed=seed) for seed in (0, 1))
    weight, bias = (rand(size[-1], dtype=storage, device=device, seed=seed) for seed in (2, 3))
    eps = torch.finfo(storage).eps
    for other in (add, None):
        total, y = add_layer_norm(x, other, weight, bias, eps=1e-3)
        wide = (t if t is None else t.double() for t in (x, other, weight, bias))
        want_total, want = reference.add_layer_norm(*wide, eps=1e-3)  # type: ignore[arg-type]
        assert total.dtype == y.dtype == storage
        torch.testing.assert_close(total.double(), want_total, rtol=2 * eps, atol=0)
        torch.testing.assert_close(y.double(), want, rtol=4 * eps, atol=400 * eps)


def test_equals_torch(device: torch.device, dtype: torch.dtype) -> None:
    x, add = (rand(4, 9, 96, dtype=dtype, device=device, seed=seed) for seed in (0, 1))
    weight, bias = (rand(96, dtype=dtype, device=device, seed=seed) for seed in (2, 3))
    want = torch.nn.functional.layer_norm(x + add, (96,), weight, bias, 1e-5)
    torch.testing.assert_close(add_layer_norm(x, add, weight, bias)[1], want)


def test_a_mean_far_from_zero_costs_nothing(device: torch.device) -> None:
    x = rand(5, 640, dtype=torch.float32, device=device)
    one, zero = x.new_ones(640), x.new_zeros(640)
    x = x + 4096  # which rounds it, to multiples of 2^-11
    want = reference.add_layer_norm(x.double(), None, one.double(), zero.double())[1]
    # What is left is the rounding of the mean, which is as large as that of x.
    torch.testing.assert_close(
        add_layer_norm(x, None, one, zero)[1].double(), want, rtol=0, atol=3e-4
    )


def test_layouts_and_empty(device: torch.device, dtype: torch.dtype) -> None:
    x, add = (rand(6, 20, dtype=dtype, device=device, seed=seed) for seed in (0, 1))
    weight, bias = x[0], x[1]
    whole = add_layer_norm(x, add, weight, bias)
    part = add_layer_norm(x[::2], add[::2], weight, bias)
    assert all(torch.equal(a, b[::2]) for a, b in zip(part, whole, strict=True))
    turned = add_layer_norm(x.mT.contiguous().mT, add, weight.flip(0).flip(0), bias)
    assert all(torch.equal(a, b) for a, b in zip(turned, whole, strict=True))
    assert add_layer_norm(x[:0], add[:0], weight, bias)[1].shape == (0, 20)
    same, y = add_layer_norm(x, None, weight, bias)
    assert same is x and torch.equal(y, add_layer_norm(x, torch.zeros_like(x), weight, bias)[1])


def test_bad_input() -> None:
    x, w = torch.zeros(2, 5), torch.ones(5)
    with pytest.raises(ValueError, match=r"x must have shape \[..., C\] with C > 0, got \[2, 0\]"):
        add_layer_norm(x[:, :0], None, w, w)
    with pytest.raises(ValueError, match=r"add must have shape \[2, 5\], got \[1, 5\]"):
        add_layer_norm(x, x[:1], w, w)
    with pytest.raises(ValueError, match=r"weight must have shape \[5\], got \[4\]"):
        add_layer_norm(x, x, w[1:], w)
    with pytest.raises(ValueError, match=r"bias must be torch.float32, got torch.float64"):
        add_layer_norm(x, x, w, w.double())
    with pytest.raises(ValueError, match="eps must not be negative, got nan"):
        add_layer_norm(x, x, w, w, eps=float("nan"))
    with pytest.raises(ValueError, match="add must not require a gradient"):
        add_layer_norm(x, torch.zeros(2, 5, requires_grad=True), w, w)


def test_opcheck(device: torch.device) -> None:
    x, add = (rand(2, 3, 8, dtype=torch.float32, device=device, seed=seed) for seed in (0, 1))
    torch.library.opcheck(_add_layer_norm, (x, add, x[0, 0], x[0, 1], 1e-5))
    torch.library.opcheck(_add_layer_norm, (x, None, x[0, 0], x[0, 1], 1e-5))
