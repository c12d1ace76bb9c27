"""Steps of a layout: whose gradient reaches which part, rewinds, and parts that stay empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from oracle import OraclePrior
from tiny_runs import TINY
from torch import Tensor

from dfast.errors import CollapsedError, NonFiniteError
from dfast.training.build import build_trainer
from dfast.training.layout import LayoutTrainer

pytestmark = pytest.mark.usefixtures("needs_native")

PARTS: list[dict[str, Any]] = [
    {"name": "cube", "prompt": "a red cube", "position": [0.0, -0.5, 0.0], "size": 0.45},
    {"name": "ball", "prompt": "a blue ball", "position": [0.1, 0.5, 0.2], "size": 0.3},
]


def trainer_of(
    whole: float,
    prior: OraclePrior | None = None,
    parts: Sequence[Mapping[str, Any]] = PARTS,
    **train: Any,
) -> LayoutTrainer:
    """Return a trainer with tiny settings at its first step."""
    layout = {"prompt": "a red cube next to a blue ball", "whole": whole, "parts": [*parts]}
    config = TINY.replace(layout=layout, train=train)
    trainer = build_trainer(config, prior or OraclePrior(12), "it", 0, torch.device("cpu"))
    assert isinstance(trainer, LayoutTrainer)
    return trainer


def changed_by_a_step(trainer: LayoutTrainer) -> set[str]:
    """Take a step; return the names of the parameters that it changed."""
    before = {name: p.detach().clone() for name, p in trainer.scene.named_parameters()}
    trainer.train_step()
    return {name for name, p in trainer.scene.named_parameters() if not p.equal(before[name])}


def test_a_step_changes_what_it_shows() -> None:
    first = {"field.parts.0.table", "field.parts.0.mlp"}
    second = {"field.parts.1.table", "field.parts.1.mlp"}
    assert changed_by_a_step(trainer_of(0.0)) == first
    assert changed_by_a_step(trainer_of(1.0)) == first | second
    trainer = trainer_of(0.0, steps=8)
    assert trainer.guidances[0] is None and len(trainer.guidances) == 3
    shown = [trainer.begin_step().subject for trainer.step in range(4)]
    assert shown == [1, 2, 1, 2]


def test_tables_learn_at_the_rate_of_tables() -> None:
    trainer = trainer_of(0.5)
    rates = {name: trainer._rate(name) for name in trainer.optimizer.parameters}
    plan = trainer.config.optimizer
    for index in range(2):
        assert rates[f"field.parts.{index}.table"] == plan.lr_grid
        assert rates[f"field.parts.{index}.mlp"] == plan.lr_mlp


def test_a_state_is_loaded_as_it_was() -> None:
    one, two = trainer_of(0.5, steps=20), trainer_of(0.5, steps=20)
    for _ in range(5):
        one.train_step()
    two.load_state_dict({name: t.clone() for name, t in one.state_dict().items()})
    for _ in range(5):
        one.train_step(), two.train_step()
    first, second = one.state_dict(), two.state_dict()
    assert first.keys() == second.keys() and "layout.fills" in first
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("whole", [0.0, 0.7])
def test_a_part_that_stays_empty_ends_the_run(whole: float) -> None:
    trainer = trainer_of(whole, log_every=1, collapse_limit=2, steps=40)
    trainer.scene.reset = lambda generator=None: None  # type: ignore[method-assign]
    with torch.no_grad():
        trainer.scene.field.fields[1].mlp[-4:] = -1e4
    with pytest.raises(CollapsedError, match=r"^part 'ball': the scene became empty again"):
        for _ in range(40):
            trainer.train_step()


@pytest.mark.parametrize(("fill", "collapsed"), [(5e-4, False), (5e-6, True), (0.99, True)])
def test_a_whole_of_small_parts_is_not_empty(fill: float, collapsed: bool) -> None:
    small = PARTS[0] | {"size": 0.1}  # covers a hundredth of the sphere of all
    trainer = trainer_of(1.0, log_every=1, collapse_limit=1, parts=[small])
    trainer.begin_step()
    trainer.end_step({"fill": torch.tensor(fill), "samples": torch.tensor(1)})
    assert trainer.health.was_reset == collapsed


def test_what_was_seen_before_a_reset_does_not_count_after_it() -> None:
    trainer = trainer_of(0.0, log_every=1, collapse_limit=1, steps=40)
    trainer.step = 1  # shows the ball
    with torch.no_grad():
        trainer.scene.field.fields[1].mlp[-4:] = -1e4
    trainer.train_step()
    assert trainer.health.was_reset
    for _ in range(4):  # the cube, then the ball again
        trainer.train_step()
    assert float(trainer.state_dict()["layout.fills"].min()) > 1e-3


class Broken(OraclePrior):
    """A prior whose predictions are not finite for one of the prompts."""

    def predict_noise(self, noisy: Tensor, t: Tensor, condition: Any, **more: Any) -> Tensor:
        found = super().predict_noise(noisy, t, condition, **more)
        return found * torch.nan if condition == "a blue ball" else found


def test_a_part_whose_steps_are_all_skipped_ends_the_run() -> None:
    trainer = trainer_of(0.5, Broken(12), log_every=1, skip_limit=3, rewind_limit=1, steps=40)
    with pytest.raises(NonFiniteError, match=r"^part 'ball': gradients are not finite: 6 steps"):
        for _ in range(40):
            trainer.train_step()
