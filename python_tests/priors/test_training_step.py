"""Training the embedded prior: a step, the loss by noise level, what is written."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_pool import save_untrained, small_pool

from dfast.priors.embedded.checkpoint import load_weights
from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.model import SCALE_FEATURES, load_folder, scale_features
from dfast.priors.embedded.text import TextEncoder, Tokenizer, from_transformers
from dfast.priors.embedded.training import train as train_module
from dfast.priors.embedded.training.distill import Distillation
from dfast.priors.embedded.training.networks import (
    DESIGNS,
    TEXT_LENGTH,
    Denoiser,
    build_world_tokenizer,
    words,
)
from dfast.priors.embedded.training.pool import Pool
from dfast.priors.embedded.training.train import LEVELS, Training, WorldOptions, train
from dfast.priors.embedded.unet import UNet, from_diffusers

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")


def training(out: Path) -> Training:
    options = WorldOptions(out, 1.0, 2, 0, 1e-3, 0, None, "small")
    return Training(options, ProcessGroup(0, 1, CPU), small_pool())


def test_a_step_moves_every_parameter_and_a_checkpoint_continues_it(tmp_path: Path) -> None:
    first = training(tmp_path)
    before = {name: p.detach().clone() for name, p in first.model.named_parameters()}
    loss = first.train_step(0.0)
    assert 0.1 < float(loss) < 10
    still = [n for n, p in first.model.named_parameters() if torch.equal(p, before[n])]
    untouched = ("position_embedding", "token_embedding", "cond_proj")  # no scale is told
    assert all(any(part in n for part in untouched) for n in still)
    first.checkpoint.save(first.step, 0.5)
    second = training(tmp_path)
    assert (second.step, second.spent) == (1, 0.5)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for one, other in zip(first.optimizers, second.optimizers, strict=True):
        moments = [[o.state[p] for p in o.param_groups[0]["params"]] for o in (one, other)]
        assert len(moments[0]) > 10 and all(moments[0])
        for a, b in zip(*moments, strict=True):
            assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_is_written_loads_with_diffusers_and_without(tmp_path: Path) -> None:
    done = training(tmp_path)
    done.train_step(0.0)
    losses = done.losses(small_pool(), count=1)
    assert len(losses) == len(LEVELS) and all(0.05 < loss < 10 for loss in losses)
    done.finish(build_world_tokenizer())
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["design"] == "small" and record["images"] == 2
    folder = tmp_path / "weights"
    unet, text_encoder, tokenizer, _ = load_folder(folder)
    plain = UNet(unet.config)
    plain.load_state_dict(from_diffusers(unet.state_dict()))
    encoder = TextEncoder(text_encoder.config.to_dict())
    encoder.load_state_dict(from_transformers(text_encoder.state_dict()))
    own = Tokenizer(folder / "tokenizer", TEXT_LENGTH)
    assert own.vocabulary == tokenizer.get_vocab() == words()
    tokens = own(["red and white striped dog with blue hat front view"])
    x, t, camera = torch.randn(1, 24, 32, 32), torch.tensor([500]), torch.randn(1, 14)
    with torch.no_grad():
        text = text_encoder(tokens).last_hidden_state
        torch.testing.assert_close(encoder(tokens), text, rtol=1e-4, atol=1e-4)
        theirs = unet(x, t, text, class_labels=camera, return_dict=False)[0]
        torch.testing.assert_close(plain(x, t, text, camera), theirs, rtol=1e-3, atol=1e-3)


def test_distillation_starts_as_the_network_and_learns_the_scale(tmp_path: Path) -> None:
    before = training(tmp_path / "a")
    before.finish(build_world_tokenizer())
    options = WorldOptions(tmp_path / "b", 1.0, 8, 0, 1e-3, 0, tmp_path / "a" / "weights", "small")
    student = Distillation(options, ProcessGroup(0, 1, CPU), small_pool())
    teacher = dict(student.teacher.named_parameters())
    added = [
        n for n, p in student.model.named_parameters() if not torch.equal(p, teacher.get(n, p + 1))
    ]
    assert added == ["unet.time_embedding.cond_proj.weight"]
    loss = student.train_step(0.0)
    assert 0 < float(loss) < 10  # the scales of this batch are not all 0
    assert bool(student.model.unet.time_embedding.cond_proj.weight.any())


def test_a_network_is_trained_then_distilled_on_other_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def opened(count: int, seed: int, device: torch.device) -> Pool:
        seeds.append(seed)
        return small_pool()

    monkeypatch.setattr(train_module, "open_pool", opened)
    monkeypatch.setattr(train_module, "process_group", lambda: nullcontext(ProcessGroup(0, 1, CPU)))
    first = WorldOptions(tmp_path / "a", 1e-6, 2, 0, 1e-3, 3, None, "small")
    train(first)
    train(replace(first, out=tmp_path / "b", init=tmp_path / "a" / "weights"), Distillation)
    assert seeds == [3000, 3500]
    for name, told in (("a", None), ("b", SCALE_FEATURES)):
        unet, *_ = load_folder(tmp_path / name / "weights")
        assert unet.config.time_cond_proj_dim == told


@torch.no_grad()
def test_training_goes_on_from_a_distilled_network_without_guidance(tmp_path: Path) -> None:
    """Without its weights for a scale it predicts exactly what it did at the scale 0."""
    folder = save_untrained(tmp_path / "guided", guided=True)
    options = WorldOptions(tmp_path / "out", 1.0, 2, 0, 1e-3, 0, folder, "small")
    made = Training(options, ProcessGroup(0, 1, CPU), small_pool())
    guided = Denoiser(DESIGNS["small"], guided=True)
    load_weights(guided, folder)
    assert bool(guided.unet.time_embedding.cond_proj.weight.any())
    assert guided.unet.time_embedding.cond_proj.bias is None
    assert not any("cond_proj" in name for name, _ in made.model.named_parameters())
    batch, t = small_pool().batch(2), torch.tensor([100, 900])
    z = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(0))
    given = (z, t, batch.tokens, batch.camera, batch.rays)
    plain = made.model(*given)
    none, some = (guided(*given, scale_features(torch.full((2,), w))) for w in (0.0, 5.0))
    torch.testing.assert_close(plain, none, rtol=1e-5, atol=1e-5)
    assert float((some - none).abs().max()) > 1e-3
    for parameter, average in zip(made.model.parameters(), made.average, strict=True):
        assert torch.equal(parameter, average)
    again = Distillation(options, ProcessGroup(0, 1, CPU), small_pool())
    torch.testing.assert_close(again.teacher(*given), plain, rtol=1e-5, atol=1e-5)
    told = scale_features(torch.full((2,), 5.0))
    torch.testing.assert_close(again.model(*given, told), some, rtol=1e-5, atol=1e-5)


def test_a_gradient_that_is_not_finite_is_dropped_and_many_end_the_training(tmp_path: Path) -> None:
    one = training(tmp_path)
    one.train_step(0.0)
    before = [p.detach().clone() for p in one.model.parameters()]
    one.loss = lambda: torch.nan * sum(p.sum() for p in one.model.parameters())  # type: ignore
    for _ in range(4):
        one.train_step(1.0)
    assert int(one.dropped) == 4 and one.record()["dropped"] == 4
    changes = [
        float((p.detach() - b).abs().max())
        for p, b in zip(one.model.parameters(), before, strict=True)
    ]
    assert max(changes) < 1e-3  # Adam's momentum alone
    with pytest.raises(RuntimeError, match="4 gradients of 5 were not finite"):
        one._check(int(one.dropped))
