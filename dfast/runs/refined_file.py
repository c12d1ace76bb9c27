"""Read the files of a refine stage: the mesh that it begins with, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfast._numbers import shown, whole
from dfast.config import Config
from dfast.io.tensors import Layout, damaged, read_tensors, write_tensors
from dfast.runs.result_file import read_object
from dfast.scene.mesh_scene import MeshTensors
from dfast.scene.stored import find_fault

FORMAT = "dfast refined 1"
"""Recorded in the file of a refined mesh, and required of one."""
START_FORMAT = "dfast mesh 1"
"""The same of the mesh that a stage begins with."""
START = "mesh.safetensors"
"""File of the mesh that a stage begins with, in its run folder."""
SIZES = ("vertices", "faces", "uv", "texture", "channels")
"""What a file says of its mesh: counts of rows, texels a side, channels of the texture."""
MOST = 2**28
"""Larger than every size."""


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the sizes of a mesh by the names of `SIZES`.

    Args:
        tensors: by the names of `dfast.scene.mesh_scene.MeshTensors`.
    """
    sizes = {name: len(tensors[name]) for name in SIZES[:-1]}
    return sizes | {"channels": tensors["texture"].shape[2]}


def read_refined(path: Path) -> tuple[dict[str, Tensor], Config, dict[str, Any]]:
    """Return the tensors, the configuration and the run of a refined mesh.

    Args:
        path: the file.

    Returns:
        Tensors as of `MeshScene.object_state`; all settings; prompt, seed, prior and steps.

    Raises:
        RunFolderError: there is no such file, or it is damaged.
    """
    return read_object(path, FORMAT, _layout, _check)


def write_start(path: Path, mesh: MeshTensors) -> None:
    """Write the mesh that a stage begins with, atomically.

    Args:
        path: the file.
        mesh: on any device.

    Raises:
        RunFolderError: it cannot be written.
    """
    tensors = {name: tensor for name, tensor in vars(mesh).items() if tensor is not None}
    write_tensors(path, tensors, {"format": START_FORMAT, "sizes": sizes_of(tensors)})


def read_start(path: Path) -> MeshTensors:
    """Return the mesh that a stage begins with, on the CPU.

    Args:
        path: the file.

    Raises:
        RunFolderError: there is no such file, or it is damaged.
    """
    tensors, _ = read_tensors(path, START_FORMAT, lambda values: _layout(path, values))
    _check(path, tensors)
    return MeshTensors(**tensors)


def _layout(path: Path, about: dict[str, Any]) -> dict[str, Layout]:
    """Return the layout of a mesh's tensors by the sizes in its file."""
    sizes = about.get("sizes")
    if not isinstance(sizes, dict) or sizes.keys() != set(SIZES):
        raise damaged(path, "expected the sizes of its mesh")
    for name, value in sizes.items():
        if isinstance(value, bool) or whole(value) is None or not 0 < value < MOST:
            raise damaged(path, f"sizes: {name}: expected 1 to {MOST - 1}, got {shown(value)}")
    v, f, w, t, c = (sizes[name] for name in SIZES)
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "vertices": ((v, 3), torch.float32),
        "texture": ((t, t, c), torch.float32),
        "faces": ((f, 3), torch.int32),
        "uv": ((w, 2), torch.float32),
        "uv_faces": ((f, 3), torch.int32),
        "nearest": ((t * t,), torch.int32),
    }
    return {name: Layout(shape, dtype) for name, (shape, dtype) in shapes.items()}


def _check(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise RunFolderError for numbers that cannot be, and for corners that are not there."""
    if (fault := find_fault(tensors)) is not None:
        raise damaged(path, fault)
    rows = {name: len(tensors[name]) for name in ("vertices", "uv", "nearest")}
    for name, of in (("faces", "vertices"), ("uv_faces", "uv"), ("nearest", "nearest")):
        low, high = (int(value) for value in torch.aminmax(tensors[name]))
        if low < 0 or high >= rows[of]:
            raise damaged(path, f"{name}: expected 0 to {rows[of] - 1}, got {low} to {high}")
