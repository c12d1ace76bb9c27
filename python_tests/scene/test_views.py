"""View-dependent prompting: the share of each view, and the weights of Perp-Neg."""

from __future__ import annotations

import pytest
import torch

from dfast.scene.views import (
    VIEW_WORDS,
    heading,
    perp_neg_views,
    perp_neg_weights,
    view_index,
    view_weights,
)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (0.0, 0.0, {"front": 1.0}),
        (360.0, 0.0, {"front": 1.0}),
        (90.0, 10.0, {"side": 1.0}),
        (270.0, 10.0, {"side": 1.0}),
        (180.0, -20.0, {"back": 1.0}),
        (45.0, 0.0, {"front": 0.5, "side": 0.5}),
        (315.0, 0.0, {"front": 0.5, "side": 0.5}),
        (225.0, 0.0, {"side": 0.5, "back": 0.5}),
        (30.0, 90.0, {"overhead": 1.0}),
        (0.0, 67.5, {"front": 0.5, "overhead": 0.5}),
    ],
)
def test_view_weights(azimuth: float, elevation: float, expected: dict[str, float]) -> None:
    weights = view_weights(torch.tensor([azimuth]), torch.tensor([elevation]))[0]
    wanted = torch.tensor([expected.get(word, 0.0) for word in VIEW_WORDS])
    torch.testing.assert_close(weights, wanted)


def test_view_weights_are_a_partition_and_agree_with_the_words(
    generator: torch.Generator,
) -> None:
    azimuth = torch.rand(1000, generator=generator) * 720 - 360
    elevation = torch.rand(1000, generator=generator) * 180 - 90
    weights = view_weights(azimuth, elevation)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1000))
    low = elevation <= 60  # where both rules choose among the same three views
    assert torch.equal(weights[low].argmax(-1), view_index(azimuth, elevation)[low])


def test_heading() -> None:
    azimuth = torch.tensor([0.0, 10.0, 350.0, 180.0, 190.0, -90.0])
    assert heading(azimuth).tolist() == [0.0, 10.0, 10.0, 180.0, 170.0, 90.0]


def test_perp_neg_uses_front_and_side() -> None:
    azimuth = torch.tensor([0.0, 90.0, 180.0, 270.0, 20.0, 20.0])
    elevation = torch.tensor([0.0, 0.0, 0.0, 30.0, 67.5, 90.0])
    near, far = perp_neg_views(azimuth)
    assert {VIEW_WORDS[int(i)] for i in near} == {"front"}
    assert {VIEW_WORDS[int(i)] for i in far} == {"side"}
    front, side = perp_neg_weights(azimuth, elevation)
    most, back = 4.0 * (1.0 - 0.60653), 1.0 - 0.60653
    torch.testing.assert_close(
        front[:4], torch.tensor([0, most, most + back, most]), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(side[:4], torch.tensor([most, 0, back, 0]), rtol=1e-4, atol=1e-6)
    level = perp_neg_weights(azimuth[4:5], torch.zeros(1))
    torch.testing.assert_close(torch.stack([front, side])[:, 4:5], 0.5 * level)
    assert float(front[5]) == float(side[5]) == 0.0


def test_perp_neg_weights_are_continuous_and_never_negative() -> None:
    azimuth = torch.arange(0, 360, 0.25, dtype=torch.float64)
    weights = perp_neg_weights(azimuth, torch.zeros_like(azimuth))
    assert float(weights.min()) > -1e-9
    assert float((weights - weights.roll(1, 1)).abs().max()) < 0.01
    mirrored = perp_neg_weights(-azimuth, torch.zeros_like(azimuth))
    torch.testing.assert_close(weights, mirrored)
