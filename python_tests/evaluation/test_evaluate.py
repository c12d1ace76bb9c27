"""Evaluation of known fields: the truth itself, moved, recoloured, hazy, flat, empty."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from dfast.errors import PromptError
from dfast.evaluation.alignment import pattern_search
from dfast.evaluation.score import score
from dfast.evaluation.scorecard import as_dict, summary, table
from dfast.evaluation.solids import Prediction, SolidPoints
from dfast.evaluation.truths import ellipsoid_iou
from dfast.mesh.density_grid import density_grid
from dfast.world import grammar


class Built:
    """A field made from a procedural scene, turned, scaled, moved, with soft edges.

    `yaw` is in degrees, `haze` is a density everywhere, and `flat` squeezes the object along y.
    """

    def __init__(
        self,
        caption: str,
        *,
        yaw: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
        colors: str | None = None,
        haze: float = 0.0,
        flat: float = 1.0,
        peak: float = 60.0,
    ) -> None:
        self.prompt, self.scale, self.haze, self.flat, self.peak = caption, scale, haze, flat, peak
        self.scene = grammar.parse(caption)
        self.painted = grammar.parse(colors or caption)
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        self.turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        self.shift = torch.tensor(shift)

    def local(self, x: Tensor) -> Tensor:
        return ((x - self.shift) @ self.turn) / self.scale / torch.tensor([1.0, self.flat, 1.0])

    def density(self, x: Tensor) -> Tensor:
        distance = self.scene.sdf(self.local(x))[0] * self.scale * self.flat
        return self.peak * torch.sigmoid(-distance / 0.015) + self.haze

    def albedo(self, x: Tensor) -> Tensor:
        return self.painted.albedo(self.local(x))


def test_the_truth_itself_scores_full_marks() -> None:
    found = score(Built("a red chair"), seed=3, seconds=1.5)
    assert found.iou > 0.9 and found.beats_ellipsoid and found.rank == 1
    assert found.albedo > 0.95 and found.colors == 1.0
    assert found.front is True and found.front_yaw is not None and abs(found.front_yaw) < 5
    assert found.faults == [] and found.kind == "composed" and found.seed == 3


def test_pose_is_undone_but_the_front_is_not() -> None:
    found = score(Built("a yellow duck", yaw=130, scale=0.8, shift=(0.05, -0.04, 0.1)))
    assert found.iou > 0.93 and found.rank == 1 and found.albedo > 0.9
    assert found.front is False and found.front_yaw == pytest.approx(130, abs=5)


def test_wrong_colours_are_seen_part_by_part() -> None:
    found = score(
        Built("a green cone on top of a yellow cube", colors="a green cone on top of a red cube")
    )
    assert [(p.color, p.seen) for p in found.parts] == [("green", "green"), ("yellow", "red")]
    assert found.colors == 0.5 and found.parts[0].accuracy > 0.9 and found.parts[1].accuracy < 0.1
    assert found.front is None and found.front_yaw is None


def test_a_pair_named_in_the_other_order_is_the_same_geometry() -> None:
    found = score(Built("a red cube next to a blue sphere"))
    assert found.rank == 1 and found.kind == "pair" and found.colors == 1.0


def test_another_shape_is_not_retrieved() -> None:
    other = Built("a red sphere")
    found = score(other, "a red chair")
    assert found.rank > 3 and found.nearest == "sphere" and found.iou < 0.6


def test_empty_field() -> None:
    found = score(Built("a red cube", peak=0.0))
    assert found.empty and found.collapsed and found.iou == 0.0 and found.rank > 3


def test_haze_fog_and_sheets_are_faults() -> None:
    assert "hazy" in score(Built("a red cube", haze=0.3)).faults
    assert "opaque" in score(Built("a red cube", haze=20.0)).faults
    assert "collapsed" in score(Built("a red chair", flat=0.08)).faults


def test_sentence_outside_the_grammar() -> None:
    with pytest.raises(PromptError):
        score(Built("a red cube"), "a red zebra")


def test_ellipsoid_iou_known_answers() -> None:
    ball = SolidPoints.from_occupancy(lambda x: x.norm(dim=-1) < 0.6)
    assert ellipsoid_iou(ball) == pytest.approx(1.0, abs=0.01)
    stretched = SolidPoints.from_occupancy(
        lambda x: (x / torch.tensor([0.8, 0.3, 0.4])).norm(dim=-1) < 1
    )
    assert ellipsoid_iou(stretched) == pytest.approx(1.0, abs=0.015)
    cube = SolidPoints.from_occupancy(lambda x: x.abs().amax(-1) < 0.5)
    assert ellipsoid_iou(cube) == pytest.approx(0.73, abs=0.02)  # best ball of a cube


def test_level_set_is_searched() -> None:
    """Find the core in a thin shell: the truth is the core, though pictures show the shell."""

    class Cored(Built):
        def density(self, x: Tensor) -> Tensor:
            r = x.norm(dim=-1)
            return 200.0 * (r < 0.4).float() + 8.0 * (r < 0.7).float()

    prediction = Prediction(density_grid(Cored("a red sphere"), 48))
    shares = prediction.volumes / (4 / 3 * math.pi)
    assert float((shares - 0.4**3).abs().min()) < 0.01
    assert float((shares - 0.7**3).abs().min()) < 0.02


def test_pattern_search_finds_maxima_side_by_side() -> None:
    goals = torch.tensor([[0.3, -0.2], [-1.0, 0.5]])

    def objective(p: Tensor) -> Tensor:
        return -(p - goals[:, None]).square().sum(-1)

    best, value = pattern_search(objective, torch.zeros(2, 2), torch.tensor([0.25, 0.25]), 60)
    assert torch.allclose(best, goals, atol=1e-3) and (value > -1e-5).all()


def test_table_and_json() -> None:
    scores = [score(Built("a red cube"), seed=0), score(Built("a red cube", peak=0.0), seed=1)]
    means = summary(scores)
    assert list(means) == ["single", "all"] and means["all"]["runs"] == 2
    assert means["all"]["collapsed"] == 1 and means["all"]["top1"] == 0.5
    assert means["all"]["front"] is None
    text = table(scores)
    assert "a red cube" in text and "empty collapsed" in text and "single" in text
    stored = json.loads(json.dumps(as_dict(scores, device="cpu"), allow_nan=False))
    assert stored["device"] == "cpu" and stored["scores"][0]["parts"][0]["seen"] == "red"
