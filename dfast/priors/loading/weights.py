"""Weights of a pipeline folder, read straight from safetensors into networks without memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfast.errors import PriorError
from dfast.priors.loading.folder import Folder, Weights, one_line
from dfast.priors.loading.leftovers import assign, check_leftovers, is_unread, unwrapped
from dfast.priors.loading.loader_errors import raise_explained

FLOATING = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
"""Types in safetensors whose values need no scales."""
INTEGERS = {"U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64"}


def load_weights(
    module: nn.Module,
    folder: Folder,
    part: str,
    device: torch.device,
    rename: Callable[[str], str] = lambda key: key,
) -> Any:
    """Give a module that was built on the meta device the weights of a folder.

    Only the tensors that the module has are read, each cast to the module's type.

    Args:
        module: on the meta device.
        folder: the pipeline folder.
        part: whose weights, such as "unet".
        device: where they go.
        rename: from names in the files to names in the module.

    Returns:
        The module, with frozen parameters on `device`.

    Raises:
        PriorError: if a tensor is missing, has another shape, is quantised, or holds inf or NaN in
            the module's type; or if the files have others that would change the module.
    """
    half = any(p.dtype != torch.float32 for p in module.parameters())
    expected = dict(module.state_dict())
    weights = folder.weights(part, half=half)
    places, rest = assign(folder, part, weights, expected, rename)
    _check_shapes(folder, part, weights, places, expected)
    check_leftovers(folder, part, rest, expected)
    if lost := [name for name in expected if name not in set(places.values())]:
        raise folder.shape_error(part, lost[0], tuple(expected[lost[0]].shape), "nothing")
    state: dict[str, Tensor] = {}
    for file, header in weights.headers.items():
        with opened(folder, file, device) as tensors:
            for key in (key for key in header.tensors if key in places):
                target = expected[places[key]]
                check_floating(folder, file, key, header.tensors[key].dtype)
                read = tensors.get_tensor(key)
                # Tensors in mapped memory keep the alignment of the file, which changes the last
                # bits of products on the CPU: copy them.
                cast = read.to(target.dtype, copy=device.type == "cpu")
                if not is_finite(cast):
                    raise _not_finite_error(read, cast, folder, file, key)
                state[places[key]] = cast
    module.load_state_dict(state, assign=True)
    return module.to(device).requires_grad_(False)  # tables that no file has are still on the CPU


def _check_shapes(
    folder: Folder,
    part: str,
    weights: Weights,
    places: Mapping[str, str],
    expected: Mapping[str, Tensor],
) -> None:
    """Compare headers with a network before any of its weights are read or allocated."""
    for header in weights.headers.values():
        for key, info in header.tensors.items():
            if (name := places.get(key)) and (shape := tuple(expected[name].shape)) != info.shape:
                raise folder.shape_error(part, name, shape, info.shape)


def check_floating(folder: Folder, file: Path, key: str, dtype: str) -> None:
    """Check that a tensor has a floating point type which torch can convert.

    Args:
        folder: the pipeline folder.
        file: of the tensor.
        key: its name.
        dtype: its type in the header.

    Raises:
        PriorError: if it has not; then the scales that it needs are unknown.
    """
    if dtype not in FLOATING:
        got = INTEGERS.get(dtype, dtype)
        raise folder.error(
            f"{file} is quantised, {one_line(key)}: expected floating point, got {got}"
        )


def check_not_quantised(folder: Folder, part: str, weights: Weights) -> None:
    """Check by the headers that all weights that are read are floating point.

    Args:
        folder: the pipeline folder.
        part: of the folder.
        weights: the files of one part.

    Raises:
        PriorError: if one is not.
    """
    for file, header in weights.headers.items():
        for key, info in header.tensors.items():
            if not is_unread(part, unwrapped(key)):
                check_floating(folder, file, key, info.dtype)


@contextmanager
def opened(folder: Folder, file: Path, device: torch.device) -> Iterator[Any]:
    """Open a safetensors file for a block, which reads tensors and does nothing else.

    Args:
        folder: the pipeline folder.
        file: one of its files.
        device: where the tensors go.

    Yields:
        What `safe_open` returns.

    Raises:
        PriorError: if the file cannot be read.
        DeviceError: if the device fails.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device=str(device)) as tensors:
            yield tensors
    except (SafetensorError, OSError, RuntimeError) as error:
        raise_explained(folder, file.parent.name, error, device)


def _not_finite_error(
    read: Tensor, cast: Tensor, folder: Folder, file: Path, key: str
) -> PriorError:
    """Return the error for a tensor that is not finite in the file, or only after the cast."""
    if not is_finite(read.float()):
        return folder.damaged_error(file, f"{key} holds inf or NaN")
    denoises = file.parent.name in ("unet", "transformer")
    setting = "precision" if denoises else "vae_precision"
    kind = str(cast.dtype).removeprefix("torch.")
    return folder.error(f'{file}: {key} overflows {kind}; set prior.{setting} = "fp32"')


def is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor holds neither inf nor NaN.

    Its least and largest numbers tell, which are NaN if one is. They take a pass over the memory;
    `isfinite` takes several and makes tensors of the same size.

    Args:
        tensor: floating point numbers.
    """
    if tensor.numel() == 0:
        return True
    least, largest = tensor.aminmax()
    return bool(least.isfinite() & largest.isfinite())


def size_of(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)
