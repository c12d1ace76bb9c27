"""Training the embedded prior: a step, the loss by noise level, what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_pool import small_pool

from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.model import load_folder
from dfast.priors.embedded.text import TextEncoder, Tokenizer, from_transformers
from dfast.priors.embedded.training.networks import TEXT_LENGTH, build_world_tokenizer, words
from dfast.priors.embedded.training.train import LEVELS, Training, WorldOptions
from dfast.priors.embedded.unet import UNet, from_diffusers

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")


def training(out: Path) -> Training:
    options = WorldOptions(out, 1.0, 2, 0, 1e-3, None, 0, "small")
    return Training(options, ProcessGroup(0, 1, CPU), small_pool())


def test_a_step_moves_every_parameter_and_a_checkpoint_continues_it(tmp_path: Path) -> None:
    first = training(tmp_path)
    before = {name: p.detach().clone() for name, p in first.model.named_parameters()}
    loss = first.train_step(0.0)
    assert 0.1 < float(loss) < 10
    still = [n for n, p in first.model.named_parameters() if torch.equal(p, before[n])]
    assert all("position_embedding" in n or "token_embedding" in n for n in still)
    first.checkpoint.save(first.step, 0.5)
    second = training(tmp_path)
    assert (second.step, second.spent) == (1, 0.5)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


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
