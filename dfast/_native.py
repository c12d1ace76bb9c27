"""The only module that imports the compiled extension ``dfast._C``.

An op calls :func:`call` with tensors; this module finds the launcher for their device and dtype,
turns them into pointers, adds the stream and the thread count, and explains itself when the
extension or its CUDA half is missing.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dfast.errors import NativeMissingError
from dfast.host.threads import torch_loaded

torch_loaded()

_SUFFIX = {
    torch.float32: "_f32",
    torch.float64: "_f64",
    torch.float16: "_f16",
    torch.bfloat16: "_bf16",
}


@cache
def library() -> ModuleType:
    """Return ``dfast._C``.

    Raises:
        NativeMissingError: with the mending command, if it cannot be used here.
    """
    try:
        native = import_module("dfast._C")
    except ImportError as error:
        raise NativeMissingError(
            f"dfast's compiled extension cannot be loaded ({error}); build it with "
            "`pip install .` in dfast's source folder (`pip install -e .` for an editable install)"
        ) from error
    if not native.cpu_supported():
        raise NativeMissingError(
            f"dfast was built for {native.build['cpu_arch']} processors and this one is older; "
            "rebuild it here with `DFAST_CPU_ARCH=native pip install --force-reinstall --no-deps .`"
        )
    return native


def build_info() -> dict[str, Any]:
    """Return how the extension was built: version, cuda (bool), cuda_archs, no_cuda (why there are
    no CUDA kernels), compiler, cpu_arch.
    """
    return {"no_cuda": ""} | dict(library().build)


def contiguous(name: str, tensor: Tensor, shape: tuple[int | None, ...], like: Tensor) -> Tensor:
    """Check one tensor argument and return it contiguous.

    Args:
        name: the argument's own name, for the message.
        tensor: what the caller gave.
        shape: expected sizes; ``None`` accepts any size.
        like: the tensor whose device and dtype ``tensor`` must share.

    Raises:
        ValueError: on a wrong shape, device or dtype, saying what was expected and what was got.
    """
    got = tuple(tensor.shape)
    if len(got) != len(shape) or any(
        e is not None and e != g for e, g in zip(shape, got, strict=True)
    ):
        expected = ", ".join("*" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{expected}], got {list(got)}")
    if tensor.dtype != like.dtype:
        raise ValueError(f"{name} must be {like.dtype}, got {tensor.dtype}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {tensor.device}")
    return tensor.contiguous()


def call(name: str, where: Tensor, *args: Any, typed: bool = True) -> None:
    """Run launcher ``name`` on the device of ``where``.

    Args:
        name: the launcher's name in csrc, without suffix.
        where: decides the device, and the float type unless ``typed`` is False.
        args: in the launcher's order. Tensors become pointers (they must be contiguous and on that
            device; this frame keeps them alive until the call returns), ``None`` becomes a null
            pointer, lists are treated item by item, the rest is passed on.
        typed: whether the launcher is templated on the dtype: all on float32 and float64, some on
            the 16-bit types too.

    Raises:
        NativeMissingError: no extension, or no CUDA kernels or no such kernel in it.
        TypeError: unsupported device or dtype.
    """
    native = library()
    device = where.device
    if device.type not in ("cpu", "cuda"):
        raise TypeError(f"dfast ops run on cpu and cuda tensors, got one on {device}")
    if device.type == "cuda" and not native.build["cuda"]:
        raise NativeMissingError(
            f"dfast was built without CUDA kernels ({build_info()['no_cuda']}); with nvcc on PATH "
            "run `DFAST_CUDA=ON pip install --force-reinstall --no-deps .` in dfast's "
            "source folder, or use CPU tensors"
        )
    suffix = _SUFFIX.get(where.dtype, "_none") if typed else ""
    launcher = getattr(native, f"{name}_{device.type}{suffix}", None)
    if launcher is None:
        taken = [
            str(dtype).removeprefix("torch.")
            for dtype, ending in _SUFFIX.items()
            if hasattr(native, f"{name}_{device.type}{ending}")
        ]
        if not taken:
            raise NativeMissingError(
                f"dfast's compiled extension has no {name}: it is older than dfast's Python files; "
                "build it again with `pip install --force-reinstall --no-deps .` in dfast's source "
                "folder"
            )
        raise TypeError(f"dfast.{name} takes {', '.join(taken)} tensors, got {where.dtype}")
    wired = [_wire(name, arg, device) for arg in args]
    if device.type == "cuda":
        index = device.index if device.index is not None else torch.cuda.current_device()
        launcher(index, torch.cuda.current_stream(device).cuda_stream, 1, *wired)
    else:
        launcher(-1, 0, torch.get_num_threads(), *wired)


def _wire(op: str, arg: Any, device: torch.device) -> Any:
    if arg is None:
        return 0
    if isinstance(arg, list):
        return [_wire(op, item, device) for item in arg]
    if not isinstance(arg, Tensor):
        return arg
    if arg.device != device or not arg.is_contiguous():
        raise ValueError(
            f"dfast.{op} needs contiguous tensors on {device}, got strides {arg.stride()} "
            f"on {arg.device}"
        )
    return arg.data_ptr()
