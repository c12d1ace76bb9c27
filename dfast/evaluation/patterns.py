"""Patterns of a result: read from the colours seen at the surface of the truth."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.evaluation.scorecard import PatternScore
from dfast.evaluation.truths import GroundTruth
from dfast.world.parts import PALETTE
from dfast.world.patterns import PATTERNS
from dfast.world.scenes import ProceduralScene
from dfast.world.sentence import Thing

CLEAR = 0.3
"""Least correlation with a pattern at which it is read, and not "none"."""
SHIFT = 0.08
"""Step by which a pattern may be off along each axis, in units of the thing: about a quarter of the
period of every pattern."""
READ_POINTS = 1200
"""Points at which a pattern is read."""


def pattern_scores(truth: GroundTruth, colors: Tensor, right: Tensor) -> tuple[PatternScore, ...]:
    """Score the pattern of each thing that has one.

    Args:
        truth: of the sentence.
        colors: seen at the points of its surface, [N, 3], nan where there is none.
        right: whether they are right, [N].
    """
    slots = torch.tensor([p.color if isinstance(p.color, int) else -1 for p in truth.scene.parts])
    found = []
    for i, thing in enumerate(truth.sentence.things):
        if thing.pattern is None:
            continue
        mine = slots[truth.surface.part] == 2 * i  # a thing's own colour is the first of its two
        accuracy = float(right[mine].float().mean()) if bool(mine.any()) else 0.0
        mine &= ~colors[:, 0].isnan()
        seen = _read(truth, thing, mine.nonzero()[:READ_POINTS, 0], colors)
        found.append(PatternScore(thing.pattern, accuracy, seen))
    return tuple(found)


def _read(truth: GroundTruth, thing: Thing, index: Tensor, colors: Tensor) -> str:
    """Return the pattern that the colours at some points show, "none" where there is none.

    A point shows whichever of the thing's two colours is nearer. The pattern is the one with which
    that correlates most, wherever its stripes, checks or dots begin.

    Args:
        truth: of the sentence.
        thing: of which the points are.
        index: of the points, [P].
        colors: seen at all points of the surface, [N, 3].
    """
    palette = torch.tensor([PALETTE[thing.color], PALETTE[str(thing.second)]])
    shown = torch.cdist(colors[index], palette).argmin(1)  # [P]
    points, part = truth.surface.points[index], truth.surface.part[index]
    bits = _shifted_bits(truth.scene, points, part)  # [27, P]
    best = [
        max(abs(_correlation(shown, (row >> p) & 1)) for row in bits) for p in range(len(PATTERNS))
    ]
    clearest = max(best)
    return PATTERNS[best.index(clearest)] if clearest >= CLEAR else "none"


def _shifted_bits(scene: ProceduralScene, points: Tensor, part: Tensor) -> Tensor:
    """Return the bits of all patterns at points [P, 3] of given parts [P], shifted 27 ways."""
    scale = torch.tensor([place.scale for place in scene.placements])[part]
    line = SHIFT * torch.tensor([0.0, 1.0, -1.0])
    shifts = torch.cartesian_prod(line, line, line)
    moved = points + shifts[:, None] * scale
    bits = scene.pattern_bits(moved.reshape(-1, 3), part.repeat(len(shifts)))
    return bits.view(len(shifts), -1).long()


def _correlation(a: Tensor, b: Tensor) -> float:
    """Return the correlation of bits [P]; 0 if those of one are all alike."""
    x, y = a.float() - a.float().mean(), b.float() - b.float().mean()
    spread = float((x.square().sum() * y.square().sum()).sqrt())
    return float((x * y).sum()) / spread if spread > 0 else 0.0
