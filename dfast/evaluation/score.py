"""Score a result against the procedural world: shape, identity, attributes, colours, faults."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfast.config.meshes import TEXTURED_FACES
from dfast.errors import ExportError
from dfast.evaluation.alignment import SCALE, YAW, align, refine
from dfast.evaluation.colors import part_scores, visible_colors
from dfast.evaluation.faults import faults, flatness
from dfast.evaluation.patterns import pattern_scores
from dfast.evaluation.retrieval import retrieve
from dfast.evaluation.rivals import ATTRIBUTES, Attributes
from dfast.evaluation.scorecard import PartScore, PatternScore, Score
from dfast.evaluation.solids import Prediction
from dfast.evaluation.surface import SurfaceScore, surface_score
from dfast.evaluation.truths import GRID, GroundTruth, catalogue, ground_truth
from dfast.evaluation.worn import shows_worn
from dfast.mesh.density_grid import DensityField, density_grid
from dfast.mesh.extract import extract_mesh
from dfast.ops.ambient import neutral_torch_state

FRONT_TOLERANCE = 30.0
"""Degrees."""
LARGE_PART = 0.04
"""Smallest share of the surface of a region whose colour counts."""


class EmptyField:
    """A field with nothing in it, as which a failed run is scored."""

    def density(self, x: Tensor) -> Tensor:
        """Return 0 everywhere, [N]."""
        return x.new_zeros(len(x))

    def albedo(self, x: Tensor) -> Tensor:
        """Return black everywhere, [N, 3]."""
        return torch.zeros_like(x)


@neutral_torch_state()
def score(
    result: DensityField,
    prompt: str | None = None,
    *,
    seed: int | None = None,
    seconds: float | None = None,
) -> Score:
    """Measure one result; `Score` says what each number means.

    It takes a few seconds on a CPU; the first call in a process also samples the solid of every
    noun.

    Args:
        result: the field to score.
        prompt: a sentence of the world, by default the result's own.
        seed: of the run, recorded in the score.
        seconds: that training took, recorded in the score.

    Returns:
        The score.

    Raises:
        PromptError: if the prompt is not a sentence of the world.
    """
    text = prompt if prompt is not None else str(getattr(result, "prompt", ""))
    truth = ground_truth(text)
    density = density_grid(result, GRID)
    prediction = Prediction(density)
    if prediction.empty:
        return _empty_score(truth, text, seed, seconds)

    pose, best = _best_pose(result, prediction, truth)
    colors, right = visible_colors(result, prediction, truth, pose, len(truth.surface.points))
    parts = part_scores(truth, colors, right)
    large = [p for p in parts if p.share >= LARGE_PART]
    yaw = (float(pose[YAW]) + 180) % 360 - 180
    looks = retrieve(prediction, truth)
    found = faults(density, prediction)
    flat = flatness(prediction, truth.solid, float(pose[SCALE])) < 0.25
    return Score(
        prompt=text,
        kind=truth.sentence.situation,
        seed=seed,
        iou=best,
        ellipsoid_iou=truth.ellipsoid_iou,
        rank=looks.rank,
        nearest=looks.nearest,
        albedo=float(right.float().mean()),
        colors=sum(p.color == p.seen for p in large) / len(large),
        front_yaw=yaw if truth.has_front else None,
        front=abs(yaw) <= FRONT_TOLERANCE if truth.has_front else None,
        empty=found.empty,
        opaque=found.opaque,
        hazy=found.hazy,
        collapsed=found.empty or found.opaque or flat or best < 0.1,
        haze=found.haze,
        surface=_surface(result, truth, pose, prediction.centroid),
        seconds=seconds,
        parts=parts,
        patterns=pattern_scores(truth, colors, right),
        worn=shows_worn(prediction, truth, pose),
        **vars(looks.attributes),
    )


def _surface(
    result: DensityField, truth: GroundTruth, pose: Tensor, centroid: Tensor
) -> SurfaceScore | None:
    """Score the mesh that `dfast export` would write; None where it would refuse."""
    mesh = getattr(result, "own_mesh", None)  # of what is a mesh
    if mesh is None:
        try:
            mesh = extract_mesh(result, faces=TEXTURED_FACES)
        except ExportError:
            return None
    return surface_score(mesh, truth, pose, centroid)


def _best_pose(
    result: DensityField, prediction: Prediction, truth: GroundTruth
) -> tuple[Tensor, float]:
    """Return the pose [5] at which shape and colours agree best, and the best IoU of any pose."""
    poses, values = align(prediction, [truth.solid], keep=24, rounds=16, count=2048)
    poses, values = poses[0], values[0]  # [24, 5], [24]
    agreement = torch.stack(
        [visible_colors(result, prediction, truth, p, 600)[1].float().mean() for p in poses]
    )
    joint = (values + agreement).argmax()
    finalists = torch.cat([poses[joint][None], poses[values.topk(3).indices]])
    finalists, values = refine(prediction, [truth.solid], finalists[None], rounds=10, count=8192)
    return finalists[0, 0], min(1.0, float(values.max()))


def _empty_score(truth: GroundTruth, prompt: str, seed: int | None, seconds: float | None) -> Score:
    """Return the score of a result in which nothing can be seen."""
    shares = zip(truth.surface.words, truth.surface.shares.tolist(), strict=True)
    wrong = [False if truth.rivals.get(name) else None for name in ATTRIBUTES]
    return Score(
        prompt=prompt,
        kind=truth.sentence.situation,
        seed=seed,
        iou=0.0,
        ellipsoid_iou=truth.ellipsoid_iou,
        rank=len(catalogue()) + sum(map(len, truth.rivals.values())),
        nearest="",
        albedo=0.0,
        colors=0.0,
        front_yaw=None,
        front=False if truth.has_front else None,
        empty=True,
        opaque=False,
        hazy=False,
        collapsed=True,
        haze=0.0,
        seconds=seconds,
        parts=tuple(PartScore(color, share, 0.0, "") for color, share in shares),
        patterns=tuple(
            PatternScore(t.pattern, 0.0, "none") for t in truth.sentence.things if t.pattern
        ),
        worn=False if any(t.wears for t in truth.sentence.things) else None,
        **vars(Attributes(*wrong)),
    )


def with_parts(result: Any) -> list[Any]:
    """Return what is scored of a run: the object; of a layout the parts, and the whole if known.

    Args:
        result: a `dfast.Result`, or the mesh of a refine stage, which is one object.
    """
    parts = getattr(result, "parts", {})
    whole = not parts or result.config.layout.shows_whole
    return [*([result] if whole else []), *parts.values()]
