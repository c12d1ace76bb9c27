"""The measurement of the embedded prior: labels, what is asked, sampling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from training_pool import small_pool

from dfast.priors.embedded.model import build_scheduler
from dfast.priors.embedded.training.classifier import (
    LEAST_PIXELS,
    Attributes,
    Classifier,
    labels,
    right,
    true_camera,
)
from dfast.priors.embedded.training.measure import denoiser, sample
from dfast.priors.embedded.training.networks import Denoiser
from dfast.priors.embedded.training.pool import Batch, Odds
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES

pytestmark = pytest.mark.usefixtures("needs_native")


def test_labels_are_what_was_drawn_and_seen() -> None:
    pool = small_pool()
    batch = pool.batch(len(pool), odds=Odds(textureless=0.2), chosen=torch.arange(len(pool)))
    truth, asked = labels(pool, batch)
    s = pool.situations
    slots, things = pool.visible(batch.chosen)
    for b in range(len(pool)):
        two = bool(s.relation[b] >= 0)
        assert not asked.noun[b, 1] or two
        assert truth.relation[b, 0] == (s.relation[b] if two else len(RELATIONS))
        assert truth.number[b, 0] == s.number[b] - 1
        for i in range(2):
            assert bool(asked.noun[b, i]) == bool(
                s.noun[b, i] >= 0 and things[b, i] >= LEAST_PIXELS
            )
            assert truth.size[b, i] == (s.size[b, i] if s.size[b, i] >= 0 else len(SIZES))
            assert int(truth.pattern[b, i]) <= len(PATTERNS)
    hit = (pool.buffer.part != 255).flatten(1).sum(1)
    assert torch.equal(things.sum(1), hit) and bool((slots.sum(1) <= hit).all())
    plain = batch.colors[:, 0] == pool.things.palette.shape[0] - 1
    assert plain.any() and not asked.color[plain].any()


def test_a_classifier_has_logits_for_every_attribute() -> None:
    pool = small_pool()
    batch = pool.batch(4)
    truth, _ = labels(pool, batch)
    model = Classifier(len(pool.things.names)).eval()
    logits = model(batch.image, true_camera(pool, batch))
    for found, label in zip(logits, truth, strict=True):
        assert found.shape[:2] == label.shape and int(label.max()) < found.shape[-1]
    perfect = Attributes(
        *(torch.nn.functional.one_hot(t, f.shape[-1]) for f, t in zip(logits, truth, strict=True))
    )
    assert all(bool(ok.all()) for ok in right(perfect, truth))


def test_sampling_from_a_perfect_prior_gives_its_image() -> None:
    pool, scheduler = small_pool(), build_scheduler()
    batch = pool.batch(2)
    data = batch.image * 2 - 1

    def denoise(z: Tensor, t: Tensor, given: Batch, scale: float) -> Tensor:
        assert given is batch and scale == 2.0
        alpha = scheduler.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - scheduler.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1)
        return alpha * (z - alpha * data) / sigma - sigma * data

    image = sample(denoise, scheduler, batch, 2.0, torch.Generator().manual_seed(0))
    assert float((image - batch.image).abs().max()) < 0.02


@torch.no_grad()
def test_a_distilled_network_is_called_once_and_told_the_scale() -> None:
    torch.manual_seed(0)
    # Groups of two channels: normalised alone, a channel would forget what is added to it.
    batch, channels = small_pool().batch(2), (16, 16, 16, 16)
    plain, guided = Denoiser(channels), Denoiser(channels, guided=True)
    guided.load_state_dict(plain.state_dict(), strict=False)
    z, t = torch.randn(batch.image.shape), torch.tensor([100, 900])
    predict = [denoiser(m.unet.eval(), m.text_encoder.eval()) for m in (plain, guided)]
    text, of_distilled = (p(z, t, batch, 0.0) for p in predict)
    assert torch.allclose(text, of_distilled, atol=1e-5)
    twice = plain(z, t, torch.zeros_like(batch.tokens), batch.camera, batch.rays)
    assert torch.allclose(predict[0](z, t, batch, 3.0), 4 * text - 3 * twice, atol=1e-4)
    torch.nn.init.normal_(guided.unet.time_embedding.cond_proj.weight, std=5.0)
    assert not torch.allclose(predict[1](z, t, batch, 3.0), text, atol=1e-3)
