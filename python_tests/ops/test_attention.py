"""Attention to few rows: the reference, layouts, sizes at the limits, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfast import _native, reference
from dfast.ops.attention import MAX_KEYS, MAX_SIZE, _attention, attention, takes

pytestmark = pytest.mark.usefixtures("needs_native")

SIZES = [  # batch, rows, keys, heads, channels of a head
    (2, 70, 77, 8, 40),  # Stable Diffusion
    (3, 64, 64, 4, 64),  # the embedded prior
    (1, 16, 16, 2, 160),
    (2, 5, 1, 3, 8),  # one key: its value
    (1, 129, 17, 1, 192),
    (2, 33, 33, 5, 24),
    (1, 1, 80, 2, 88),
]


def make(
    size: tuple[int, ...], dtype: torch.dtype, device: torch.device, scale: float = 1.0
) -> list[Tensor]:
    batch, rows, keys, heads, of_head = size
    g = torch.Generator().manual_seed(sum(size))
    shapes = [(batch, n, heads * of_head) for n in (rows, keys, keys)]
    drawn = [torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]
    return [t.mul(scale).to(device, dtype) for t in (drawn[0] * 2, drawn[1], drawn[2] + 0.5)]


def types(device: torch.device) -> list[torch.dtype]:
    if device.type == "cuda":
        return [torch.float16]
    return [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_reference(size: tuple[int, ...], device: torch.device) -> None:
    for dtype in types(device):
        q, k, v = make(size, dtype, device)
        got = attention(q, k, v, size[3])
        want = reference.attention(q.double(), k.double(), v.double(), size[3])
        assert got.dtype == dtype and got.shape == q.shape
        eps = torch.finfo(dtype).eps
        # Scores reach 10, whose rounding in float32 or float64 is that of the weights.
        atol = (4 if eps > 1e-4 else 64) * eps
        torch.testing.assert_close(got.double(), want, rtol=4 * eps, atol=atol)


def test_large_scores_do_not_overflow(device: torch.device) -> None:
    for dtype in types(device):
        q, k, v = make((2, 20, 30, 2, 16), dtype, device, scale=30.0)
        got = attention(q, k, v, 2)
        want = reference.attention(q.double(), k.double(), v.double(), 2)
        torch.testing.assert_close(got.double(), want, rtol=1e-2, atol=0.1)


def test_parts_of_longer_rows(device: torch.device) -> None:
    """Queries, keys and values of one product are read where they are, at any offset."""
    dtype = types(device)[0]
    q, k, v = make((2, 20, 20, 2, 16), dtype, device)
    together = torch.cat([q, k, v], -1)
    assert torch.equal(attention(*together.chunk(3, -1), 2), attention(q, k, v, 2))
    shifted = torch.cat([q[..., :3], q, k, v], -1)[..., 3:]
    assert torch.equal(attention(*shifted.chunk(3, -1), 2), attention(q, k, v, 2))
    turned = [t.mT.contiguous().mT for t in (q, k, v)]
    assert torch.equal(attention(*turned, 2), attention(q, k, v, 2))
    assert torch.equal(attention(q[:1].expand(2, -1, -1), k, v, 2)[0], attention(q, k, v, 2)[0])


def test_empty(device: torch.device) -> None:
    q, k, v = make((2, 4, 3, 2, 8), types(device)[0], device)
    assert attention(q[:0], k[:0], v[:0], 2).shape == (0, 4, 16)
    assert attention(q[:, :0], k, v, 2).shape == (2, 0, 16)
    assert attention(q[..., :0], k[..., :0], v[..., :0], 2).shape == (2, 4, 0)


def test_bad_input() -> None:
    q, k, v = make((2, 4, 3, 2, 8), torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"q must have shape \[B, N, C\], got \[4, 16\]"):
        attention(q[0], k, v, 2)
    with pytest.raises(ValueError, match="heads must divide the 16 channels of q, got 3"):
        attention(q, k, v, 3)
    with pytest.raises(ValueError, match=r"k must have shape \[2, 3, 16\], got \[1, 3, 16\]"):
        attention(q, k[:1], v, 2)
    with pytest.raises(ValueError, match=r"v must have shape \[2, 3, 16\], got \[2, 2, 16\]"):
        attention(q, k, v[:, 1:], 2)
    with pytest.raises(ValueError, match=r"k must have at least one row, got \[2, 0, 16\]"):
        attention(q, k[:, :0], v[:, :0], 2)
    with pytest.raises(ValueError, match=r"k must be torch\.float32, got"):
        attention(q, k.double(), v, 2)
    with pytest.raises(ValueError, match="v must not require a gradient"):
        attention(q, k, v.requires_grad_(), 2)


def test_limits_on_a_gpu(device: torch.device) -> None:
    if device.type == "cpu":
        assert not takes(*make((1, 4, 3, 2, 8), torch.float32, device), 2)
        return
    q, k, v = make((1, 4, MAX_KEYS + 1, 2, 8), torch.float16, device)
    with pytest.raises(ValueError, match="at most 80 keys"):
        attention(q, k, v, 2)
    assert not takes(q, k, v, 2) and takes(q, k[:, 1:], v[:, 1:], 2)
    with pytest.raises(ValueError, match="expected float16"):
        attention(q.float(), k[:, 1:].float(), v[:, 1:].float(), 2)
    with pytest.raises(ValueError, match="multiple of 8"):
        attention(q, k[:, 1:], v[:, 1:], 4)
    assert not takes(q, k[:, 1:], v[:, 1:].requires_grad_(), 2)


def test_limits_are_those_of_the_kernels() -> None:
    assert _native.constant("attention_max_keys") == MAX_KEYS
    assert _native.constant("attention_max_size") == MAX_SIZE


def test_opcheck(device: torch.device) -> None:
    q, k, v = make((2, 4, 3, 2, 8), types(device)[0], device)
    torch.library.opcheck(_attention, (q, k, v, 2))
