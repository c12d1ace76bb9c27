"""The embedded CLIP: its tokenizer and captions, a step of its training, the folder it writes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from training_pool import small_pool

from dfast.clip import load_clip
from dfast.clip.captions import Captions, all_words
from dfast.clip.loss import contrastive_loss
from dfast.clip.networks import TEXT_LENGTH, build_tokenizer
from dfast.clip.training import ClipTraining, Options
from dfast.priors.embedded.training.networks import words
from dfast.world.sentence import vocabulary

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")


def training(out: Path, batch: int = 6, rate: float = 1e-3) -> ClipTraining:
    return ClipTraining(Options(out, 1.0, batch, 0, rate, 0), small_pool())


@pytest.fixture(scope="module")
def captions() -> Captions:
    """Captions of a tokenizer of the whole world."""
    return Captions(words(), build_tokenizer(all_words(words())), CPU)


def test_every_word_is_one_token() -> None:
    tokenizer = build_tokenizer(all_words(words()))
    for word in (*vocabulary(), "a", "an", "chairs", "mice"):
        assert tokenizer.tokenize(word) == [f"{word}</w>"], word
    assert tokenizer.tokenize("A red Chair, front view.") == [
        "a</w>", "red</w>", "chair</w>", ",</w>", "front</w>", "view</w>", ".</w>",
    ]  # fmt: skip
    assert tokenizer.unk_token not in tokenizer.tokenize("über zorgblat 7%")


@pytest.mark.parametrize(
    ("row", "full", "bare"),
    [
        ("red chair", "a red chair", "red chair"),
        ("orange dog back view", "an orange dog, back view", "orange dog, back view"),
        ("red dog with blue hat", "a red dog with a blue hat", "red dog with blue hat"),
        ("red dog with blue wings", "a red dog with blue wings", "red dog with blue wings"),
        ("two red mug with blue handle", "two red mugs with blue handles", None),
        ("red cup in front of orange cup", "a red cup in front of an orange cup", None),
        ("red cat next to red cup", "a red cat next to a red cup", "red cat next to red cup"),
    ],
)
def test_captions_are_written_as_people_do(
    captions: Captions, row: str, full: str, bare: str | None
) -> None:
    ids = [words()[word] for word in row.split()]
    rows = torch.tensor([ids + [0] * (24 - len(ids))]).expand(64, -1)
    found = captions(rows, torch.Generator().manual_seed(0))
    tokenizer = build_tokenizer(all_words(words()))
    expected = {text for plain in (full, bare or full) for text in (plain, f"{plain}.")}
    encoded = tokenizer(sorted(expected), padding="max_length", max_length=TEXT_LENGTH).input_ids
    assert {tuple(r) for r in found.tolist()} >= {tuple(r) for r in encoded}
    if bare is not None:
        assert len({tuple(r) for r in found.tolist()}) == 4


def test_the_loss_is_that_of_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (F.normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in "ab")
    distinct = torch.arange(15).view(5, 3)
    logits, own = 7 * images @ texts.mT, torch.arange(5)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.mT, own)) / 2
    found = contrastive_loss(images, texts, distinct, torch.tensor(7.0))
    torch.testing.assert_close(found, expected)
    perfect = contrastive_loss(images, images, distinct, torch.tensor(1e3))
    assert float(perfect) < 1e-3


def test_equal_captions_are_no_wrong_answers() -> None:
    images = torch.eye(4)[[0, 1, 0]]
    rows = torch.tensor([[5, 6, 0], [7, 0, 0], [5, 6, 0]])
    found = contrastive_loss(images, images, rows, torch.tensor(50.0))
    assert float(found) < 1e-6
    apart = contrastive_loss(images, images, torch.arange(9).view(3, 3), torch.tensor(50.0))
    assert float(apart) == pytest.approx(2 / 3 * math.log(2), rel=1e-4)


def _parameters(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_steps_learn_and_a_checkpoint_continues_them(tmp_path: Path) -> None:
    first = training(tmp_path, rate=0.2)  # the warm-up divides it by 500
    before = _parameters(first.model)
    losses = [float(first.train_step(0.0)) for _ in range(8)]
    assert losses[0] == pytest.approx(math.log(6), rel=0.5)
    assert sum(losses[-2:]) < sum(losses[:2])
    still = [n for n, p in first.model.named_parameters() if torch.equal(p, before[n])]
    assert all("k_proj.bias" in name for name in still), still  # a softmax does not feel them
    first.checkpoint.save(first.step, 0.5)
    second = training(tmp_path)
    assert (second.step, second.spent) == (8, 0.5)
    for name, p in second.model.named_parameters():
        assert torch.equal(p, first.model.get_parameter(name))


def test_what_is_written_is_an_ordinary_folder_of_12_mib(tmp_path: Path) -> None:
    done = training(tmp_path, batch=2)
    done.train_step(0.0)
    done.finish(small_pool())
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["steps"] == 1 and record["pairs"] == 2
    assert 0.0 <= record["top1_of_256"] <= 1.0
    folder = tmp_path / "weights"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12 * 2**20
    encoder = load_clip(str(folder), "cpu")
    assert (encoder.image_size, encoder.context_length) == (64, TEXT_LENGTH)
    batch = small_pool().batch(2)
    with torch.no_grad():
        expected, _ = done.embed(batch.image, batch)
    found = encoder.encode_images(batch.image)
    assert (
        float((found.detach() * expected).sum(1).min()) > 0.995
    )  # halves, bfloat16 and 8-bit pixels
    from transformers import AutoTokenizer

    texts = ["a red chair with blue legs, back view."]
    ids = AutoTokenizer.from_pretrained(folder)(texts).input_ids
    assert ids == done.tokenizer(texts).input_ids


def test_the_time_budget_ends_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfast.priors.embedded.training.loop.LOG_EVERY", 5)
    short = ClipTraining(Options(tmp_path, 1e-3, 2, 0, 1e-3, 0), small_pool())
    short.run()
    assert short.step == 10
    assert "step 5 loss" in capsys.readouterr().out


def test_a_gradient_that_is_not_finite_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training(tmp_path, batch=2)
    before = _parameters(made.model)
    loss = made.loss
    monkeypatch.setattr(made, "loss", lambda: loss() * math.nan)
    made.train_step(0.0)
    assert int(made.dropped) == 1
    assert all(p.isfinite().all() for p in made.model.parameters())
    change = [(p.detach() - before[n]).abs().max() for n, p in made.model.named_parameters()]
    assert max(float(c) for c in change) < 1e-5


@pytest.mark.gpu
def test_captured_steps_learn(tmp_path: Path, needs_cuda: None) -> None:
    made = ClipTraining(Options(tmp_path, 60.0, 64, 0, 2e-3, 0), small_pool("cuda"))
    made.capture()
    losses = [float(made.train_step(0.5)) for _ in range(200)]
    assert made.graphs is not None and int(made.dropped) == 0
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])
    assert len(set(losses)) > 190  # every replay draws another batch
