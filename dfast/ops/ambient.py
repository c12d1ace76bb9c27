"""The state of torch that a host program may have set, made neutral while dfast computes.

A host may call dfast under autocast, with another default dtype or device, without gradients, in
inference mode, or with other precisions of matrix products. None of that changes what dfast
returns: its public functions run under `neutral_torch_state`.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast.errors import DfastWarning

_lock = threading.RLock()
_restore: list[Callable[[], object]] = []
"""What gives the process its own settings back when the last block ends."""
_blocks = 0
"""Blocks of `neutral_torch_state` that are open, in all threads."""
_forked = False
"""Whether this process was forked from one that had loaded dfast, and has not computed yet."""


@contextmanager
def neutral_torch_state(*, keep_grad: bool = False) -> Iterator[None]:
    """Compute as in a fresh process, whatever the host has set; also a decorator.

    Neutral are autocast, gradients and inference mode, the default device (all of the thread), the
    default dtype, the float32 precisions and cudnn's choice by timing (of the process, so other
    threads see them until the last block ends). The host has its own state again afterwards.

    Args:
        keep_grad: leave it to the caller whether gradients are recorded.
    """
    records = torch.is_grad_enabled()
    _after_fork()
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.is_grad_enabled() != (records or not keep_grad):
            # Leaving inference mode switches recording on.
            stack.enter_context(torch.set_grad_enabled(records or not keep_grad))
        if not _default_device_is_cpu():
            # Entering one slows each call of torch a little, so it is done only where it matters.
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_neutral_process())
        yield


def _default_device_is_cpu() -> bool:
    try:
        return torch.get_default_device().type == "cpu"
    except Exception:  # a device that is not there fails in ways of its own
        return False


@contextmanager
def _neutral_process() -> Iterator[None]:
    """Set what is set for the whole process, until the last of concurrent blocks ends."""
    global _blocks
    with _lock:
        _blocks += 1
        if _blocks == 1:
            _restore[:] = [step for setting in _SETTINGS if (step := _neutralise(setting))]
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                for step in reversed(_restore):
                    with suppress(RuntimeError):
                        step()
                _restore.clear()


class _Setting(NamedTuple):
    """A setting of the process."""

    get: Callable[[], Any]
    set: Callable[[Any], object]
    neutral: Any
    """Its value in a fresh process."""


def _backend(path: str, name: str, neutral: Any) -> _Setting:
    """Return a setting of `torch.backends`, where this version of torch has it.

    Args:
        path: of its owner, such as "cuda.matmul"; "" is `torch.backends` itself.
        name: of the setting.
        neutral: its value in a fresh process.
    """

    def owner() -> Any:
        return attrgetter(path)(torch.backends) if path else torch.backends

    return _Setting(
        lambda: getattr(owner(), name), lambda value: setattr(owner(), name, value), neutral
    )


def _precisions() -> list[_Setting]:
    """Return the precisions of float32 products.

    torch has two interfaces for them since 2.9, and refuses to answer through the old one after a
    host has used the new one. The new one answers in both cases. What has no precision of its own
    answers with that of what it belongs to, so the general ones come first.
    """
    if not hasattr(torch.backends, "fp32_precision"):
        return [
            _Setting(
                torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
            ),
            _backend("cudnn", "allow_tf32", True),
        ]
    plain = ("cuda.matmul", "mkldnn.matmul", "mkldnn.conv")
    return [
        _backend("", "fp32_precision", "none"),
        _backend("cudnn", "fp32_precision", "none"),  # all of CUDA
        _Setting(
            lambda: torch.backends.mkldnn.fp32_precision,
            # Assigning to it would set the precision of everything.
            lambda value: torch.backends.mkldnn.set_flags(_fp32_precision=value),
            "none",
        ),
        *(_backend(path, "fp32_precision", "none") for path in plain),
        _backend("cudnn.conv", "fp32_precision", "tf32"),
    ]


_SETTINGS = (
    _Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    *_precisions(),
    _backend("cuda.matmul", "allow_fp16_reduced_precision_reduction", True),
    _backend("cuda.matmul", "allow_bf16_reduced_precision_reduction", True),
    _backend("cudnn", "benchmark", False),
)


def _tf32(owner: str) -> _Setting:
    """Return whether float32 is rounded to TF32 in the "conv" of cuDNN or the "matmul" of CUDA."""
    if hasattr(torch.backends, "fp32_precision"):
        return _backend(owner, "fp32_precision", "tf32")
    return _backend(owner.removesuffix(".conv"), "allow_tf32", True)


_TF32_CONVOLUTIONS, _TF32_PRODUCTS = _tf32("cudnn.conv"), _tf32("cuda.matmul")


@contextmanager
def products_like_convolutions(like: Tensor) -> Iterator[None]:
    """Compute float32 products on CUDA in TF32, for a block, if convolutions are.

    The setting is the process's. Meanwhile no thread enters or leaves `neutral_torch_state`, so
    launch the products and nothing else.

    Args:
        like: a factor; unless it is float32 on CUDA, nothing changes.
    """
    if like.dtype != torch.float32 or like.device.type != "cuda":
        yield
        return
    with _lock:
        wanted = _TF32_CONVOLUTIONS.get() == _TF32_CONVOLUTIONS.neutral
        restore = _neutralise(_TF32_PRODUCTS) if wanted else None
        try:
            yield
        finally:
            if restore is not None:
                restore()


def _neutralise(setting: _Setting) -> Callable[[], object] | None:
    """Give a setting its neutral value; return what restores it, or None if it has it already."""
    try:
        value = setting.get()
        if value == setting.neutral:
            return None
        setting.set(setting.neutral)
    except (AttributeError, RuntimeError):  # another version of torch: a precision, not an error
        return None
    return lambda: setting.set(value)


def _mark_fork() -> None:
    """Remember in a forked process that the threads of its parent are not there."""
    global _forked, _lock
    _forked, _lock = True, threading.RLock()  # another thread of the parent may have held the lock


def _after_fork() -> None:
    """Use one thread in a forked process: torch's thread pool did not survive the fork."""
    global _forked
    if not _forked:
        return
    _forked = False
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        warnings.warn(
            "this process was forked after torch was loaded, and torch's threads do not "
            "survive a fork; computing with one thread. The start method 'spawn' keeps them all",
            DfastWarning,
            stacklevel=4,
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_fork)
