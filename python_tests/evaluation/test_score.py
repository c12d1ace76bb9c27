"""Scores of known fields: the truth itself, moved, recoloured, hazy, flat, empty."""

from __future__ import annotations

import functools
import sys

import pytest
from density_fields import SceneField, score_of_truth

from dfast.errors import PromptError
from dfast.evaluation.faults import faults
from dfast.evaluation.score import EmptyField, score
from dfast.evaluation.solids import Prediction
from dfast.mesh.density_grid import density_grid
from dfast.mesh.extract import extract_mesh


@pytest.fixture
def coarse_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score the surface of a mesh of few cells, where a test asks for nothing about it."""
    coarse = functools.partial(extract_mesh, resolution=40)
    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules[score.__module__], "extract_mesh", coarse)


def test_the_truth_itself_scores_full_marks() -> None:
    found = score_of_truth("a red chair")
    assert found.iou > 0.9 and found.beats_ellipsoid and found.rank == 1
    assert found.albedo > 0.95 and found.colors == 1.0
    assert found.front is True and found.front_yaw is not None and abs(found.front_yaw) < 5
    assert found.faults == [] and found.kind == "alone" and found.seed == 3


@pytest.mark.usefixtures("coarse_mesh")
def test_pose_is_undone_but_the_front_is_not() -> None:
    found = score(SceneField("a yellow duck", yaw=130, scale=0.8, shift=(0.05, -0.04, 0.1)))
    assert found.iou > 0.93 and found.rank == 1 and found.albedo > 0.9
    assert found.front is False and found.front_yaw == pytest.approx(130, abs=5)


@pytest.mark.usefixtures("coarse_mesh")
def test_wrong_colours_are_seen_part_by_part() -> None:
    found = score(
        SceneField(
            "a green cone on top of a yellow cube", colors="a green cone on top of a red cube"
        )
    )
    assert [(p.color, p.seen) for p in found.parts] == [("green", "green"), ("yellow", "red")]
    assert found.colors == 0.5 and found.parts[0].accuracy > 0.9 and found.parts[1].accuracy < 0.1
    assert found.front is None and found.front_yaw is None and found.kind == "pair"


def test_empty_field() -> None:
    found = score(SceneField("a red cube", peak=0.0))
    assert found.empty and found.collapsed and found.iou == 0.0 and found.rank > 3


@pytest.mark.usefixtures("coarse_mesh")
def test_haze_fog_and_sheets_are_faults() -> None:
    for haze, name in ((0.3, "hazy"), (20.0, "opaque")):
        density = density_grid(SceneField("a red cube", haze=haze))
        assert getattr(faults(density, Prediction(density)), name)
    assert "collapsed" in score(SceneField("a red chair", flat=0.08)).faults


def test_sentence_outside_the_grammar() -> None:
    with pytest.raises(PromptError):
        score(SceneField("a red cube"), "a red qwertzy")


def test_a_failed_run_scores_as_an_empty_field() -> None:
    failed, empty = score(EmptyField(), "a red cube"), score(SceneField("a red cube", peak=0.0))
    assert failed == empty
