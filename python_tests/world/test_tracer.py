"""Sphere-traced views of procedural scenes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from procedural import scene_of, views

from dfast.world import tracer
from dfast.world.nouns.classics import FIRST, SOLIDS
from dfast.world.parts import PALETTE


@pytest.mark.parametrize("name", [*SOLIDS, *FIRST, "truck", "dog", "bowl"])
def test_only_objects_with_a_front_look_different_from_behind(name: str) -> None:
    front, back = tracer.render_scene(scene_of(name), views(0.0, 180.0), 48)
    pixels = ((front - back).abs().amax(0) > 0.2).sum()
    assert (pixels > 20) == scene_of(name).has_front


@pytest.mark.parametrize("caption", ["a red chair", "a torus on top of a cube", "a duck"])
def test_tracer_agrees_with_the_distance(caption: str) -> None:
    scene, camera, size = scene_of(caption), views(35.0), 40
    table = type(scene.table)(*(t[None] for t in scene.table))
    buffer = tracer.trace(table, camera, size)
    seen = (buffer.part[0] != tracer.EMPTY).flatten()
    origins, directions = camera.rays(size)
    t = torch.linspace(2.0, 4.0, 401)
    points = origins[:, None] + t[:, None] * directions[:, None]
    along = scene.sdf(points.view(-1, 3))[0].view(len(origins), -1)
    nearest = along.min(1).values
    assert seen[nearest < -0.005].all() and not seen[nearest > 0.01].any()
    # Clear of edges, the part and the normal are those of the first point inside.
    clear = seen & (nearest < -0.02)
    first = (along <= 0).int().argmax(1)
    x = points[torch.arange(len(first)), first][clear].requires_grad_()
    distance, part = scene.sdf(x)
    (slope,) = torch.autograd.grad(distance.sum(), x)
    assert (part == buffer.part.flatten()[clear]).float().mean() > 0.95
    normal = buffer.normal.view(-1, 3)[clear].float() / 127
    cosine = (normal * F.normalize(slope, dim=-1)).sum(-1)
    assert cosine.median() > 0.999 and (cosine > 0.95).float().mean() > 0.9


def test_left_and_right_as_seen_from_the_front() -> None:
    scene = scene_of("a red sphere next to a blue cube")
    front, back = tracer.render_scene(scene, views(0.0, 180.0), 32)
    red, blue = (torch.tensor(PALETTE[c])[:, None, None] for c in ("red", "blue"))
    for image, left, right in ((front, red, blue), (back, blue, red)):
        halves = image[..., :13], image[..., 19:]
        for half, color, other in zip(halves, (left, right), (right, left), strict=True):
            assert ((half - color).abs().amax(0) < 0.02).sum() > 20
            assert ((half - other).abs().amax(0) < 0.02).sum() == 0


def test_light_and_background() -> None:
    sphere, above = scene_of("a white sphere"), torch.tensor([[0.0, 0.0, 1.0]])
    image = tracer.render_scene(
        sphere, views(0.0, elevation=0.0), 32, light=above, ambient=0.2, background=(0.0, 0.5, 1.0)
    )[0]
    assert image[:, 0, 0].tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert image[0, 10, 16] > 0.5  # lit from above
    assert image[0, 22, 16] == pytest.approx(0.2 * PALETTE["white"][0], abs=1e-6)
