"""Attention of wide heads in chunks: what torch computes, both ways, in less memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from dfast.ops.ambient import neutral_torch_state
from dfast.priors.fused import attention, chunked_attention
from dfast.priors.fused.chunked_attention import _chunked_attention

SHAPES = [(1, 10, 10, 8), (3, 7, 5, 4), (2, 1, 6, 3), (5, 4, 1, 2)]
"""Images, queries, keys, channels."""
attend = chunked_attention.chunked_attention


def inputs(
    images: int, rows: int, keys: int, size: int, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """Return q, k, v and a gradient of the result; keys have a mean that is not zero."""
    g = torch.Generator().manual_seed(images + rows)
    shapes = [(images, n, size) for n in (rows, keys, keys, rows)]
    q, k, v, up = (torch.randn(*s, generator=g, dtype=torch.float64) for s in shapes)
    return [x.to(device, dtype).requires_grad_() for x in (q, k + 3, v, up)]


def both_ways(f: Callable[..., Tensor], x: list[Tensor]) -> list[Tensor]:
    """Return the result and the gradients of q, k and v."""
    out = f(*x[:3])
    return [out.detach(), *torch.autograd.grad(out, x[:3], x[3].detach())]


def errors(got: list[Tensor], want: list[Tensor]) -> list[float]:
    return [
        float((a.double() - b.double()).norm() / b.norm()) for a, b in zip(got, want, strict=True)
    ]


def chunks_of(monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    monkeypatch.setattr(chunked_attention, "CHUNK_SCORES", scores)


@pytest.mark.parametrize("scores", [1, 7, 24, 70, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_torchs_attention(
    shape: tuple[int, int, int, int],
    scores: int,
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
) -> None:
    """With chunks of one row, of rows that do not divide N, and of several images."""
    chunks_of(monkeypatch, scores)
    x = inputs(*shape, torch.float64, device)
    got, want = both_ways(attend, x), both_ways(scaled_dot_product_attention, x)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_chunks_hold_no_more_than_they_may(
    shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, _, _ = inputs(*shape, torch.float32, torch.device("cpu"))
    for scores in (1, 7, 24, 70, 1000):
        chunks_of(monkeypatch, scores)
        seen = torch.zeros(q.shape[:2])
        for images, rows in chunked_attention._chunks(q, k):
            part = seen[images, rows]
            assert part.numel() * k.shape[1] <= max(scores, k.shape[1])
            part += 1
        assert torch.equal(seen, torch.ones_like(seen))


def test_gradcheck(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """Also forward mode, and one gradient without the others."""
    chunks_of(monkeypatch, 12)
    q, k, v, _ = inputs(2, 5, 4, 3, torch.float64, device)
    torch.autograd.gradcheck(attend, (q, k, v), check_forward_ad=True)
    for i in range(3):
        x = [t.detach() for t in (q, k, v)]
        x[i].requires_grad_()
        torch.autograd.gradcheck(attend, tuple(x), check_forward_ad=True)


@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(2, 96, 80, 512), (1, 200, 200, 300)])
def test_rounding(
    shape: tuple[int, int, int, int],
    storage: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
) -> None:
    """Within a small factor of one rounding of torch's result, which is its float32 rounded.

    Keys have a mean here, which makes scores some 100 in size: rounded as they are, those alone
    would be off by some 5 % in float16.
    """
    chunks_of(monkeypatch, 3000)
    x = inputs(*shape, storage, device)
    want = both_ways(
        scaled_dot_product_attention, [t.detach().double().requires_grad_() for t in x]
    )
    with neutral_torch_state():
        found = errors(both_ways(attend, x), want)
    exact = storage == torch.float32 and device.type == "cpu"
    eps = torch.finfo(torch.float16 if storage == torch.float32 and not exact else storage).eps
    assert max(found) < (8 if exact else 1.5) * eps, found


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-5])
def test_small_gradients_are_not_lost_in_half_precision(size: float, device: torch.device) -> None:
    """A gradient that float16 holds gives those of q and k as exactly as it holds them."""
    x = inputs(1, 400, 400, 64, torch.float16, device)
    x[0] = (x[0].detach() * 8).requires_grad_()  # so that a few weights are large
    x[3] = (x[3].detach() * size).requires_grad_()
    want = both_ways(
        scaled_dot_product_attention, [t.detach().double().requires_grad_() for t in x]
    )
    for got, exact in zip(both_ways(attend, x), want, strict=True):
        lost = 2**-24 / math.sqrt(12) / float(exact.square().mean().sqrt())
        assert errors([got], [exact])[0] < 4e-3 + 2 * lost


def test_what_is_not_finite_stays_so(device: torch.device) -> None:
    for value in (math.inf, math.nan):
        for storage in (torch.float16, torch.float32):
            x = inputs(1, 6, 6, 4, storage, device)
            with torch.no_grad():
                x[3][0, 2, 1] = value
            assert not any(g.isfinite().all() for g in both_ways(attend, x)[1:])


def test_zero_gradients_and_no_rows(device: torch.device) -> None:
    for storage in (torch.float16, torch.float32):
        x = inputs(2, 6, 5, 4, storage, device)
        with torch.no_grad():
            x[3].zero_()
        assert not any(g.any() for g in both_ways(attend, x)[1:])
        for images, rows in ((0, 6), (2, 0)):
            empty = [t[:images, :n] for t, n in zip(x, (rows, 5, 5, rows), strict=True)]
            found = both_ways(attend, [t.detach().requires_grad_() for t in empty])
            assert [g.shape for g in found] == [t.shape for t in (empty[0], *empty[:3])]
            assert not any(g.any() for g in found)


def test_the_operator(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    chunks_of(monkeypatch, 12)
    x = inputs(2, 5, 4, 3, torch.float32, device)[:3]
    torch.library.opcheck(_chunked_attention, tuple(x))
    strided = torch.cat([t[:, :4] for t in x], -1).detach().chunk(3, -1)
    torch.library.opcheck(_chunked_attention, strided)
    assert torch.equal(attend(*strided), attend(*(t.contiguous() for t in strided)))


def test_transforms_and_autocast(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    # Products of one image and of two may differ in TF32.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    q, k, v, up = (t.detach() for t in inputs(2, 5, 4, 3, torch.float32, device))
    want = both_ways(attend, [t.requires_grad_() for t in (q, k, v, up)])
    q, k, v, up = (t.detach() for t in (q, k, v, up))
    _, pull = torch.func.vjp(attend, q, k, v)
    for a, b in zip(pull(up), want[1:], strict=True):
        torch.testing.assert_close(a, b)
    each = torch.func.vmap(lambda *x: attend(*(t[None] for t in x))[0])(q, k, v)
    torch.testing.assert_close(each, want[0])
    with torch.autocast(device.type, torch.bfloat16):
        assert torch.equal(attend(q, k, v), want[0])


def test_a_second_derivative_is_refused() -> None:
    q, k, v, _ = inputs(1, 4, 4, 4, torch.float64, torch.device("cpu"))
    (d_q,) = torch.autograd.grad(attend(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(d_q.sum(), q)


def test_bad_input() -> None:
    x = torch.zeros(2, 5, 4)
    with pytest.raises(
        ValueError, match=r"q must be \[B, N, C\] of floats, got torch.float32 \[5, 4\]"
    ):
        attend(x[0], x, x)
    with pytest.raises(ValueError, match=r"k must be torch.float32 \[2, 5, 4\] on cpu as q is"):
        attend(x, x[..., :2], x)
    with pytest.raises(
        ValueError, match=r"v must be torch.float32 \[2, 5, 4\] .*got torch.float16"
    ):
        attend(x, x, x.half())
    with pytest.raises(ValueError, match=r"k must have at least one row, got \[2, 0, 4\]"):
        attend(x, x[:, :0], x[:, :0])


@pytest.mark.parametrize("storage", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("mask", "size", "limit", "chunked"),
    [(False, 512, 10, True), (False, 512, 1 << 26, False), (False, 256, 10, False),
     (True, 512, 10, False)],
)  # fmt: skip
def test_who_takes_the_chunks(
    mask: bool, size: int, limit: int, chunked: bool, storage: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Wide heads without a mask whose weights are too many to be kept, and those in float32."""
    calls: list[int] = []
    monkeypatch.setattr(attention, "chunked_attention", lambda *x: (calls.append(1), attend(*x))[1])
    monkeypatch.setattr(attention, "MAX_SCORES", limit)
    heads = 2
    q, k, v, _ = inputs(2, 6, 5, heads * size, storage, torch.device("cpu"))
    added = torch.zeros(2, heads, 6, 5, dtype=storage) if mask else None
    got = attention.attend(q, k, v, heads, added).detach()
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
    want = scaled_dot_product_attention(*split).transpose(1, 2).flatten(2).detach()
    assert errors([got], [want])[0] < 16 * torch.finfo(storage).eps
    wide_float32 = size > attention.MAX_FLASH_HEAD_SIZE and not mask and storage == torch.float32
    assert bool(calls) == (chunked or wide_float32)


def test_compiled_without_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(monkeypatch, 12)
    x = inputs(2, 5, 4, 3, torch.float32, torch.device("cpu"))
    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    for a, b in zip(both_ways(compiled, x), both_ways(attend, x), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16, torch.float32])
def test_a_graph_replays_both_passes_in_little_memory(storage: torch.dtype) -> None:
    """At 1024 pixels, with the weights of all rows 512 MiB in half precision."""
    x = inputs(1, 16384, 16384, 512, storage, torch.device("cuda"))
    want = both_ways(scaled_dot_product_attention, x)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        both_ways(attend, x)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = both_ways(attend, x)
    graph.replay()
    held = 3 * chunked_attention.CHUNK_SCORES + 12 * x[0].numel()
    # float32 took 42 MB more than its tensors on an H200, perhaps cuBLAS's workspaces.
    held_bytes = held * max(storage.itemsize, 4) + (1 << 26)
    assert torch.cuda.max_memory_allocated() - before < held_bytes
    assert max(errors(got, want)) < (2e-2 if storage == torch.bfloat16 else 3e-3)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_float32_products_are_as_precise_as_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs(1, 500, 400, 512, torch.float32, torch.device("cuda"))
    want = both_ways(
        scaled_dot_product_attention, [t.detach().double().requires_grad_() for t in x]
    )
    with neutral_torch_state():
        assert 2e-5 < max(errors(both_ways(attend, x), want)) < 2e-3
    assert max(errors(both_ways(scaled_dot_product_attention, x), want)) < 1e-5
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert max(errors(both_ways(attend, x), want)) < 1e-5
