"""Retrieval: which geometry of the grammar a result looks like most."""

from __future__ import annotations

from dfast.evaluation.alignment import align
from dfast.evaluation.solids import Prediction
from dfast.evaluation.truths import GroundTruth, catalogue


def retrieve(prediction: Prediction, truth: GroundTruth) -> tuple[int, str]:
    """Rank the truth's own geometry among all geometries of the grammar by aligned IoU.

    All are aligned coarsely; the best ten and the truth's own are aligned again with care.
    Geometries that a yaw, scale and shift make equal to the truth's own (a pair named in the other
    order) count as the same.

    Args:
        prediction: the result.
        truth: of its sentence.

    Returns:
        The rank (1 is first) and the name of the nearest geometry.
    """
    own = truth.scene.shape
    entries = {**catalogue(), own: truth.solid}
    names, solids = list(entries), list(entries.values())
    coarse = align(prediction, solids, keep=2, rounds=8, count=512)[1].amax(1)
    close = sorted({*coarse.topk(10).indices.tolist(), names.index(own)})
    solids = [solids[i] for i in close]
    fine = align(prediction, solids, keep=3, rounds=14, count=2048)[1].amax(1)
    order = [names[close[i]] for i in fine.argsort(descending=True).tolist()]
    rivals = [name for name in order[: order.index(own)] if not truth.is_shape(name)]
    return 1 + len(rivals), rivals[0] if rivals else own
