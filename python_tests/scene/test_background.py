"""Backgrounds: constant, random and learned."""

from __future__ import annotations

import torch

from dfast.config import BackgroundConfig
from dfast.scene.background import Background


def test_backgrounds(generator: torch.Generator) -> None:
    directions = torch.nn.functional.normalize(torch.randn(8, 3, generator=generator), dim=-1)
    random = Background(BackgroundConfig(kind="random"))
    colors = random.sample_colors(2, generator)
    assert torch.equal(random(directions, colors)[:4], colors[:1].expand(4, 3))
    learned = Background(BackgroundConfig(kind="mlp"), generator)
    values = learned(directions, colors)
    assert values.shape == (8, 3) and (values >= 0).all() and (values <= 1).all()
    assert len(list(learned.parameters())) == 4 and not list(random.parameters())
