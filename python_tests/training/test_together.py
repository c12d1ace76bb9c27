"""Several runs that step together are the runs that they would be alone."""

from __future__ import annotations

import pytest
import torch
from tiny_models import load_tiny
from torch import Tensor

from dfast.config import Config
from dfast.errors import CollapsedError, ConfigError
from dfast.priors.base import Prior
from dfast.priors.embedded.prior import ShapesPrior
from dfast.training.build import build_trainer
from dfast.training.together import Together
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")
RUNS = {"a red chair": 1, "a blue mug": 2, "a yellow duck": 3}
CONFIG = Config.default("cpu").replace(
    field={"grid": {"levels": 4, "log2_entries": 12}, "hidden": 16},
    occupancy={"resolution": 32, "every": 3},
    march={"step_size": 0.08},
    camera={"views": 2, "resolution": [[0.0, 16]]},
    train={"steps": 12, "average_from": 0.5},
)


@pytest.fixture(scope="module")
def prior() -> ShapesPrior:
    return ShapesPrior(CPU, dtype=torch.float32)


def trainers(prior: Prior, config: Config = CONFIG) -> list[Trainer]:
    return [build_trainer(config, prior, prompt, seed, CPU) for prompt, seed in RUNS.items()]


def parameters(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.optimizer.parameters.values()])


def apart(one: Trainer, other: Trainer, before: Tensor) -> float:
    """Return how far two runs are apart, as a fraction of how far they went.

    Adam turns a gradient of rounding errors alone into a whole step, so single parameters differ.
    """
    moved = (parameters(one) - before).norm()
    assert float(moved) > 0.1
    return float((parameters(one) - parameters(other)).norm() / moved)


@pytest.mark.parametrize("variant", ["sds", "csd", "ism"])
def test_a_run_of_a_group_is_the_run_alone(prior: ShapesPrior, variant: str) -> None:
    config = CONFIG.replace(guidance={"variant": variant, "inversion_steps": 2})
    alone, group = trainers(prior, config), trainers(prior, config)
    before = [parameters(trainer) for trainer in alone]
    together = Together(group)
    for _ in range(2):
        metrics = together.train_step()
        for trainer, found in zip(alone, metrics, strict=True):
            expected = trainer.train_step()
            assert isinstance(found, dict) and set(found) == set(expected)
            for name in ("opacity", "fill", "guidance"):
                assert float(found[name]) == pytest.approx(float(expected[name]), rel=2e-2)
    for one, other, start in zip(alone, group, before, strict=True):
        assert one.step == other.step == 2
        assert apart(one, other, start) < 0.03
    assert apart(alone[0], group[1], before[0]) > 0.5  # what differs in earnest


def test_its_neighbours_do_not_change_a_run(prior: ShapesPrior) -> None:
    group, pair = trainers(prior), trainers(prior)[:2]
    before = [parameters(trainer) for trainer in pair]
    first, second = Together(group), Together(pair)
    for _ in range(3):
        first.train_step()
        second.train_step()
    for one, other, start in zip(group, pair, before, strict=False):
        assert apart(one, other, start) < 0.03


def test_a_run_that_fails_leaves_the_others_going(prior: ShapesPrior) -> None:
    group = trainers(prior)
    together = Together(group)
    together.train_step()

    def collapse(*_: object) -> None:
        raise CollapsedError("the scene stays empty")

    group[1].end_step = collapse  # type: ignore[method-assign, assignment]
    ends = together.train_step()
    assert isinstance(ends[1], CollapsedError)
    together.drop(group[1])
    assert len(together.train_step()) == 2
    assert [trainer.step for trainer in group] == [3, 1, 3]


def test_the_state_of_a_run_goes_on_alone(prior: ShapesPrior) -> None:
    group = trainers(prior)
    together = Together(group)
    together.train_step()
    (alone,) = trainers(prior)[:1]
    before = parameters(alone)
    alone.load_state_dict({k: v.clone() for k, v in group[0].state_dict().items()})
    assert torch.equal(parameters(alone), parameters(group[0]))
    together.train_step()
    alone.train_step()
    assert apart(alone, group[0], before) < 0.03


def test_runs_that_cannot_step_together_are_refused(prior: ShapesPrior) -> None:
    one, other = trainers(prior)[:2]
    other.train_step()
    with pytest.raises(ConfigError, match="one configuration, device and step"):
        Together([one, other])
    stranger = build_trainer(CONFIG, ShapesPrior(CPU, dtype=torch.float32), "a red chair", 0, CPU)
    with pytest.raises(ConfigError, match="takes several prompts at once"):
        Together([one, stranger])


@pytest.mark.parametrize("family", ["sd15", "pixart"])
def test_models_of_latents_serve_several_runs(family: str) -> None:
    prior = load_tiny(family)
    alone, group = (trainers(prior) for _ in range(2))
    before = [parameters(trainer) for trainer in alone]
    Together(group).train_step()
    for one, other, start in zip(alone, group, before, strict=True):
        one.train_step()
        assert apart(one, other, start) < 0.03
