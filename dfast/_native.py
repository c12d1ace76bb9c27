"""The only module that imports the compiled extension ``dfast._C``.

An op passes the fields of its parameter struct (``csrc/ops/<op>.h``) to :func:`call` by name. This
module finds the launcher for the device and dtype, replaces tensors by their addresses, adds the
stream and the number of threads, and raises a clear error when the extension or its CUDA kernels
are missing. Constants and sizes that both languages need are read from the extension: see
:func:`constant` and :func:`library`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from dfast._numbers import shown, whole
from dfast.errors import NativeMissingError
from dfast.host.threads import torch_loaded

torch_loaded()

_SUFFIX = {
    torch.float32: "_f32",
    torch.float64: "_f64",
    torch.float16: "_f16",
    torch.bfloat16: "_bf16",
}


_library: list[ModuleType] = []
"""The module ``dfast._C`` once it is loaded. torch.compile warns of `functools.cache`, and
traces through it, where it meets the import."""


def library() -> ModuleType:
    """Return the module ``dfast._C``.

    Raises:
        NativeMissingError: if it cannot be used here, with the command that builds it.
    """
    if not _library:
        _library.append(_load())
    return _library[0]


def _load() -> ModuleType:
    """Import the extension, or say why it cannot be used."""
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
    """Return how the extension was built.

    Returns:
        version, cuda (bool), cuda_archs, no_cuda (why there are no CUDA kernels), compiler and
        cpu_arch.
    """
    return {"no_cuda": ""} | dict(library().build)


def constant(name: str) -> Any:
    """Return a constant of the extension, for example ``"march_max_runs"`` (see bindings.cpp)."""
    return library().constants[name]


MOST_ROWS = 2**31 - 1
"""Most rows of a tensor: kernels count samples and rays with 32 bits."""


def dense(name: str, tensor: Tensor, *, count_rows: bool = True) -> Tensor:
    """Return a tensor argument that has ordinary memory and not too many rows.

    Args:
        name: the argument's name, for the message.
        tensor: the argument.
        count_rows: whether 2^31 rows and more are refused.

    Raises:
        ValueError: on a sparse or quantised tensor, or one with too many rows.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized:
        kind = str(tensor.layout).removeprefix("torch.") if not tensor.is_quantized else "quantised"
        raise ValueError(f"{name} must be a dense tensor, got a {kind} one")
    # While torch.compile traces, a size may be unknown, and a comparison would cost a guard.
    count_rows = count_rows and tensor.ndim > 0 and not torch.compiler.is_compiling()
    if count_rows and tensor.shape[0] > MOST_ROWS:
        raise ValueError(f"{name} must have fewer than 2**31 rows, got {list(tensor.shape)}")
    return tensor


def vectors(name: str, tensor: Tensor, size: int) -> Tensor:
    """Return a tensor argument of vectors [..., size].

    Args:
        name: the argument's name, for the message.
        tensor: the argument.
        size: components of a vector.

    Raises:
        ValueError: on a sparse or quantised tensor, or another shape.
    """
    if dense(name, tensor, count_rows=False).shape[-1:] != (size,):
        raise ValueError(f"{name} must have shape [..., {size}], got {list(tensor.shape)}")
    return tensor


def whole_number(name: str, value: Any, low: int, high: int = MOST_ROWS) -> int:
    """Return an integer argument that is within bounds.

    Args:
        name: the argument's name, for the message.
        value: the argument.
        low: smallest value allowed.
        high: largest value allowed.

    Raises:
        ValueError: on a fraction, anything else that is not an integer, or a value out of bounds.
    """
    number: Any = value if isinstance(value, torch.SymInt) else whole(value)
    if number is None or not low <= number <= high:
        raise ValueError(f"{name} must be a whole number in [{low}, {high}], got {shown(value)}")
    return cast(int, number)


def contiguous(name: str, tensor: Tensor, shape: tuple[int | None, ...], like: Tensor) -> Tensor:
    """Check one tensor argument and return it contiguous: itself or a copy. See `check`."""
    check(name, tensor, shape, like)
    return tensor.contiguous()


def rows(name: str, tensor: Tensor, shape: tuple[int | None, ...], like: Tensor) -> Tensor:
    """Check a tensor argument and return it with the numbers of a row next to each other.

    Rows may lie apart in memory, as those of a slice do. See `check`.
    """
    check(name, tensor, shape, like)
    return tensor if tensor.ndim == 2 and tensor.stride(1) == 1 else tensor.contiguous()


def check(name: str, tensor: Tensor, shape: tuple[int | None, ...], like: Tensor) -> None:
    """Check one tensor argument.

    Args:
        name: the argument's name, for the message.
        tensor: the argument.
        shape: expected sizes; ``None`` accepts any size.
        like: a tensor whose device and dtype ``tensor`` must share.

    Raises:
        ValueError: on a wrong shape, device or dtype; the message states the expected and the
            actual one.
    """
    is_list = bool(shape) and shape[0] is None
    got = tuple(dense(name, tensor, count_rows=is_list).shape)
    if len(got) != len(shape) or any(
        e is not None and e != g for e, g in zip(shape, got, strict=True)
    ):
        expected = ", ".join("*" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{expected}], got {list(got)}")
    if tensor.dtype != like.dtype:
        raise ValueError(f"{name} must be {like.dtype}, got {tensor.dtype}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {tensor.device}")


def zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return zeros for a launcher to add to; on a CPU in large pages, if they are long.

    Args:
        shape: of the result.
        like: a tensor whose device and dtype it gets.
    """
    found = like.new_empty(shape)
    if like.device.type == "cpu":
        library().ask_for_large_pages(address=found.data_ptr(), bytes=found.nbytes)
    return found.zero_()


Launcher = Callable[..., None]

_launchers: dict[tuple[str, str, torch.dtype], Launcher] = {}


def call(op: str, /, *, like: Tensor, **fields: Any) -> None:
    """Run the launcher of an op.

    Args:
        op: the launcher's name in csrc, without suffix.
        like: a tensor that decides the device and the scalar type.
        fields: the fields of the launcher's parameter struct, each exactly once. Tensors become
            addresses: they must be contiguous and on the device of ``like``, and this frame keeps
            them alive until the call returns. ``None`` becomes a null pointer, lists of tensors
            are converted item by item, and other values are passed on.

    Raises:
        NativeMissingError: if the extension, its CUDA kernels or this launcher are missing.
        TypeError: on an unsupported device or dtype, or a missing, unknown or wrongly typed field.
        ValueError: if a tensor is on another device or not contiguous.
    """
    device = like.device
    kind = device.type
    launcher = _launchers.get((op, kind, like.dtype)) or _find(op, kind, like.dtype)
    native = fields.copy()  # `fields` keeps the tensors alive
    for name, value in fields.items():
        if isinstance(value, Tensor):
            if value.device != device or not value.is_contiguous():
                raise _unusable(op, name, value, device)
            native[name] = value.data_ptr()
        elif isinstance(value, list):
            native[name] = [_address(op, name, item, device) for item in value]
    if kind == "cuda":
        index = device.index if device.index is not None else torch.cuda.current_device()
        launcher(index, torch.cuda.current_stream(device).cuda_stream, 1, **native)
    else:
        launcher(-1, 0, torch.get_num_threads(), **native)


def _find(op: str, kind: str, dtype: torch.dtype) -> Launcher:
    """Return the launcher for a device type and a dtype, and remember it."""
    native = library()
    if kind not in ("cpu", "cuda"):
        raise TypeError(f"dfast ops run on cpu and cuda tensors, got one on {kind}")
    if kind == "cuda" and not native.build["cuda"]:
        raise NativeMissingError(
            f"dfast was built without CUDA kernels ({build_info()['no_cuda']}); with nvcc on PATH "
            "run `DFAST_CUDA=ON pip install --force-reinstall --no-deps .` in dfast's "
            "source folder, or use CPU tensors"
        )
    launchers = {
        dtype: getattr(native, f"{op}_{kind}{suffix}", None) for dtype, suffix in _SUFFIX.items()
    }
    supported = [str(key).removeprefix("torch.") for key, value in launchers.items() if value]
    if not supported:
        raise NativeMissingError(
            f"dfast's compiled extension has no {op}: it is older than dfast's Python files; "
            "build it again with `pip install --force-reinstall --no-deps .` in dfast's source "
            "folder"
        )
    launcher: Launcher | None = launchers.get(dtype)
    if launcher is None:
        raise TypeError(f"dfast.{op} takes {', '.join(supported)} tensors, got {dtype}")
    _launchers[op, kind, dtype] = launcher
    return launcher


def _address(op: str, name: str, item: Any, device: torch.device) -> Any:
    """Return the address of a tensor in a list; other items as they are."""
    if not isinstance(item, Tensor):
        return item
    if item.device != device or not item.is_contiguous():
        raise _unusable(op, name, item, device)
    return item.data_ptr()


def _unusable(op: str, name: str, tensor: Tensor, device: torch.device) -> ValueError:
    """Return the error for a tensor whose memory a launcher cannot read."""
    return ValueError(
        f"dfast.{op} needs its field {name!r} contiguous on {device}, got strides "
        f"{tensor.stride()} on {tensor.device}"
    )
