"""Alignment: pattern search, the search over level sets, the best ellipsoid."""

from __future__ import annotations

import math

import pytest
import torch
from density_fields import SceneField
from torch import Tensor

from dfast.evaluation.alignment import pattern_search
from dfast.evaluation.solids import Prediction, SolidPoints
from dfast.evaluation.truths import ellipsoid_iou
from dfast.mesh.density_grid import density_grid


def test_level_set_is_searched() -> None:
    """Find the core in a thin shell: the truth is the core, though pictures show the shell."""

    class Cored(SceneField):
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


def test_ellipsoid_iou_known_answers() -> None:
    ball = SolidPoints.from_occupancy(lambda x: x.norm(dim=-1) < 0.6)
    assert ellipsoid_iou(ball) == pytest.approx(1.0, abs=0.01)
    stretched = SolidPoints.from_occupancy(
        lambda x: (x / torch.tensor([0.8, 0.3, 0.4])).norm(dim=-1) < 1
    )
    assert ellipsoid_iou(stretched) == pytest.approx(1.0, abs=0.015)
    cube = SolidPoints.from_occupancy(lambda x: x.abs().amax(-1) < 0.5)
    assert ellipsoid_iou(cube) == pytest.approx(0.73, abs=0.02)  # best ball of a cube
