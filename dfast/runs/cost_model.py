"""What a computation costs: on the meta device, without numbers or memory, or as it is on a CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Cost(NamedTuple):
    """The cost of one call."""

    flops: int
    """Floating-point operations."""
    peak_bytes: int
    """Most bytes that the tensors made in the call take at once, results included."""
    operators: int = 0
    """Calls of torch's operators that compute something; attention as one fused kernel is none."""


def cost(call: Callable[[], object], known: Iterable[Tensor]) -> Cost:
    """Return the cost of a computation, by running it twice.

    Attention counts as a fused kernel: its matrix of scores takes no memory.

    Args:
        call: runs the computation on the meta device.
        known: meta tensors that exist before it, such as parameters.
    """
    from torch.utils.flop_counter import FlopCounterMode  # it imports Triton

    with FlopCounterMode(display=False) as counter:
        call()
    with _fused_attention(), _LiveBytes(known) as live:
        call()
    return Cost(int(counter.get_total_flops()), live.peak, live.operators)


def live_bytes(call: Callable[[], object], known: Iterable[Tensor]) -> int:
    """Return the most bytes that the tensors made in a call take at once, by running it once.

    Args:
        call: runs the computation, on the meta device or the CPU.
        known: tensors that exist before it, such as parameters.
    """
    with _LiveBytes(known) as live:
        call()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that are alive, as tensors come and go, and operators."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = self.operators = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operators += _computes(func)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or key in self._known:
            return
        self._alive[key] = weakref.finalize(storage, self._discount, key, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _discount(self, key: int, size: int) -> None:
        self.now -= size
        del self._alive[key]


def _computes(func: Any) -> bool:
    """Return whether an operator computes something: it is no view, and makes no empty tensor."""
    views = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
    return not views and not func.__name__.startswith(("empty", "new_empty", "_unsafe_view"))


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Make attention keep queries, keys, values and result for the backward pass, no scores.

    The function itself is replaced: a torch function mode would not see what gradient checkpointing
    computes again, since that happens outside of the mode.
    """
    functional: Any = torch.nn.functional
    original = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = lambda query, key, value, *_, **__: _Attention.apply(
        query, key, value
    )
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


class _Attention(torch.autograd.Function):
    """Attention that makes only what a fused kernel makes; for the meta device."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(saved) for saved in ctx.saved_tensors[:3])
