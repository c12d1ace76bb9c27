"""Guidance by a CLIP: what it sees, its gradient, and that images follow it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tiny_clip
import torch
from torch import Tensor

from dfast.clip import ClipEncoder, load_clip
from dfast.guidance.augment import DREAM_FIELDS
from dfast.guidance.clip import Augmentation, ClipGuidance

PROMPT = "a red chair"
BATCH: Any = None  # a CLIP reads nothing of it


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return load_clip(str(tiny_clip.folder()), "cpu")


def guidance(encoder: ClipEncoder, **options: Any) -> ClipGuidance:
    return ClipGuidance(encoder, PROMPT, Augmentation(DREAM_FIELDS, (0.0, 2.0), **options))


def seen(image: Tensor, opacity: Tensor) -> Any:
    return SimpleNamespace(image=image, opacity=opacity)


def test_the_object_covers_the_background(encoder: ClipEncoder) -> None:
    opacity = torch.zeros(1, 1, 40, 40)
    opacity[..., 20:] = 1.0
    colors = torch.tensor([[0.2, 0.4, 0.6]])
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    image = opacity * red + (1 - opacity) * colors[:, :, None, None]
    encoded = guidance(encoder, crops=6).encode(
        seen(image, opacity), colors, torch.Generator().manual_seed(0)
    )
    size = encoder.image_size
    assert encoded.shape == (6, 3, size, size)
    torch.testing.assert_close(encoded[..., -size // 3 :], red.expand(6, 3, size, size // 3 + 1))
    left = encoded[..., : size // 3]
    assert not torch.allclose(left[0], left[1])  # of the crops' own backgrounds
    assert float((left - colors[:, :, None, None]).abs().amax((1, 2, 3)).min()) > 0.05


def test_the_gradient_is_that_of_the_mean_cosine(encoder: ClipEncoder) -> None:
    guide = guidance(encoder)
    x = torch.rand(3, 3, encoder.image_size, encoder.image_size).requires_grad_()
    cosine = (encoder.encode_images(x) @ encoder.encode_text([PROMPT])[0]).mean()
    (expected,) = torch.autograd.grad(-cosine, x)
    found = guide.gradient(x, BATCH, torch.Generator())
    torch.testing.assert_close(found / (3 * x[0, 0].numel()), expected)
    assert float(guide.metrics()["similarity"]) == pytest.approx(float(cosine.detach()))
    assert found.requires_grad is False


def test_an_image_moves_towards_the_text(encoder: ClipEncoder) -> None:
    guide, generator = guidance(encoder, crops=4, crop_size=0.9), torch.Generator().manual_seed(0)
    logits = torch.zeros(1, 3, 36, 36, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.1)
    found = []
    for _ in range(30):
        whole = seen(logits.sigmoid(), torch.ones(1, 1, 36, 36))
        x = guide.encode(whole, torch.zeros(1, 3), generator)
        gradient = guide.gradient(x, BATCH, generator)
        adam.zero_grad()
        (gradient * x).sum().backward()
        adam.step()
        found.append(float(guide.metrics()["similarity"]))
    assert sum(found[-5:]) / 5 > sum(found[:5]) / 5 + 0.2
