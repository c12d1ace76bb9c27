"""The gate and the merge: the reference, gradients, layouts."""

from __future__ import annotations

import pytest
import torch

from dfast import _native, reference
from dfast.errors import NativeMissingError
from dfast.ops.gated import _geglu, _merge, geglu, merge

pytestmark = pytest.mark.usefixtures("needs_native")

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def rand(*size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    g = torch.Generator().manual_seed(sum(size))
    return (2 * torch.randn(*size, generator=g, dtype=torch.float64)).to(device, dtype)


@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize("size", [(3, 5, 32), (7, 6), (1000, 26)])
def test_geglu_equals_the_reference(
    size: tuple[int, ...], storage: torch.dtype, device: torch.device
) -> None:
    x = rand(*size, dtype=storage, device=device)
    got, want = geglu(x), reference.geglu(x.double())
    assert got.dtype == storage and got.shape == want.shape
    eps = torch.finfo(storage).eps
    torch.testing.assert_close(got.double(), want, rtol=2 * eps, atol=4 * eps)


@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize("size", [(2, 16, 5, 3), (2, 6, 4, 4), (3, 8)])
def test_merge_equals_the_reference(
    size: tuple[int, ...], storage: torch.dtype, device: torch.device
) -> None:
    a, b = (rand(*size, dtype=storage, device=device) for _ in range(2))
    b = b.flip(0)
    bias = rand(size[1], dtype=storage, device=device)
    eps = torch.finfo(storage).eps
    for factor in (1.0, 1 / 1.414):
        got = merge(a, b, bias, factor=factor)
        want = reference.merge(a.double(), b.double(), bias.double(), factor=factor)
        torch.testing.assert_close(got.double(), want, rtol=2 * eps, atol=16 * eps)


def test_merge_gradcheck(device: torch.device) -> None:
    a, b = (rand(2, 4, 3, 2, dtype=torch.float64, device=device) for _ in range(2))
    bias = rand(4, dtype=torch.float64, device=device)
    inputs = (a.requires_grad_(), b.requires_grad_())
    torch.autograd.gradcheck(lambda a, b: merge(a, b, bias, factor=0.5), inputs)
    torch.autograd.gradcheck(lambda a, b: merge(a, b, bias), inputs)


def test_layouts_and_empty(device: torch.device, dtype: torch.dtype) -> None:
    a = rand(2, 8, 5, 3, dtype=dtype, device=device)
    last, bias = a.contiguous(memory_format=torch.channels_last), a[0, :, 0, 0]
    assert torch.equal(merge(a, last, bias), merge(last, a, bias))
    assert merge(a, a, bias).is_contiguous(memory_format=torch.channels_last)
    assert merge(a[:0], a[:0], bias).shape == (0, 8, 5, 3)
    x = rand(6, 20, dtype=dtype, device=device)
    assert torch.equal(geglu(x[::2]), geglu(x)[::2])
    assert geglu(x[:0]).shape == (0, 10)


def test_bad_input() -> None:
    x = torch.zeros(2, 5)
    with pytest.raises(ValueError, match=r"x must have shape \[..., 2 C\], got \[2, 5\]"):
        geglu(x)
    with pytest.raises(ValueError, match="x must not require a gradient"):
        geglu(x[:, 1:].requires_grad_())
    with pytest.raises(ValueError, match=r"bias must have shape \[5\], got \[2\]"):
        merge(x, x, x[:, 0])
    with pytest.raises(ValueError, match=r"b must be torch.float32 \[2, 5\] on cpu"):
        merge(x, x[:1], x[0])
    with pytest.raises(ValueError, match="factor must be finite, got nan"):
        merge(x, x, x[0], factor=float("nan"))
    with pytest.raises(TypeError, match=r"takes float32, float64, float16, bfloat16 tensors, got"):
        geglu(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="bias must not require a gradient"):
        merge(x, x, torch.zeros(5, requires_grad=True))


def test_an_extension_from_before_a_kernel_is_told() -> None:
    with pytest.raises(NativeMissingError, match="has no kernel_of_tomorrow: it is older than"):
        _native.call("kernel_of_tomorrow", like=torch.zeros(1))


def test_opcheck(device: torch.device) -> None:
    a, b = (rand(2, 3, 8, dtype=torch.float32, device=device) for _ in range(2))
    torch.library.opcheck(_geglu, (a,))
    torch.library.opcheck(_merge, (a.requires_grad_(), b.requires_grad_(), b[0, 0].detach(), 0.5))


def test_merge_is_compiled_with_any_number_of_rows_in_one_graph() -> None:
    def run(a: torch.Tensor, factor: float) -> torch.Tensor:
        return merge(a, a, torch.ones(4), factor=factor)

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True, dynamic=True)
    for rows, factor in ((3, 1.0), (5, 0.5), (7, 0.25)):
        x = rand(2, 4, rows, dtype=torch.float32, device=torch.device("cpu"))
        torch.testing.assert_close(compiled(x, factor), run(x, factor))
