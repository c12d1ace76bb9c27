"""Retrieval: which geometry of the world a result looks like most, and which attributes it has."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dfast.evaluation.alignment import align, initial_poses, refine
from dfast.evaluation.rivals import ATTRIBUTES, Attributes
from dfast.evaluation.solids import Prediction, SolidPoints
from dfast.evaluation.truths import GroundTruth, catalogue

COARSE = 128
"""Points of each solid in the comparison with all geometries."""
CLOSER, CLOSEST = 40, 10
"""How many of the nearest geometries are aligned again: with few points, then with care."""


class Retrieved(NamedTuple):
    """What a result looks like."""

    rank: int
    """Of the truth's own geometry among all, 1 is first."""
    nearest: str
    """Name of the nearest geometry."""
    attributes: Attributes
    """Whether the truth is nearer than all rivals of each."""


def retrieve(prediction: Prediction, truth: GroundTruth) -> Retrieved:
    """Rank the truth's own geometry among those of all nouns and its rivals, by aligned IoU.

    All nouns are aligned coarsely; the best ten, the rivals and the truth's own are aligned with
    care. Geometries that a yaw, scale and shift make equal to the truth's own (two solids side by
    side named in the other order) count as the same, and are no rivals.

    Args:
        prediction: the result.
        truth: of its sentence.
    """
    own, rivals = truth.name, truth.rivals
    entries = {n: s for n, s in _nearest_nouns(prediction).items() if n != own}
    for group in rivals.values():
        entries |= group
    names = [own, *entries]
    solids = [truth.solid, *entries.values()]
    iou = dict(zip(names, _with_care(prediction, solids).tolist(), strict=True))
    right = [
        all(iou[own] > iou[r] for r in rivals[name]) if rivals.get(name) else None
        for name in ATTRIBUTES
    ]
    before = [n for n in entries if iou[n] > iou[own] and not truth.is_shape(n)]
    nearest = max(before, key=lambda n: iou[n], default=own)
    return Retrieved(1 + len(before), nearest, Attributes(*right))


def _nearest_nouns(prediction: Prediction) -> dict[str, SolidPoints]:
    """Return the solids of the nouns that look most like a result."""
    every = catalogue()
    names, solids = list(every), list(every.values())
    for keep, fit in ((CLOSER, _at_first_sight), (CLOSEST, _closer)):
        best = fit(prediction, solids).topk(keep).indices.tolist()
        names, solids = [names[i] for i in best], [solids[i] for i in best]
    return dict(zip(names, solids, strict=True))


def _at_first_sight(prediction: Prediction, solids: list[SolidPoints]) -> Tensor:
    """Return the IoU [S] of coarse alignments."""
    return initial_poses(prediction, solids, keep=1, count=COARSE)[1][:, 0]


def _closer(prediction: Prediction, solids: list[SolidPoints]) -> Tensor:
    """Return the IoU [S] of alignments with few points."""
    return align(prediction, solids, keep=2, rounds=8, count=512)[1].amax(1)


def _with_care(prediction: Prediction, solids: list[SolidPoints]) -> Tensor:
    """Return the IoU [S] of alignments with few points, the best of which go on with many."""
    poses, values = align(prediction, solids, keep=3, rounds=14, count=512)
    best = values.argmax(1)[:, None, None].expand(-1, 1, poses.shape[2])
    return refine(prediction, solids, poses.gather(1, best), rounds=8, count=4096)[1][:, 0]
