"""Scores by a CLIP on embeddings whose answers are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast.evaluation import clip_metrics
from dfast.evaluation.clip_views import JANUS, icosphere

EYE = torch.eye(4)


def test_prompts_are_written_as_dream_fields_does() -> None:
    assert clip_metrics.normalized(" A Red chair, . ") == "a red chair."
    assert clip_metrics.normalized("a red chair.") == "a red chair."
    assert clip_metrics.view_texts("a red chair.")[2] == "a red chair, back view"


def test_retrieval_counts_the_views_whose_nearest_text_is_their_own() -> None:
    images = EYE[[0, 1, 0, 2]]
    assert clip_metrics.r_precision(images, EYE, 0) == 0.5
    assert clip_metrics.r_precision(images, EYE, 3) == 0.0


def test_retrieval_without_meaning_is_at_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    images = normalize(torch.randn(4000, 8, generator=generator), dim=1)
    texts = normalize(torch.randn(10, 8, generator=generator), dim=1)
    shares = [clip_metrics.r_precision(images, texts, own) for own in range(10)]
    assert sum(shares) == pytest.approx(1.0) and max(shares) < 0.3


def test_similarity_is_the_mean_cosine() -> None:
    text = normalize(torch.tensor([1.0, 1.0, 0.0, 0.0]), dim=0)
    assert clip_metrics.similarity(EYE, text) == pytest.approx(0.5 * 2**-0.5)


def test_one_lucky_camera_does_not_decide() -> None:
    neighbours = icosphere()[1]
    cosines = torch.zeros(5, 162)
    cosines[3, 7] = 1.0  # one camera, one field of view
    lucky = clip_metrics.t3bench_quality(cosines, neighbours)
    cosines[2, neighbours[7]] = 1.0  # and all around it, by another field of view
    wide = clip_metrics.t3bench_quality(cosines, neighbours)
    assert 1 / 7 > lucky > 0.02 and wide > 3 * lucky
    assert clip_metrics.t3bench_quality(torch.full((5, 162), 0.3), neighbours) == pytest.approx(0.3)


def test_smoothing_is_three_means_over_neighbours() -> None:
    neighbours = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)
    score = torch.tensor([6.0, 0.0, 0.0])
    for _ in range(3):
        a, b, c = score
        score = torch.stack([(a + b) / 2, (a + b + c) / 3, (b + c) / 2])
    found = clip_metrics.t3bench_quality(torch.tensor([[6.0, 0.0, 0.0]]), neighbours)
    assert found == pytest.approx(float(score.max()))


def _seen_as(words: list[int]) -> Tensor:
    """Return embeddings of the views of `JANUS` that read as these words."""
    return EYE[words][:, :3]


TRUE = [0, 0, 1, 1, 1, 2, 2, 2, 1, 1, 1, 0]
"""Words of the azimuths 0, 30, ... 330; 45 and 135 degrees divide them."""


def test_an_object_with_all_its_sides() -> None:
    found = clip_metrics.janus(_seen_as(TRUE), EYE[:3, :3], JANUS.azimuths)
    assert found.back_as_front == found.wrong == 0.0
    assert found.view_similarity == 1.0
    assert found.confusion == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_an_object_with_two_faces() -> None:
    words = [0 if word == 2 else word for word in TRUE]
    words[6] = 1
    found = clip_metrics.janus(_seen_as(words), EYE[:3, :3], JANUS.azimuths)
    assert found.back_as_front == pytest.approx(2 / 3)
    assert found.wrong == pytest.approx(3 / 12)
    assert found.confusion[2] == pytest.approx((2 / 3, 1 / 3, 0))
    assert found.view_similarity == pytest.approx(9 / 12)
