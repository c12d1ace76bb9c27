"""Ground truth of the sentences of the procedural world: solids, rivals, surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property, lru_cache

import torch

from dfast.evaluation.alignment import initial_poses, refine
from dfast.evaluation.ellipsoids import ellipsoid_iou
from dfast.evaluation.rivals import geometry, name_of, plain, rivals
from dfast.evaluation.solids import Prediction, SolidPoints
from dfast.evaluation.visible import Surface, visible_surface
from dfast.mesh.density_grid import grid_points
from dfast.world.build import build_scene
from dfast.world.nouns import NOUNS
from dfast.world.reading import read
from dfast.world.scenes import ProceduralScene
from dfast.world.sentence import Sentence

GRID = 96
"""Cells a side with which results and truths are sampled."""
RIVAL_GRID = 40
"""Cells a side with which the geometries that they are compared with are sampled."""
SAME_SHAPE = 0.97
"""Two true solids count as one geometry if they agree so well: their IoU, relative to that of one
of them with itself, which for thin ones is less than 1."""
PERHAPS_SAME = 0.5
"""The same of a coarse alignment, below which they surely are not one."""
SIDEWAYS = ("next to", "in front of", "behind")
"""Relations that a turn about the vertical axis changes."""


class GroundTruth:
    """The truth of one sentence. Each part is computed when it is first used, and kept."""

    def __init__(self, prompt: str) -> None:
        """Read a sentence.

        Raises:
            PromptError: if it is not one of the world.
        """
        self.sentence = read(prompt).sentence
        self.scene = build_scene(self.sentence)
        self.name = name_of(geometry(self.sentence))
        self._same: dict[str, bool] = {}

    @property
    def has_front(self) -> bool:
        """Return whether the heading of the object can be right or wrong.

        It can where a thing looks different from the front and from behind, and where two different
        things stand beside or before each other: then which of them is on which side fixes it.
        """
        first, *rest = self.sentence.things
        placed = self.sentence.relation in SIDEWAYS and rest[0] != first
        return placed or any(thing.kind.has_front for thing in self.sentence.things)

    @cached_property
    def solid(self) -> SolidPoints:
        """Return the object as points."""
        return SolidPoints.from_occupancy(self.scene.occupancy, GRID)

    @cached_property
    def surface(self) -> Surface:
        """Return points of the object's surface."""
        return visible_surface(self.scene)

    @cached_property
    def ellipsoid_iou(self) -> float:
        """Return the IoU of the ellipsoid that fits the object best."""
        return ellipsoid_iou(self.solid)

    @cached_property
    def rivals(self) -> dict[str, dict[str, SolidPoints]]:
        """Return the solids, by name, of the rivals of each attribute that differ in shape."""
        found = {
            attribute: {name_of(other): _solid(other) for other in others}
            for attribute, others in rivals(geometry(self.sentence)).items()
        }
        every = {name: solid for group in found.values() for name, solid in group.items()}
        same = self._same_as(list(every.values()))
        self._same |= dict(zip(every, same, strict=True))
        return {
            attribute: {name: solid for name, solid in group.items() if not self._same[name]}
            for attribute, group in found.items()
        }

    def is_shape(self, name: str) -> bool:
        """Return whether a noun's or a rival's geometry is this one up to yaw, scale, shift."""
        if name not in self._same:
            self._same[name] = self._same_as([catalogue()[name]])[0]
        return self._same[name]

    @cached_property
    def _result(self) -> Prediction:
        """Return the object as a result that is right."""
        distance = self.scene.sdf(grid_points(GRID))[0].reshape(GRID, GRID, GRID)
        return Prediction(60 * torch.sigmoid(-distance / 0.015))

    def _same_as(self, solids: Sequence[SolidPoints]) -> list[bool]:
        """Return whether each of some solids is this one up to yaw, scale and shift."""
        if not solids:
            return []
        compared = [*solids, self.solid]
        poses, values = initial_poses(self._result, compared, keep=2)
        best = values[:, 0].clone()
        near = (best >= PERHAPS_SAME * best[-1]).nonzero()[:, 0].tolist()
        close = [compared[i] for i in near]
        best[near] = refine(self._result, close, poses[near], rounds=12, count=2048)[1].amax(1)
        return (best[:-1] >= SAME_SHAPE * best[-1]).tolist()


# These are the caches of this package. Truths cost seconds and depend on nothing but the sentence,
# so that scoring many results in a process computes each only once. One takes about 10 MB.


@lru_cache(maxsize=32)
def ground_truth(prompt: str) -> GroundTruth:
    """Return the truth of a sentence, the same object each time.

    Raises:
        PromptError: if it is not a sentence of the world.
    """
    return GroundTruth(prompt)


@cache
def catalogue() -> dict[str, SolidPoints]:
    """Return the solid of every noun of the world."""
    solids = {}
    for noun, kind in NOUNS.items():
        thing = plain(noun)
        slots = (thing.color, thing.part_color or thing.color)
        scene = ProceduralScene(noun, "single", noun, kind.parts, slots, kind.has_front)
        solids[noun] = SolidPoints.from_occupancy(scene.occupancy, RIVAL_GRID)
    return solids


@cache
def _solid(sentence: Sentence) -> SolidPoints:
    """Return the solid of a sentence as a rival."""
    return SolidPoints.from_occupancy(build_scene(sentence).occupancy, RIVAL_GRID)
