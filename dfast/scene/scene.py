"""The scene that is optimised: field, occupancy grid and background."""

from __future__ import annotations

import torch

from dfast.config import FieldConfig
from dfast.nn.field import Field
from dfast.ops.field import FieldSpec
from dfast.ops.hashgrid import GridSpec


def grid_spec(config: FieldConfig) -> GridSpec:
    """The native op's view of the grid settings."""
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
    """The native op's view of all the settings."""
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


def build_field(config: FieldConfig, generator: torch.Generator | None = None) -> Field:
    """Return a field with random parameters drawn from `generator`, on the CPU."""
    return Field(
        field_spec(config),
        precision=config.precision,
        normals=config.normals,
        finite_step=config.finite_step,
        generator=generator,
    )
