"""A scene's object as it is stored: the shapes that its settings lead to, and values that can be.

Both are known without making a scene, so that a small file cannot ask for a large one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from dfast.config import Config
from dfast.config.methods import METHODS
from dfast.scene.composition import scene_from_config
from dfast.scene.loop_scene import LoopScene
from dfast.scene.scene import Scene, field_spec, ipe_spec

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and type of tensors, by name."""


def object_shapes(config: Config) -> Shapes:
    """Return shape and type of every tensor of `Scene.object_state`, by name.

    Args:
        config: its method, and its sections layout, field and occupancy, or clip_mesh, are read.
    """
    if METHODS[config.method.name].shape == "mesh":
        side = config.clip_mesh.texels
        return {
            "control": ((4 * config.clip_mesh.control**2 + 2, 3), torch.float32),
            "texture": ((side, side, 3), torch.float32),
            "normal_map": ((side, side, 3), torch.float32),
        }
    field, grid = _field_shapes(config), _grid_shapes(config)
    shapes = _under("occupancy", grid)
    for index in range(len(config.layout.parts)):
        shapes |= _under(f"field.parts.{index}", field) | _under(f"occupancies.{index}", grid)
    return shapes if config.layout.parts else _under("field", field) | shapes


def _field_shapes(config: Config) -> Shapes:
    """Return shape and type of the parameters of one field."""
    if config.field.kind == "ipe":
        return {"mlp": ((ipe_spec(config.field).parameters,), torch.float32)}
    spec = field_spec(config.field)
    return {
        "table": ((spec.grid.entries, spec.grid.features), torch.float32),
        "mlp": ((spec.parameters,), torch.float32),
    }


def _grid_shapes(config: Config) -> Shapes:
    """Return shape and type of the tensors of one occupancy grid."""
    cells = config.occupancy.resolution**3
    return {"density": ((cells,), torch.float32), "bits": ((cells // 8,), torch.uint8)}


def _under(name: str, shapes: Shapes) -> Shapes:
    """Return shapes by the names that they have in the module called `name`."""
    return {f"{name}.{key}": value for key, value in shapes.items()}


def object_bytes(config: Config) -> int:
    """Return the bytes of the tensors of `Scene.object_state`.

    Args:
        config: as of `object_shapes`.
    """
    total = 0
    for shape, dtype in object_shapes(config).values():
        total += torch.Size(shape).numel() * dtype.itemsize
    return total


def find_fault(state: Mapping[str, Tensor]) -> str | None:
    """Return what is wrong with the values of stored tensors, None if nothing is.

    Numbers must be finite, and counts and second moments must not be negative; a cell of the
    occupancy grid that was never visited holds -1.

    Args:
        state: tensors by the names of a checkpoint or of `Scene.object_state`, on any device.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return f"{name} holds numbers that are not finite"
        if name.startswith(("adam.step", "adam.exp_avg_sq.", "guard.", "step")):
            low = 0.0
        elif re.fullmatch(r"(occupancy|occupancies\.\d+)\.density", name):
            low = -1.0
        else:
            continue
        if tensor.numel() and float(tensor.min()) < low:
            return f"{name} holds {float(tensor.min()):g}, less than {low:g}"
    return None


def find_misfit(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> str | None:
    """Return which tensor is missing or differs in shape or type, None if none does.

    Args:
        state: tensors by name; names that are not in `like` are ignored.
        like: tensors of the shapes and types that are expected, by name.
    """
    for name, tensor in like.items():
        if name not in state:
            return f"no tensor {name!r}"
        found = state[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            expected = f"{tensor.dtype} {list(tensor.shape)}"
            got = f"{found.dtype} {list(found.shape)}"
            return f"{name}: expected {expected}, got {got}".replace("torch.", "")
    return None


def empty_scene(config: Config) -> Scene | LoopScene:
    """Return a scene of the shapes that the settings lead to, to load an object into.

    Args:
        config: all settings.
    """
    mesh = METHODS[config.method.name].shape == "mesh"
    return LoopScene(config) if mesh else scene_from_config(config)
