"""Attention of rows to few others, such as that of a diffusion model's pixels to a text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op

MAX_KEYS = 80
"""Most rows of keys and values on CUDA: all scores of a row are in registers."""
MAX_SIZE = 192
"""Most channels of a head on CUDA: keys, values and queries of a block fit into 99 KB."""
CAPABILITY = (8, 0)
"""The least compute capability of a GPU: older ones lack the matrix instructions."""
MOST_ROWS = 1 << 16
"""Rows of all heads from which on torch's kernels are as fast, see docs/experiments.md."""


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Return ``softmax(q k^T / sqrt(C / heads)) v`` of each head (arXiv 1706.03762), [B, N, C].

    With few keys torch's kernels take longer to start than to compute. Scores and sums are float32
    (float64 for float64). On CUDA the weights are rounded to float16 before they multiply the
    values, as in torch's flash attention.

    Not differentiable.

    Args:
        q: queries, [B, N, C]; float16 on CUDA, else float16, bfloat16, float32 or float64.
        k: keys, [B, M, C], like `q`. M is positive, and at most `MAX_KEYS` on CUDA.
        v: values, [B, M, C], like `q`.
        heads: equal parts of C, on CUDA each of a multiple of 8 channels and at most `MAX_SIZE`.

    Tensors may be parts of longer rows: they are read where they are if the numbers of a row lie
    next to each other and, on CUDA, rows begin at multiples of 16 bytes.

    Raises:
        TypeError: on a dtype that is not supported.
        ValueError: on a wrong shape, device or size, or if a tensor requires a gradient.
    """
    if _native.dense("q", q).ndim != 3:
        raise ValueError(f"q must have shape [B, N, C], got {list(q.shape)}")
    heads = _native.whole_number("heads", heads, 1)
    batch, _, channels = q.shape
    if channels % heads:
        raise ValueError(f"heads must divide the {channels} channels of q, got {heads}")
    keys = k.shape[1] if k.ndim == 3 else None
    for name, tensor in {"k": k, "v": v}.items():
        _native.check(name, tensor, (batch, keys, channels), q)
    if not keys:
        raise ValueError(f"k must have at least one row, got {list(k.shape)}")
    if torch.is_grad_enabled():
        for name, tensor in {"q": q, "k": k, "v": v}.items():
            if tensor.requires_grad:
                raise ValueError(f"{name} must not require a gradient: attention has none")
    if q.is_cuda and not _fits(q, keys, heads):
        if torch.cuda.get_device_capability(q.device) < CAPABILITY:
            raise ValueError("q: attention needs a GPU of compute capability 8.0 or newer")
        raise ValueError(
            f"q, k: expected float16, at most {MAX_KEYS} keys and heads of a multiple of 8 and at "
            f"most {MAX_SIZE} channels on CUDA, got {q.dtype}, {keys} and {channels // heads}"
        )
    y: Tensor = transforms.call(_attention, q, k, v, heads)
    return y


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Return `attention` of any sizes, by torch where that is sooner or the only way, [B, N, C].

    Args:
        q: queries, [B, N, C].
        k: keys, [B, M, C].
        v: values, [B, M, C].
        heads: equal parts of C.
        mask: added to the scores, broadcast to [B, heads, N, M]; or None.
    """
    if mask is None and takes(q, k, v, heads):
        return attention(q, k, v, heads)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).flatten(2)


def takes(q: Tensor, k: Tensor, v: Tensor, heads: int) -> bool:
    """Return whether `attention` computes this on a GPU, and sooner than torch does.

    The shapes must fit each other.
    """
    needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v))
    few = 0 < q.shape[0] * q.shape[1] * heads < MOST_ROWS
    return q.is_cuda and few and _fits(q, k.shape[1], heads) and not needs_gradient


def _fits(q: Tensor, keys: int, heads: int) -> bool:
    """Return whether sizes, dtype and GPU are supported on CUDA."""
    size = q.shape[-1] // heads
    return (
        q.dtype == torch.float16
        and keys <= MAX_KEYS
        and size % 8 == 0
        and size <= MAX_SIZE
        and torch.cuda.get_device_capability(q.device) >= CAPABILITY
    )


@custom_op("attention", "(Tensor q, Tensor k, Tensor v, int heads) -> Tensor")
def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    y = q.new_empty(q.shape)
    if y.numel() == 0:
        return y
    q, k, v = map(_readable, (q, k, v))
    _native.call(
        "attention",
        like=q,
        q=q[0, 0],
        k=k[0, 0],
        v=v[0, 0],
        q_batch=q.stride(0),
        q_row=q.stride(1),
        k_batch=k.stride(0),
        k_row=k.stride(1),
        v_batch=v.stride(0),
        v_row=v.stride(1),
        batch=q.shape[0],
        rows=q.shape[1],
        keys=k.shape[1],
        heads=heads,
        size=q.shape[2] // heads,
        y=y,
    )
    return y


def _readable(x: Tensor) -> Tensor:
    """Return a tensor whose rows the kernels can read, itself or a copy."""
    if x.stride(2) != 1 and x.shape[2] > 1:
        return x.contiguous()
    vectors = (x.data_ptr() | 2 * x.stride(0) | 2 * x.stride(1)) % 16 == 0
    return x if vectors or not x.is_cuda else x.clone(memory_format=torch.contiguous_format)


@_attention.register_fake
def _(q, k, v, heads):  # type: ignore[no-untyped-def]
    return q.new_empty(q.shape)


transforms.register(_attention)
