"""The solids of the procedural world: volumes, signed distances, colours."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import pytest
import torch
import torch.nn.functional as F
from procedural import SENTENCES, scene_of
from torch import Tensor

from dfast.world.nouns.classics import SOLIDS
from dfast.world.parts import PALETTE, Part
from dfast.world.scenes import PartTable, part_table, table_distance

VOLUMES: dict[str, Callable[..., float]] = {
    "sphere": lambda a, b, c: 4 / 3 * pi * a * b * c,
    "cube": lambda a, b, c: 8 * a * b * c,
    "cylinder": lambda a, b, c: 2 * pi * a * a * c,
    "cone": lambda a, b, c: 2 / 3 * pi * c * (a * a + a * b + b * b),
    "torus": lambda a, b, c: 2 * pi**2 * a * b * b,
    "capsule": lambda a, b, c: 2 * pi * a * a * b + 4 / 3 * pi * a**3,
}


def uniform(n: int, seed: int = 0) -> Tensor:
    """Return points [n, 3] in the cube [-1, 1]^3."""
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("name", SOLIDS)
def test_volume_is_the_textbooks(name: str) -> None:
    n = 200_000
    inside = scene_of(name).occupancy(uniform(n)).float().mean().item()
    truth = VOLUMES[name](*SOLIDS[name].parts[0].size) / 8
    assert abs(inside - truth) < 4 * sqrt(truth * (1 - truth) / n)


@pytest.mark.parametrize("name", SOLIDS)
def test_distances_are_exact(name: str) -> None:
    x = uniform(2000).double().requires_grad_()
    distance, _ = scene_of(name).sdf(x)
    (slope,) = torch.autograd.grad(distance.sum(), x)
    # The distance along the slope leads to the surface: where it does, the distance is true.
    foot = x - distance[:, None] * slope
    torch.testing.assert_close(slope.norm(dim=-1), torch.ones_like(distance))
    assert scene_of(name).sdf(foot)[0].abs().max() < 1e-6


@pytest.mark.parametrize("caption", SENTENCES)
def test_objects_fit_the_sphere_and_touch_the_middle(caption: str) -> None:
    x = uniform(20_000)
    scene = scene_of(caption)
    inside = x[scene.occupancy(x)]
    assert len(inside) > 200 and inside.norm(dim=-1).max() < 1.0
    rim = F.normalize(x, dim=-1) * 1.0005
    assert scene.sdf(rim)[0].min() > 0
    assert torch.equal(scene.occupancy(x), scene.sdf(x)[0] <= 0)


def test_batched_distances_are_the_scenes_own() -> None:
    scenes, x = [scene_of(s) for s in SENTENCES], uniform(300)
    most = max(len(s.parts) for s in scenes)
    tables = [part_table(s.parts, most, s.placements) for s in scenes]
    table = PartTable(*(torch.stack(f) for f in zip(*tables, strict=True)))
    distance, part = table_distance(table, x.expand(len(scenes), -1, -1))
    for row, scene in enumerate(scenes):
        own, nearest = scene.sdf(x)
        torch.testing.assert_close(distance[row], own, rtol=1e-5, atol=1e-6)
        assert (part[row] == nearest).float().mean() > 0.99  # ties may fall either way


@pytest.mark.parametrize("caption", SENTENCES[::3])
def test_distance_is_the_same_where_it_is_not_differentiated(caption: str) -> None:
    scene, x = scene_of(caption), uniform(2000).double()
    distance, part = scene.sdf(x)
    expected, expected_part = scene.sdf(x.requires_grad_())
    assert expected.requires_grad and not distance.requires_grad
    torch.testing.assert_close(distance, expected.detach(), rtol=0, atol=1e-13)
    assert (part == expected_part).double().mean() > 0.999  # ties may fall either way
    (slope,) = torch.autograd.grad(expected.sum(), x)
    forward = torch.func.vmap(torch.func.grad(lambda v: scene.sdf(v[None])[0][0]))(x[:20].detach())
    torch.testing.assert_close(forward, slope[:20])


def test_whole_numbers_make_no_integer_table() -> None:
    table = part_table([Part("box", (0, 0, 0), (1, 1, 1))], 1)
    assert {t.dtype for t in table[1:]} == {torch.float32}


def test_part_colors_follow_the_caption() -> None:
    scene = scene_of("a snowman with a purple hat")
    hat, belly = torch.tensor([[0.0, 0.0, 0.6]]), torch.tensor([[0.0, 0.0, -0.5]])
    assert scene.albedo(hat).tolist() == [pytest.approx(PALETTE["purple"])]
    assert scene.albedo(belly).tolist() == [pytest.approx(PALETTE["white"])]
    stack = scene_of("a green cone on top of a yellow cube")
    up = torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, -0.3]])
    assert stack.albedo(up).tolist() == [pytest.approx(PALETTE[c]) for c in ("green", "yellow")]
