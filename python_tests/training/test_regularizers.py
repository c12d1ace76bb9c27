"""Regularisers at inputs whose value or gradient is known."""

from __future__ import annotations

import math

import pytest
import torch

from dfast.training import regularizers


def test_opacity_regulariser() -> None:
    """0.1 at o = 0, 1.00499 at o = 1, gradient o / sqrt(o^2 + 0.01)."""
    for o, expected in ((0.0, 0.1), (1.0, 1.0049876)):
        opacity = torch.tensor([o], requires_grad=True)
        value = regularizers.opacity(opacity)
        value.backward()
        assert float(value.detach()) == pytest.approx(expected, rel=1e-6)
        assert float(opacity.grad) == pytest.approx(o / math.sqrt(o * o + 0.01), rel=1e-6)


def test_orientation_is_a_mean_over_rays() -> None:
    assert float(regularizers.orientation(torch.tensor([0.5, 0.0]))) == pytest.approx(0.25)
    assert float(regularizers.orientation(torch.empty(0))) == 0.0


def test_entropy_and_total_variation() -> None:
    assert float(regularizers.entropy(torch.tensor([0.5]))) == pytest.approx(1.0)
    assert float(regularizers.entropy(torch.tensor([0.0, 1.0]))) < 0.02
    steps = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert float(regularizers.total_variation(steps)) == pytest.approx(1.0)
