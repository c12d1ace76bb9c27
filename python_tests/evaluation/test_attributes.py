"""Attributes of known fields: the truth has all of them, another truth lacks the one that differs.

The fields are of spheres, cubes, lamps and tables, which are told apart fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from density_fields import SceneField
from torch import Tensor

from dfast.evaluation import retrieval
from dfast.evaluation.alignment import align
from dfast.evaluation.colors import part_scores, visible_colors
from dfast.evaluation.patterns import pattern_scores
from dfast.evaluation.retrieval import Retrieved, retrieve
from dfast.evaluation.rivals import ATTRIBUTES
from dfast.evaluation.scorecard import PartScore, PatternScore
from dfast.evaluation.solids import Prediction
from dfast.evaluation.truths import catalogue, ground_truth
from dfast.evaluation.worn import shows_worn
from dfast.mesh.density_grid import density_grid

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.fixture(autouse=True, scope="module")
def fewer_nouns() -> Iterator[None]:
    """Retrieve among fewer nouns, for speed; scores elsewhere retrieve among all."""
    every = catalogue()
    few = {n: every[n] for n in (*list(every)[::9], "cat", "lamp", "sphere")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "catalogue", lambda: few)
        yield


@cache
def looks(shown: str, said: str) -> Retrieved:
    """Return what the truth of one sentence looks like as a result of another."""
    return retrieve(Prediction(density_grid(SceneField(shown, yaw=20))), ground_truth(said))


def judged(found: Retrieved) -> dict[str, bool]:
    """Return the attributes that are not None."""
    values = {name: getattr(found.attributes, name) for name in ATTRIBUTES}
    return {name: value for name, value in values.items() if value is not None}


def test_another_shape_is_not_retrieved() -> None:
    found = looks("a red sphere", "a red chair")
    assert found.rank > 3 and found.nearest == "sphere" and judged(found) == {}


@pytest.mark.parametrize(
    ("said", "attributes"),
    [
        ("three short red lamps", ["count", "size"]),
        ("a small red sphere next to a blue cube", ["size", "relation"]),
    ],
)
def test_the_truth_has_every_attribute(said: str, attributes: list[str]) -> None:
    found = looks(said, said)
    assert found.rank == 1 and found.nearest == ground_truth(said).name
    assert judged(found) == dict.fromkeys(attributes, True)


@pytest.mark.parametrize(
    ("shown", "said", "wrong", "nearest"),
    [
        ("three red lamps", "two red lamps", "count", "3 lamp"),
        ("a thin red cat", "a wide red cat", "size", "thin cat"),
        (
            "a blue cube on top of a red sphere",
            "a red sphere on top of a blue cube",
            "relation",
            "cube on top of sphere",
        ),
        (
            "a red cat next to a table",
            "a red cat under a table",
            "relation",
            "cat next to table",
        ),
    ],
)
def test_another_truth_lacks_what_differs(shown: str, said: str, wrong: str, nearest: str) -> None:
    found = looks(shown, said)
    assert judged(found)[wrong] is False
    assert found.rank > 1 and found.nearest == nearest


@pytest.mark.parametrize(
    ("shown", "said", "right"),
    [
        ("a red cow with a blue crown", "a red cow with a blue crown", True),
        ("a red cow with a blue hat", "a red cow with a blue crown", False),
        ("a red cow", "a red cow with a blue crown", False),
        ("a red cow", "a red cow", None),
    ],
)
def test_what_is_worn_is_seen(shown: str, said: str, right: bool | None) -> None:
    prediction = Prediction(density_grid(SceneField(shown, yaw=20, scale=0.9)))
    truth = ground_truth(said)
    poses, values = align(prediction, [truth.solid], keep=2, rounds=16, count=4096)
    assert shows_worn(prediction, truth, poses[0, values[0].argmax()]) is right


def seen(shown: str, said: str) -> tuple[tuple[PartScore, ...], tuple[PatternScore, ...]]:
    """Return the scores of colours and patterns of the truth of `shown` as a result of `said`."""
    field, truth = SceneField(said, colors=shown), ground_truth(said)
    prediction = Prediction(density_grid(field))
    poses, values = align(prediction, [truth.solid], keep=2, rounds=16, count=4096)
    pose: Tensor = poses[0, values[0].argmax()]
    colors, right = visible_colors(field, prediction, truth, pose, len(truth.surface.points))
    return part_scores(truth, colors, right), pattern_scores(truth, colors, right)


@pytest.mark.parametrize("pattern", ["striped", "dotted", "checkered"])
def test_patterns_are_read(pattern: str) -> None:
    said = f"a red and white {pattern} house with a blue roof"
    parts, (found,) = seen(said, said)
    assert found.pattern == found.seen == pattern and found.accuracy > 0.9
    assert {"red", "white", "blue"} <= {p.color for p in parts}
    assert all(p.seen == p.color for p in parts if p.share > 0.04)
    assert sum(p.share for p in parts) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("shown", "seen_pattern", "accuracy"),
    [
        ("a red house with a blue roof", "none", (0.4, 0.7)),
        ("a green house with a blue roof", "none", (0.0, 0.1)),
        ("a red and white checkered house with a blue roof", "checkered", (0.3, 0.7)),
        ("a white and red striped house with a blue roof", "striped", (0.0, 0.2)),
    ],
)
def test_other_patterns_and_colours_are_seen(
    shown: str, seen_pattern: str, accuracy: tuple[float, float]
) -> None:
    _, (found,) = seen(shown, "a red and white striped house with a blue roof")
    assert found.seen == seen_pattern and accuracy[0] <= found.accuracy <= accuracy[1]


def test_a_pattern_that_begins_elsewhere_is_still_read() -> None:
    said = "a red and white striped sphere"

    class Shifted(SceneField):
        def albedo(self, x: Tensor) -> Tensor:
            return super().albedo(x + torch.tensor([0.0, 0.0, 0.05]))

    field, truth = Shifted(said), ground_truth(said)
    prediction = Prediction(density_grid(field))
    pose = torch.zeros(5)
    pose[2:] = truth.solid.centroid - prediction.centroid
    colors, right = visible_colors(field, prediction, truth, pose, 4000)
    (found,) = pattern_scores(truth, colors, right)
    assert found.seen == "striped" and found.accuracy < 0.8


def test_patterns_of_two_things() -> None:
    said = "a red and white striped cube on top of a green and black checkered sphere"
    shown = "a red cube on top of a green and black checkered sphere"
    _, found = seen(shown, said)
    assert [(p.pattern, p.seen) for p in found] == [("striped", "none"), ("checkered",) * 2]
