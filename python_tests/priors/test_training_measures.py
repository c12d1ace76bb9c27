"""The measurement of the embedded prior: what is asked, the classifier, sampling."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from training_pool import small_pool

from dfast.priors.embedded.model import build_scheduler
from dfast.priors.embedded.training import classify
from dfast.priors.embedded.training.classifier import (
    Classifier,
    ask,
    load_classifier,
    save_classifier,
)
from dfast.priors.embedded.training.classify import (
    ClassifierTraining,
    Options,
    accuracy,
    make_classifier,
    train_classifier,
)
from dfast.priors.embedded.training.measure import Setting, denoiser, measure, sample
from dfast.priors.embedded.training.networks import Denoiser
from dfast.priors.embedded.training.pool import Batch, Odds
from dfast.priors.embedded.training.questions import (
    LEAST_PIXELS,
    NOUN_PIXELS,
    Attributes,
    labels,
    right,
)
from dfast.priors.embedded.training.situations import Situations
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")
CHANNELS = (16, 16, 16, 16)
"""Of a small classifier."""


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
            assert bool(asked.noun[b, i]) == bool(s.noun[b, i] >= 0 and things[b, i] >= NOUN_PIXELS)
            assert truth.size[b, i] == (s.size[b, i] if s.size[b, i] >= 0 else len(SIZES))
            assert int(truth.pattern[b, i]) <= len(PATTERNS)
            main, other = truth.color[b, 2 * i].tolist()
            assert main == batch.colors[b, 2 * i]
            assert other == (batch.second[b, i] if batch.pattern[b, i] >= 0 else main)
            assert truth.color[b, 2 * i + 1].tolist() == 2 * [int(batch.colors[b, 2 * i + 1])]
    hit = (pool.buffer.part != 255).flatten(1).sum(1)
    assert torch.equal(things.sum(1), hit) and bool((slots.sum(1) <= hit).all())
    plain = batch.colors[:, 0] == pool.things.palette.shape[0] - 1
    assert plain.any() and not asked.color[plain].any()


def test_three_are_counted_where_three_are_seen() -> None:
    pool = small_pool()
    every = torch.arange(len(pool))
    _, asked = labels(pool, pool.batch(len(pool), chosen=every))
    seen, things = pool.visible_instances(every), pool.visible(every)[1]
    assert torch.equal(seen.sum(1) - things.sum(1), torch.zeros_like(every))
    used = pool.situations.instances
    assert bool((seen[:, 0] > 0).any()) and not seen[used < 3, 2].any()
    for b in range(len(pool)):
        if asked.number[b, 0]:
            assert int((seen[b] >= LEAST_PIXELS).sum()) == used[b]
    assert asked.number[used > 1].any()


def test_sizes_are_asked_for_where_they_are_seen() -> None:
    """A long thing is not seen to be long from its front, nor a big one that is as large anyway."""
    pool, names = small_pool(), list(SIZES)
    batch = pool.batch(len(pool), chosen=torch.arange(len(pool)))
    whole = pool.situations
    first = pool.things.names.index("chair")
    noun = torch.stack([torch.full_like(whole.relation, first), whole.noun[:, 1]], 1)

    def asked(size: str, azimuth: float, scale: float = 1.0, number: int = 1) -> bool:
        def all_of(value: int) -> Tensor:
            return torch.full_like(whole.size, value)

        changed = whole._replace(
            size=all_of(names.index(size)),
            noun=noun,
            scale=torch.full_like(whole.scale, scale),
            relation=all_of(-1)[:, 0],
            number=all_of(number)[:, 0],
        )
        camera = [torch.full_like(pool.camera[0], azimuth), torch.zeros_like(pool.camera[1])]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool, "situations", Situations(*changed))
            patch.setattr(pool, "camera", [*camera, *pool.camera[2:]])
            return bool(labels(pool, batch)[1].size[:, 0].any())

    assert asked("long", 90.0) and not asked("long", 5.0)
    assert asked("wide", 180.0) and not asked("thin", 90.0) and asked("tall", 40.0)
    assert asked("big", 0.0, scale=1.5) and not asked("big", 0.0)
    assert asked("small", 0.0) and not asked("small", 0.0, number=2)


def test_both_colours_of_a_pattern_must_be_found_in_any_order() -> None:
    pool = small_pool()
    truth, _ = labels(pool, pool.batch(1))
    logits = Attributes(
        *(F.one_hot(t, 40).float() for t in truth._replace(color=truth.color[..., 0]))
    )
    scores = torch.zeros(1, 4, 40)
    scores[0, :, 7], scores[0, :, 3] = 2.0, 1.0
    for pair, expected in (([3, 7], 1), ([7, 3], 1), ([7, 7], 1), ([3, 3], 0), ([7, 9], 0)):
        answer = truth._replace(color=torch.tensor([[pair] * 4]))
        assert right(logits._replace(color=scores), answer).color.tolist() == [[bool(expected)] * 4]


@torch.no_grad()
def test_only_what_belongs_to_a_thing_is_found_with_its_noun() -> None:
    pool = small_pool()
    batch = pool.batch(4)
    truth, _ = labels(pool, batch)
    torch.manual_seed(0)
    model = Classifier(len(pool.things.names), CHANNELS).eval()
    camera = torch.randn(4, 14)
    nouns = torch.tensor([[0, 1], [2, -1], [3, 3], [4, 5]])
    first, other = (model(batch.image, camera, n) for n in (nouns, (nouns + 2) % 8))
    for found, label in zip(first, truth, strict=True):
        assert found.shape[:2] == label.shape[:2] and int(label.max()) < found.shape[-1]
    for name in Attributes._fields:
        same = torch.equal(getattr(first, name), getattr(other, name))
        assert same == (name not in ("color", "pattern", "size")), name
    turned = model(batch.image, -camera, nouns)
    assert torch.equal(turned.view, first.view) and not torch.equal(turned.noun, first.noun)


def test_a_classifier_learns_and_is_saved(tmp_path: Path) -> None:
    pool = small_pool()
    training = ClassifierTraining(Options(tmp_path, 1.0, 32, 0, 3e-3, 0), pool, CHANNELS)
    training.warmup = 1
    losses = [float(training.train_step(0.0)) for _ in range(12)]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    made, names = training.finish(), pool.things.names
    file = tmp_path / "folder" / "classifier.safetensors"
    save_classifier(made, names, file)
    found, batch = load_classifier(file, names, CPU), pool.batch(4)
    with torch.no_grad():
        for a, b in zip(*(ask(m, pool, batch, batch.image) for m in (made, found)), strict=True):
            torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)
    with pytest.raises(ValueError, match="classifier: expected one of the world's 7 nouns"):
        load_classifier(file, names[1:], CPU)


def test_a_made_classifier_is_the_one_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, file = small_pool(), tmp_path / "classifier.safetensors"
    monkeypatch.setattr(classify, "open_pool", lambda *_, **__: pool)
    small = partial(train_classifier, channels=CHANNELS)
    monkeypatch.setattr(classify, "train_classifier", small)
    made = make_classifier(file, CPU, 1e-3, len(pool), 2).state_dict()
    found = load_classifier(file, pool.things.names, CPU).state_dict()
    assert found.keys() == made.keys() and len(made) > 50
    for name, values in made.items():
        assert torch.equal(found[name], values.half().float()), name


def test_samples_are_measured_beside_the_truth() -> None:
    pool, scheduler = small_pool(), build_scheduler()
    model = train_classifier(pool, 1e-3, 8, CHANNELS)
    assert set(accuracy(model, pool, 8)) == set(Attributes._fields)

    def gray(z: Tensor, t: Tensor, given: Batch, scale: float) -> Tensor:
        return torch.zeros_like(z)

    row = measure(model, pool, gray, scheduler, Setting(False, True, True, 1.0), 8)
    assert json.loads(json.dumps(row)) == row
    for key in ("accuracy", "classifier_on_truth", "accuracy_where_truth_is_read", "asked"):
        assert set(row[key]) == set(Attributes._fields)


@pytest.mark.gpu
def test_a_classifier_learns_in_cuda_graphs(tmp_path: Path, needs_cuda: None) -> None:
    pool = small_pool("cuda")
    training = ClassifierTraining(Options(tmp_path, 1.0, 64, 0, 1e-3, 0), pool, CHANNELS)
    training.capture()
    losses = [float(training.train_step(0.0)) for _ in range(200)]
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20]) and int(training.dropped) == 0


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
    predict = [denoiser(m.eval()) for m in (plain, guided)]
    text, of_distilled = (p(z, t, batch, 0.0) for p in predict)
    assert torch.allclose(text, of_distilled, atol=1e-5)
    twice = plain(z, t, torch.zeros_like(batch.tokens), batch.camera, batch.rays)
    assert torch.allclose(predict[0](z, t, batch, 3.0), 4 * text - 3 * twice, atol=1e-4)
    torch.nn.init.normal_(guided.unet.time_embedding.cond_proj.weight, std=5.0)
    assert not torch.allclose(predict[1](z, t, batch, 3.0), text, atol=1e-3)
