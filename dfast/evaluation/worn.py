"""What is worn: judged where it is, as a hat is too little of a cow to change the IoU of both."""

from __future__ import annotations

from torch import Tensor

from dfast.evaluation.alignment import SCALE, apply_pose
from dfast.evaluation.rivals import rivals
from dfast.evaluation.solids import Prediction, jittered_points
from dfast.evaluation.truths import GRID, GroundTruth
from dfast.mesh.density_grid import sample
from dfast.world.build import build_scene
from dfast.world.scenes import ProceduralScene


def shows_worn(prediction: Prediction, truth: GroundTruth, pose: Tensor) -> bool | None:
    """Return whether what a thing wears is there, and nothing else that it could wear.

    Args:
        prediction: the result.
        truth: of its sentence.
        pose: [5], takes the truth to the prediction.

    Returns:
        Whether more of what tells the truth from the bare thing, and from other things worn, is as
        in the truth; None where nothing is worn.
    """
    others = rivals(truth.sentence).get("worn", [])
    if not others:
        return None
    return all(_agreement(prediction, truth, build_scene(o), pose) > 0.5 for o in others)


def _agreement(
    prediction: Prediction, truth: GroundTruth, other: ProceduralScene, pose: Tensor
) -> float:
    """Return how much of the space in which two scenes differ is as in the truth.

    The result is solid where its density exceeds the level at which it has the truth's volume:
    others make thin things thicker or thinner.
    """
    points = jittered_points(GRID, seed=2)
    own = truth.scene.occupancy(points)
    differ = own != other.occupancy(_moved(points, truth.scene, other))
    points, own = points[differ][None], own[differ]
    placed = apply_pose(points, truth.solid.centroid[None], pose[None, None], prediction.centroid)
    level = prediction.level_of(truth.solid.volume * float((3 * pose[SCALE]).exp()))
    filled = sample(prediction.grid, placed[0, 0]) > level
    return float((filled == own).float().mean())


def _moved(points: Tensor, scene: ProceduralScene, other: ProceduralScene) -> Tensor:
    """Return points of a scene where they are in another one, in which its first thing is, too.

    What is worn changes how large a thing is and where it stands.
    """
    (here, size), (there, other_size) = (
        (points.new_tensor(p.offset), points.new_tensor(p.scale))
        for p in (scene.placements[0], other.placements[0])
    )
    return (points - here) / size * other_size + there
