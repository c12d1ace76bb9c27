"""The shape of a field, its results, and how a shape is passed to the operators."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import grid_spec
from dfast.ops.grid_spec import GridSpec

OUTPUTS = 4
"""Outputs of the MLP: the density's logit and three of the albedo."""

Activation = Literal["softplus", "exp"]
Blob = Literal["none", "linear", "gaussian"]


class FieldSample(NamedTuple):
    """The field at N points.

    Attributes:
        density: [N] per unit length, >= 0.
        albedo: [N, 3] in [0, 1].
        gradient: [N, 3] gradient of the density's logit with respect to the point, or None; the
            normal is ``-gradient`` normalised.
    """

    density: Tensor
    albedo: Tensor
    gradient: Tensor | None

    def where(self, real: Tensor) -> FieldSample:
        """Return zeros, which pass on no gradient, in the rows that are no sample.

        Args:
            real: bool [N, 1].
        """
        density, albedo, gradient = self
        return FieldSample(
            torch.where(real[:, 0], density, 0.0),
            torch.where(real, albedo, 0.0),
            None if gradient is None else torch.where(real, gradient, 0.0),
        )


@dataclass(frozen=True)
class FieldSpec:
    """The shape of a field: grid, MLP and density head.

    The MLP's parameters are one flat tensor [parameters]: W [out, in] row-major and b [out] of the
    first hidden layer, then of the next one, the output layer last.

    Args:
        grid: the hash grid that encodes points.
        width: width of the hidden layers, 1 to 256.
        layers: number of hidden layers, 1 to 3.
        activation: activation of the density's logit.
        density_scale: factor of the density, > 0.
        density_bias: added to the density's logit.
        blob: bump added to the density's logit, from which the object grows. "linear" is
            ``blob_height * (1 - |x| / blob_width)``, "gaussian" is
            ``blob_height * exp(-|x|^2 / (2 blob_width^2))``.
        blob_height: height of the bump.
        blob_width: width of the bump, > 0, world units.

    Raises:
        ValueError: naming the member that is out of range.
    """

    grid: GridSpec = dataclasses.field(default_factory=GridSpec)
    width: int = 64
    layers: int = 2
    activation: Activation = "softplus"
    density_scale: float = 1.0
    density_bias: float = 0.0
    blob: Blob = "none"
    blob_height: float = 0.0
    blob_width: float = 1.0

    def __post_init__(self) -> None:
        if self.grid.dimensions != 3:
            raise ValueError(f"grid must have 3 dimensions, got {self.grid.dimensions}")
        for name, low, high in (("width", 1, 256), ("layers", 1, 3)):
            _native.whole_number(name, getattr(self, name), low, high)
        for name, kinds in (("activation", Activation), ("blob", Blob)):
            if getattr(self, name) not in get_args(kinds):
                expected = " or ".join(repr(kind) for kind in get_args(kinds))
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")
        for name in ("density_scale", "blob_width"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        for name in ("density_bias", "blob_height"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")

    @property
    def inputs(self) -> int:
        """Width of the encoding."""
        return self.grid.outputs

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(out, in) of each layer's W, the output layer's last."""
        widths = (self.inputs, *[self.width] * self.layers, OUTPUTS)
        return tuple(zip(widths[1:], widths[:-1], strict=True))

    @property
    def parameters(self) -> int:
        """Number of parameters of the MLP."""
        return sum(out * (inputs + 1) for out, inputs in self.shapes)

    def split(self, mlp: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return views (W [out, in], b [out]) of a flat mlp [parameters], layer by layer."""
        views, at = [], 0
        for out, inputs in self.shapes:
            bias = at + out * inputs
            views.append((mlp[at:bias].view(out, inputs), mlp[bias : bias + out]))
            at = bias + out
        return views


def unsupported(
    spec: FieldSpec, device: torch.device, dtype: torch.dtype, table_half: bool
) -> str | None:
    """Return why :func:`dfast.ops.field.field` cannot run, or None if it can.

    Args:
        spec: the field's shape.
        device: the device to run on; the CPU takes every shape in float32 and float64.
        dtype: dtype of the parameters.
        table_half: whether a float16 copy of the table is given.
    """
    if device.type not in ("cpu", "cuda"):
        return f"it runs on cpu and cuda, not on {device}"
    if device.type == "cpu":
        if dtype not in (torch.float32, torch.float64):
            return f"it takes float32 or float64, not {dtype}"
        return None
    if spec.grid.features != 2:
        return f"on CUDA it takes 2 features a level, not {spec.grid.features}"
    if spec.grid.levels > 16:
        return f"on CUDA it takes at most 16 levels, not {spec.grid.levels}"
    if spec.grid.max_resolution > 4096:  # its slopes are halves
        return f"on CUDA it takes at most 4096 cells a side, not {spec.grid.max_resolution}"
    if spec.width not in (16, 32, 64, 128):
        return f"on CUDA it takes layers of width 16, 32, 64 or 128, not {spec.width}"
    if dtype != torch.float32:
        return f"on CUDA it takes float32, not {dtype}"
    if not table_half:
        return "on CUDA it reads a half copy of the table, and there is none"
    if torch.are_deterministic_algorithms_enabled():
        return "on CUDA its sums depend on the order of atomics (deterministic algorithms are on)"
    if not _native.build_info()["cuda"]:
        return "dfast was built without CUDA kernels"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or newer"
    properties = torch.cuda.get_device_properties(device)
    shared = getattr(properties, "shared_memory_per_block_optin", 0)
    needed = _native.constant("field_max_shared_bytes")  # every smaller shape fits everywhere
    if spec.width == 128 and spec.layers == 3 and shared < needed:
        return f"three layers of width 128 need {needed} bytes of shared memory"
    return None


def exp_limit() -> float:
    """Return the logit at which the exp activation is clamped.

    A density of exp(15) = 3.3e6 per unit length is as opaque as any larger one.
    """
    limit: float = _native.constant("field_exp_limit")
    return limit


def pack(spec: FieldSpec) -> tuple[list[int], list[float]]:
    """Return the spec as integers (the grid's first) and floats, which a schema can carry."""
    activation = _native.constant("field_activations")[spec.activation]
    blob = _native.constant("field_blobs")[spec.blob]
    integers = [*grid_spec.pack(spec.grid), spec.width, spec.layers, activation, blob]
    numbers = [spec.density_scale, spec.density_bias, spec.blob_height, spec.blob_width]
    return integers, numbers


@cache
def unpack(integers: tuple[int, ...], numbers: tuple[float, ...]) -> Any:
    """Return the ``FieldNet`` of the extension for a packed spec."""
    *grid, width, layers, activation, blob = integers
    scale, bias, height, blob_width = numbers
    return _native.library().FieldNet(
        grid=grid_spec.unpack(tuple(grid))[1],
        width=width,
        layers=layers,
        activation=activation,
        scale=scale,
        bias=bias,
        blob=blob,
        blob_height=height,
        blob_width=blob_width,
    )
