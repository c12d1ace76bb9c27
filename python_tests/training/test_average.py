"""The mean of the late parameters: what it is, when a run takes it, that it can be resumed."""

from __future__ import annotations

import pytest
import torch
from oracle import OraclePrior
from tiny_runs import TINY
from torch import Tensor
from torch.testing import assert_close

from dfast.training.average import ParameterAverage
from dfast.training.build import build_trainer
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")

STEPS = 8
CONFIG = TINY.replace(train={"steps": STEPS, "average_from": 0.5, "preview_every": 0})
"""The last four of eight steps count."""


def trainer_of(config: object = CONFIG) -> Trainer:
    return build_trainer(config, OraclePrior(12), "x", 0, torch.device("cpu"))  # type: ignore[arg-type]


def table(trainer: Trainer) -> Tensor:
    return trainer.scene.field.table.detach().clone()


def test_the_mean_of_what_was_included() -> None:
    p = {"a": torch.zeros(3), "b": torch.ones(2)}
    average = ParameterAverage(p)
    average.apply()
    assert p["a"].tolist() == [0, 0, 0]  # nothing was included
    for value in (1.0, 2.0, 6.0):
        p["a"].fill_(value)
        average.include()
    average.apply()
    assert_close(p["a"], torch.full((3,), 3.0))
    assert_close(p["b"], torch.ones(2))
    average.clear()
    p["a"].fill_(5.0)
    average.include()
    average.apply()
    assert_close(p["a"], torch.full((3,), 5.0))


def test_a_finished_run_has_the_mean_of_its_late_parameters() -> None:
    trainer, late = trainer_of(), []
    for step in range(1, STEPS + 1):
        trainer.train_step()
        if step > STEPS / 2:
            late.append(table(trainer))
    last = table(trainer)
    trainer.finish()
    assert_close(table(trainer), torch.stack(late).mean(0))
    assert not torch.equal(table(trainer), last)


def test_an_unfinished_run_and_one_without_an_average_keep_their_parameters() -> None:
    for config, steps in ((CONFIG, STEPS - 1), (TINY, 4)):
        trainer = trainer_of(config)
        for _ in range(steps):
            trainer.train_step()
        last = table(trainer)
        trainer.finish()
        assert torch.equal(table(trainer), last)


def test_a_resumed_run_ends_with_the_same_bytes() -> None:
    whole, first = trainer_of(), trainer_of()
    for _ in range(6):
        whole.train_step()
        first.train_step()
    second = trainer_of()
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    for trainer in (whole, second):
        while trainer.step < STEPS:
            trainer.train_step()
        trainer.finish()
    assert torch.equal(table(whole), table(second))


def test_a_scene_that_is_drawn_anew_begins_a_new_mean() -> None:
    trainer = trainer_of()
    for _ in range(6):
        trainer.train_step()
    trainer.model.reset()
    for _ in range(2):
        trainer.train_step()
    after = table(trainer)
    trainer.finish()
    assert float((table(trainer) - after).abs().max()) < 0.05  # the old scene has no part in it
