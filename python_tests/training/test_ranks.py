"""What each of several processes renders and draws is its share of what one would."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import TINY

from dfast.errors import ConfigError, DfastError
from dfast.guidance.variants import Distillation
from dfast.priors.embedded.prior import ShapesPrior
from dfast.training.build import build_trainer
from dfast.training.ranks import Ranks
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")
CONFIG = TINY.replace(camera={"views": 4})


def trainer(ranks: Ranks | None = None) -> Trainer:
    prior = ShapesPrior(CPU, dtype=torch.float32)
    return build_trainer(CONFIG, prior, "a red chair", 3, CPU, ranks=ranks)


def test_shares_of_a_step_are_the_step() -> None:
    whole = trainer()
    step = whole.begin_step()
    rendering, _ = whole.forward(step)
    for rank in range(2):
        one = trainer(Ranks(rank, 2))
        own = one.begin_step()
        part, x = one.forward(own)
        rows = slice(2 * rank, 2 * rank + 2)
        assert x.shape[0] == 2 and torch.equal(own.inputs.t, step.inputs.t[rows])
        assert own.lit == step.lit and torch.equal(own.inputs.colors, step.inputs.colors[rows])
        torch.testing.assert_close(part.image, rendering.image[rows])  # the same jitter
        assert torch.equal(one.generators.device.get_state(), whole.generators.device.get_state())


def test_noise_is_that_of_all_images() -> None:
    def noise(share: tuple[int, int], count: int) -> torch.Tensor:
        batch = trainer().begin_step().inputs.guidance_batch(share)
        generators = [torch.Generator().manual_seed(5)]
        x, ones = torch.zeros(count, 3, 8, 8), torch.ones(count)
        step = Distillation(x, batch, CONFIG.guidance, (ones, ones), generators, lambda *_: x)  # type: ignore[arg-type]
        object.__setattr__(batch, "alpha", ones)
        object.__setattr__(batch, "sigma", ones)
        return step.add_noise()[1]

    parts = [noise((rank, 2), 2) for rank in range(2)]
    assert torch.equal(torch.cat(parts), noise((0, 1), 4))


def test_views_must_be_shared_equally() -> None:
    with pytest.raises(ConfigError, match="expected a multiple of 3, the number of processes, got"):
        trainer(Ranks(0, 3))


def test_rings_must_not_be_divided() -> None:
    config = CONFIG.replace(camera={"views": 4, "ring": 4})
    prior = ShapesPrior(CPU, dtype=torch.float32)
    with pytest.raises(ConfigError, match=r"multiple of 2, .* times 4, the cameras of a ring, got"):
        build_trainer(config, prior, "a red chair", 3, CPU, ranks=Ranks(0, 2))


def test_a_process_that_has_ended_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:50904")

    monkeypatch.setattr(torch.distributed, "all_reduce", lost)
    monkeypatch.setattr(torch.distributed, "broadcast", lost)
    ranks, values = Ranks(0, 2), torch.ones(3)
    calls = (
        lambda: ranks.average([values]),
        lambda: ranks.any(False),
        lambda: ranks.broadcast({"x": values}),
    )
    for call in calls:
        with pytest.raises(DfastError, match="another process has ended"):
            call()
