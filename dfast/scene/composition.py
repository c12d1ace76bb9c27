"""The scene of a layout: things with a field and an occupancy grid each, rendered together."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from dfast.config import Config
from dfast.nn.composed_field import ComposedField, Place
from dfast.nn.occupancy import OccupancyGrid
from dfast.scene.background import Background
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.scene import Scene, build_field


class Composition(Scene):
    """A scene of several things: their sum is its field, and each alone is a `Scene` of its own.

    Keys of the `state_dict` are those of `Scene`, with `field.parts.<i>.` in place of `field.`, and
    `occupancies.<i>.` for the grid of each part in its own frame; `occupancy.` is that of the
    whole.

    Attributes:
        field: the sum of the parts' fields.
        occupancies: the occupancy grid of each part, in its own frame.
    """

    field: ComposedField

    def __init__(
        self,
        field: ComposedField,
        occupancy: OccupancyGrid,
        occupancies: list[OccupancyGrid],
        background: Background,
        level_weights: Tensor | None = None,
    ) -> None:
        """Make a scene of its parts.

        Args:
            field: the sum of the parts' fields.
            occupancy: the occupancy grid of the whole.
            occupancies: that of each part.
            background: behind the whole, and behind each part alone.
            level_weights: [L] in [0, 1] or None, final weights of the encoding's levels.
        """
        super().__init__(field, occupancy, background, level_weights)
        self.occupancies = nn.ModuleList(occupancies)

    @classmethod
    def from_config(cls, config: Config, generator: torch.Generator | None = None) -> Self:
        """Return a scene with random parameters, on the CPU.

        Args:
            config: its sections layout, field, occupancy, background and coarse_to_fine are read.
            generator: draws the parameters of one field after the other.
        """
        parts = config.layout.parts
        fields = [build_field(config.field, generator) for _ in parts]
        field = ComposedField(
            fields,
            [Place(part.position, part.size, part.heading) for part in parts],
            activation=config.field.density_activation,
            density_scale=config.field.density_scale,
        )
        o = config.occupancy
        whole, *each = (
            OccupancyGrid(o.resolution, decay=o.decay, threshold=o.threshold)
            for _ in range(1 + len(parts))
        )
        background = Background(config.background, generator)
        final = level_weights(1.0, field.resolutions, config.coarse_to_fine)
        return cls(field, whole, each, background, final)

    def part(self, index: int) -> Scene:
        """Return a part alone, in its own frame; it shares the tensors of this scene.

        Args:
            index: which, from 0.
        """
        occupancy = self.occupancies[index]
        assert isinstance(occupancy, OccupancyGrid)
        return Scene(self.field.fields[index], occupancy, self.background, self.level_weights)

    def refresh_occupancy(
        self,
        generator: torch.Generator,
        *,
        fraction: float = 1.0,
        level_weights: Tensor | None = None,
    ) -> None:
        """Bring the grid of the whole and those of the parts up to date, see `Scene`."""
        super().refresh_occupancy(generator, fraction=fraction, level_weights=level_weights)
        for index in range(len(self.occupancies)):
            self.part(index).refresh_occupancy(
                generator, fraction=fraction, level_weights=level_weights
            )

    def rebuild_occupancy(self, generator: torch.Generator, passes: int = 4) -> None:
        """Forget all occupancy grids and fill them anew, see `Scene.rebuild_occupancy`."""
        self._forget_parts()
        super().rebuild_occupancy(generator, passes)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new fields and make every cell occupied, in the same memory."""
        self._forget_parts()
        super().reset(generator)

    def _forget_parts(self) -> None:
        """Make every cell of the parts' grids occupied."""
        for index in range(len(self.occupancies)):
            self.part(index).occupancy.reset()


def scene_from_config(config: Config, generator: torch.Generator | None = None) -> Scene:
    """Return the scene that the settings describe, of one thing or of several, on the CPU.

    Args:
        config: all settings of a run that makes a field.
        generator: draws the parameters.
    """
    kind = Composition if config.layout.parts else Scene
    return kind.from_config(config, generator)
