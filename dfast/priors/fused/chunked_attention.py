"""Attention with heads too large for flash attention, a part of the scores at a time.

The autoencoders of latent models have one head of 512 channels over all cells of an image: 16384
of them at 1024 pixels, with 2.7e8 scores. torch's memory-efficient attention is slow there, most
of all backward. Matrix products are not, and neither pass needs all scores at once::

    S = q k^T / sqrt(C),  P = softmax(S),  out = P v
    dV = P^T dO,  dP = dO v^T,  dS = P (dP - rowsum(P dP))
    dQ = dS k / sqrt(C),  dK = dS^T q / sqrt(C)

P is computed again in the backward pass. Shapes: B images times heads, N queries, M keys, C
channels a head, D channels of a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dfast.ops import transforms
from dfast.ops.ambient import products_like_convolutions
from dfast.ops.custom_op import custom_op

CHUNK_SCORES = 1 << 26
"""Most attention weights that are held at once, some times over in the backward pass."""


def chunked_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return ``softmax(q k^T / sqrt(C)) v``, [B, N, D], in memory for `CHUNK_SCORES` weights.

    Differentiable once. Weights are rounded to the type of the inputs, sums are float32. On CUDA
    float32 products are TF32 where convolutions are. Shapes alone decide what is computed, so a
    CUDA graph can record it.

    Args:
        q: queries, [B, N, C], float16, bfloat16, float32 or float64.
        k: keys, [B, M, C], like q.
        v: values, [B, M, D], like q.

    Raises:
        ValueError: on a wrong shape, dtype or device.
    """
    if q.ndim != 3 or not q.is_floating_point():
        raise ValueError(f"q must be [B, N, C] of floats, got {q.dtype} {list(q.shape)}")
    for name, tensor, shape in (
        ("k", k, (q.shape[0], *k.shape[1:2], q.shape[2])),
        ("v", v, (q.shape[0], *k.shape[1:2], *v.shape[2:3])),
    ):
        same = tensor.dtype == q.dtype and tensor.device == q.device
        if tensor.ndim != 3 or tensor.shape != shape or not same:
            raise ValueError(
                f"{name} must be {q.dtype} {list(shape)} on {q.device} as q is, got "
                f"{tensor.dtype} {list(tensor.shape)} on {tensor.device}"
            )
    if k.shape[1] == 0:
        raise ValueError(f"k must have at least one row, got {list(k.shape)}")
    out: Tensor = transforms.call(_chunked_attention, q, k, v)
    return out


def _chunks(q: Tensor, k: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield images and rows of which `CHUNK_SCORES` or fewer scores are left, at least a row's."""
    images, rows = q.shape[:2]
    at_once = max(1, CHUNK_SCORES // k.shape[1])
    parts = -(-rows // at_once)
    if parts > 1:
        step = -(-rows // parts)  # equal parts
        for image in range(images):
            for row in range(0, rows, step):
                yield slice(image, image + 1), slice(row, row + step)
    elif rows:
        step = at_once // rows
        for image in range(0, images, step):
            yield slice(image, image + step), slice(None)


@contextmanager
def _plain(like: Tensor) -> Iterator[None]:
    """Compute products in the type of the inputs, or TF32, whatever the caller has set."""
    with torch.autocast(like.device.type, enabled=False), products_like_convolutions(like):
        yield


def _centred(k: Tensor) -> Tensor:
    """Return keys without their mean, which adds the same to all scores of a query.

    Scores are rounded, so the smaller the better; and dQ then lacks what the mean would add to it,
    which is zero but for rounding.
    """
    return k - k.mean(1, keepdim=True)


@custom_op("chunked_attention", "(Tensor q, Tensor k, Tensor v) -> Tensor")
def _chunked_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = q.new_empty(*q.shape[:2], v.shape[2])
    with _plain(q):
        k = _centred(k)
        for images, rows in _chunks(q, k):
            scores = (q[images, rows] * q.shape[2] ** -0.5) @ k[images].mT
            out[images, rows] = scores.softmax(-1) @ v[images]
            del scores
    return out


@_chunked_attention.register_fake
def _(q, k, v):  # type: ignore[no-untyped-def]
    return q.new_empty(*q.shape[:2], v.shape[2])


@custom_op(
    "chunked_attention_backward",
    "(Tensor q, Tensor k, Tensor v, Tensor d_out) -> (Tensor, Tensor, Tensor)",
)
def _chunked_attention_backward(
    q: Tensor, k: Tensor, v: Tensor, d_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.promote_types(q.dtype, torch.float32)
    d_q = q.new_empty(q.shape)
    d_k, d_v = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (k, v))
    scale = q.shape[2] ** -0.5
    with _plain(q):
        k = _centred(k)
        d_out, unit = _normalised(d_out)
        for images, rows in _chunks(q, k):
            part, d_part = q[images, rows] * scale, d_out[images, rows]
            scores = part @ k[images].mT
            weights = scores.softmax(-1)
            del scores
            d_v[images] += weights.mT @ d_part
            d_weights = d_part @ v[images].mT
            # One kernel, which sums the rows in float32.
            d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, q.dtype)
            del weights, d_weights
            d_q[images, rows] = (d_scores @ k[images]) * (unit[images] * scale)
            d_k[images] += d_scores.mT @ part
            del d_scores
        return d_q, (d_k * unit).to(k.dtype), (d_v * unit).to(v.dtype)


def _normalised(d_out: Tensor) -> tuple[Tensor, Tensor]:
    """Return a gradient, in float16 over each image's largest, and what it was divided by.

    The gradients of scores are smaller than it by a factor of M: float16 would lose small ones.
    """
    if d_out.dtype != torch.float16 or not d_out.numel():
        wide = torch.promote_types(d_out.dtype, torch.float32)
        return d_out, d_out.new_ones((len(d_out), 1, 1), dtype=wide)
    largest = d_out.abs().amax((1, 2), keepdim=True).float()
    unit = largest.clamp(min=torch.finfo(torch.float16).smallest_normal)
    return (d_out / unit).to(d_out.dtype), unit


@_chunked_attention_backward.register_fake
def _(q, k, v, d_out):  # type: ignore[no-untyped-def]
    return tuple(x.new_empty(x.shape) for x in (q, k, v))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, d_out: Tensor | None) -> Any:
    if d_out is None:
        return None, None, None
    return transforms.call(_chunked_attention_backward, *ctx.saved_tensors, d_out)


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    """Return dP v + P dv; all scores are held."""
    (q, k, v), (dq, dk, dv) = inputs, tangents
    scale = q.shape[2] ** -0.5
    weights = (q * scale @ k.mT).softmax(-1)
    terms = [] if dv is None else [weights @ dv]
    for a, b in ((dq, k), (q, dk)):
        if a is not None and b is not None:
            d = weights * (a * scale @ b.mT)
            terms.append((d - weights * d.sum(-1, keepdim=True)) @ v)
    return sum(terms) if terms else None


def _twice(*_: Any) -> Any:
    raise RuntimeError("chunked_attention is differentiable once, got a second derivative")


transforms.register(
    _chunked_attention,
    differentiable=("q", "k", "v"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_chunked_attention_backward, _twice)
