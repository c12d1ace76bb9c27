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


def _ball(lumps: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return normals [1, 3, 32, 32], opacity and depth of a ball seen from afar, with lumps."""
    line = torch.linspace(-1.2, 1.2, 32)
    y, z = torch.meshgrid(line, line, indexing="ij")
    inside = (y.square() + z.square() < 1).float()
    x = (1 - y.square() - z.square()).clamp(min=0).sqrt()
    tilt = lumps * torch.sin(9 * y) * torch.sin(9 * z)
    normal = torch.nn.functional.normalize(torch.stack([x, y + tilt, z + tilt]), dim=0) * inside
    return normal[None], inside[None, None], ((3 - x) * inside)[None, None]


def test_lumps_cost_more_than_a_ball_and_following_the_gradient_flattens_them() -> None:
    smooth, opacity, depth = _ball(0.0)
    lumpy = _ball(0.3)[0].requires_grad_()
    pair = (smooth, lumpy.detach())
    costs = [float(regularizers.normal_variation(n, opacity, depth)) for n in pair]
    assert costs[1] > 1.5 * costs[0] > 0.0
    normal = lumpy
    for _ in range(60):
        cost = regularizers.normal_variation(normal, opacity, depth)
        (gradient,) = torch.autograd.grad(cost, normal)
        normal = (normal - 3.0 * gradient).detach().requires_grad_()
    error = [(n - smooth).square().sum(1).mean() for n in (lumpy, normal)]
    assert error[1] < 0.7 * error[0]


def test_an_edge_costs_little_to_keep_and_a_step_in_depth_nothing() -> None:
    normal = torch.zeros(1, 3, 8, 8)
    normal[:, 0, :, :4], normal[:, 2, :, 4:] = 1.0, 1.0
    full, flat = torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 3.0)
    # The slope in the difference d of two normals, at a right angle and at 10 degrees.
    slopes = []
    for angle in (90.0, 10.0):
        turn = torch.tensor(math.radians(angle), requires_grad=True)
        side = torch.stack([turn.cos(), torch.zeros(()), turn.sin()]).view(1, 3, 1, 1)
        pair = torch.cat([normal[..., :4], side.expand(1, 3, 8, 4)], 3)
        regularizers.normal_variation(pair, full, flat).backward()
        slopes.append(float(turn.grad))
    assert 0.0 < slopes[0] < 0.05 * slopes[1]
    step = flat.clone()
    step[..., 4:] += 0.5
    assert float(regularizers.normal_variation(normal, full, step)) == 0.0


def test_darkness_brightens_unlit_images_alone_and_moves_no_opacity() -> None:
    image = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    opacity = torch.full((2, 1, 4, 4), 0.25, requires_grad=True)
    value = regularizers.darkness(image, opacity, torch.tensor([1.0, 0.0]))
    value.backward()
    assert float(value.detach()) == pytest.approx(-3 * 0.5 * 0.25 / 2) and opacity.grad is None
    assert torch.equal(image.grad[1], torch.zeros(3, 4, 4))
    assert_all = torch.full((3, 4, 4), -0.25 / 32)
    torch.testing.assert_close(image.grad[0], assert_all)


def test_transmittance_counts_up_to_its_target() -> None:
    opacity = torch.zeros(2, 1, 4, 4)
    opacity[0], opacity[1] = 0.5, 0.1
    opacity.requires_grad_()
    value = regularizers.transmittance(opacity, torch.tensor([0.2, 0.2]))
    assert float(value.detach()) == pytest.approx(-(0.5 + 0.8) / 2)
    value.backward()
    assert opacity.grad is not None
    assert float(opacity.grad[0].sum()) == pytest.approx(0.5)
    assert float(opacity.grad[1].abs().sum()) == 0.0  # clear enough
