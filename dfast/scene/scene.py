"""The scene that is optimised: field, occupancy grid and background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from dfast.config import Config, FieldConfig
from dfast.nn.field import Field
from dfast.nn.ipe_field import IPEField, IPESpec
from dfast.nn.occupancy import OccupancyGrid
from dfast.nn.radiance_field import RadianceField
from dfast.ops.field import FieldSpec
from dfast.ops.hashgrid import GridSpec
from dfast.scene.background import Background
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.tree import copy_into


class Scene(nn.Module):
    """A field in the unit sphere, the cells of it that are occupied, and what is behind it.

    Keys of the `state_dict`: `field.mlp`, for a hash grid `field.table`, `occupancy.density`,
    `occupancy.bits`, and `background.*` if the background is learned. Moving the module, loading
    into it and `reset` also bring the field's half-precision copies up to date.

    Attributes:
        field: density and albedo as a function of position.
        occupancy: the cells that rays are marched through.
        background: the colour of rays that miss the object.
        level_weights: [L] weights of the encoding's levels at the end of a run, which `density`,
            `albedo` and the renderer of a finished scene use; None stands for all ones.
    """

    level_weights: Tensor | None

    def __init__(
        self,
        field: RadianceField,
        occupancy: OccupancyGrid,
        background: Background,
        level_weights: Tensor | None = None,
    ) -> None:
        """Make a scene of its parts.

        Args:
            field: the field.
            occupancy: the occupancy grid.
            background: the background.
            level_weights: [L] in [0, 1] or None, final weights of the encoding's levels.
        """
        super().__init__()
        self.field, self.occupancy, self.background = field, occupancy, background
        self.register_buffer("level_weights", level_weights, persistent=False)
        self.register_load_state_dict_post_hook(_refresh_half_copies)

    @classmethod
    def from_config(cls, config: Config, generator: torch.Generator | None = None) -> Self:
        """Return a scene with random parameters, on the CPU.

        Args:
            config: its sections field, occupancy, background and coarse_to_fine are read.
            generator: draws the parameters of the field, then those of the background.
        """
        field = build_field(config.field, generator)
        background = Background(config.background, generator)
        o = config.occupancy
        occupancy = OccupancyGrid(o.resolution, decay=o.decay, threshold=o.threshold)
        final = level_weights(1.0, field.resolutions, config.coarse_to_fine)
        return cls(field, occupancy, background, final)

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.field.mlp.device

    @torch.no_grad()
    def density(self, points: Tensor) -> Tensor:
        """Return the density at world points, without gradients.

        Args:
            points: [N, 3] float32 on the scene's device.

        Returns:
            [N] per unit length, >= 0, at the final level weights.
        """
        return self.field.density(points, self.level_weights)

    @torch.no_grad()
    def albedo(self, points: Tensor) -> Tensor:
        """Return the albedo at world points, without gradients.

        Args:
            points: [N, 3] float32 on the scene's device.

        Returns:
            [N, 3] in [0, 1], at the final level weights.
        """
        return self.field(points, level_weights=self.level_weights).albedo

    def refresh_occupancy(
        self,
        generator: torch.Generator,
        *,
        fraction: float = 1.0,
        level_weights: Tensor | None = None,
    ) -> None:
        """Evaluate the density in some of the occupancy grid's cells and decide which to march.

        Args:
            generator: chooses cells and points in them; on the scene's device.
            fraction: of the cells to visit, in (0, 1].
            level_weights: [L] weights of the encoding's levels at this moment of the run; None
                stands for all ones.
        """
        self.occupancy.update(
            lambda points: self.field.density(points, level_weights),
            generator,
            fraction=fraction,
        )

    def rebuild_occupancy(self, generator: torch.Generator, passes: int = 4) -> None:
        """Forget the occupancy grid and fill it anew from the field at the final level weights.

        Args:
            generator: chooses points; on the scene's device.
            passes: visits of every cell, each at another random point of the cell.
        """
        self.occupancy.reset()
        for _ in range(passes):
            self.refresh_occupancy(generator, level_weights=self.level_weights)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw a new field and make every cell occupied, in the same memory.

        The background stays: what it has learned does not depend on the field.

        Args:
            generator: draws the parameters, on the host.
        """
        self.field.reset(generator)
        self.occupancy.reset()

    def half_copies(self) -> dict[str, Tensor | None]:
        """Return the float16 copies that an optimiser must keep up to date, by parameter name.

        A copy is None where the field reads the float32 table.
        """
        return {f"field.{name}": copy for name, copy in self.field.half_copies().items()}

    def object_state(self) -> dict[str, Tensor]:
        """Return the part of the `state_dict` that is the object: field and occupancy grid."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("background.")}

    def load_object(self, state: Mapping[str, Tensor]) -> None:
        """Load what `object_state` returned; the background stays as it is.

        Args:
            state: tensors by name, on any device. Names of other parts are ignored.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        self._copy(state, self.object_state())

    def load_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Load a whole `state_dict` in place, so that CUDA graphs that read the scene stay valid.

        Args:
            state: tensors by name, on any device. Names that do not belong to a scene are ignored.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        self._copy(state, self.state_dict())

    @torch.no_grad()
    def _copy(self, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
        copy_into(own, state)
        self.field.refresh_half_copies()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert or move every tensor; `nn.Module.to` and its relatives call this."""
        super()._apply(fn, recurse)
        self.field.refresh_half_copies()
        return self


def _refresh_half_copies(scene: Scene, _: Any) -> None:
    """Bring the half-precision copy up to date after `load_state_dict`."""
    scene.field.refresh_half_copies()


def grid_spec(config: FieldConfig) -> GridSpec:
    """Return the shape of the hash grid that the settings describe."""
    g = config.grid
    return GridSpec(
        levels=g.levels,
        features=g.features,
        log2_entries=g.log2_entries,
        base_resolution=g.base_resolution,
        max_resolution=g.max_resolution,
        interpolation=g.interpolation,
    )


def field_spec(config: FieldConfig) -> FieldSpec:
    """Return the shape of the field that the settings describe: hash grid, MLP, density."""
    return FieldSpec(
        grid=grid_spec(config),
        width=config.hidden,
        layers=config.layers,
        activation=config.density_activation,
        density_scale=config.density_scale,
        density_bias=config.density_bias,
        blob=config.blob,
        blob_height=config.blob_height,
        blob_width=config.blob_width,
    )


def ipe_spec(config: FieldConfig) -> IPESpec:
    """Return the shape of the field of the kind "ipe" that the settings describe."""
    return IPESpec(
        frequencies=config.ipe.frequencies,
        base_frequency=config.ipe.base_frequency,
        directions=config.ipe.directions,
        width=config.ipe.width,
        blocks=config.ipe.blocks,
        activation=config.density_activation,
        density_scale=config.density_scale,
        density_bias=config.density_bias,
        blob=config.blob,
        blob_height=config.blob_height,
        blob_width=config.blob_width,
        blob_on=config.blob_on,
    )


def build_field(config: FieldConfig, generator: torch.Generator | None = None) -> RadianceField:
    """Return a field with random parameters on the CPU.

    Args:
        config: the settings of the field.
        generator: draws the parameters, on the host.
    """
    if config.kind == "ipe":
        return IPEField(
            ipe_spec(config),
            normals=config.normals,
            finite_step=config.finite_step,
            generator=generator,
        )
    return hash_field(config, generator)


def hash_field(config: FieldConfig, generator: torch.Generator | None = None) -> Field:
    """Return a field of the kind "hash" with random parameters on the CPU.

    Args:
        config: the settings of the field.
        generator: draws the parameters, on the host.
    """
    return Field(
        field_spec(config),
        precision=config.precision,
        normals=config.normals,
        finite_step=config.finite_step,
        generator=generator,
    )
