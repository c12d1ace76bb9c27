"""The number of samples that a step reserves memory for."""

from __future__ import annotations

import pytest
import torch
from oracle import OraclePrior
from tiny_fields import FIELDS, TINY
from torch.testing import assert_close

from dfast.training.build import build_trainer
from dfast.training.sample_budget import SampleBudget


def test_budget_learns_and_counts_overflows(device: torch.device) -> None:
    budget = SampleBudget(device)
    budget.asynchronous = True  # on the CPU, too, where only the delay of the copies is missing

    def step(total: int) -> int | None:
        max_samples = budget.max_samples(16)
        budget.record(torch.tensor(total, device=device))
        return max_samples

    assert [step(100_000) for _ in range(SampleBudget.EXACT_STEPS)] == [
        None
    ] * SampleBudget.EXACT_STEPS
    assert step(400_000) == 10 * 16384 and budget.overflows == 0
    while step(100_000) == 10 * 16384:
        assert budget.overflows == 0
    assert budget.overflows == 1 and budget.max_samples(16) == 37 * 16384
    later = [step(20_000) or 0 for _ in range(300)]  # the scene empties
    assert later[-1] < 10 * 16384 and len(set(later)) <= 4 and budget.overflows == 1
    assert budget.max_samples(32) is None


def test_a_tight_budget_follows_the_scene_closely() -> None:
    budget = SampleBudget(torch.device("cpu"), tight=True)
    budget.asynchronous = True
    used = [1_000_000 * 99**i // 100**i for i in range(200)]  # the scene empties
    shares = []
    for count in used:
        reserved = budget.max_samples(16)
        shares += [] if reserved is None else [count / reserved]
        budget.record(torch.tensor(count))
    assert budget.overflows == 0 and min(shares) > 0.45 and max(shares) < 0.85


def test_budget_of_the_cpu_is_exact() -> None:
    budget = SampleBudget(torch.device("cpu"))
    for _ in range(20):
        assert budget.max_samples(16) is None
        budget.record(torch.tensor(5))


@pytest.mark.parametrize("field", ["hash", "finite", "ipe", "layout"])
def test_memory_that_is_reserved_for_more_samples_changes_nothing(
    field: str, device: torch.device
) -> None:
    # The scene hardly moves: steps of the usual length would make much of rounding, whose order is
    # another one at every call of a GPU.
    slow = {"optimizer": {"lr_grid": 1e-5, "lr_mlp": 1e-5, "lr_background": 1e-5}}
    config = TINY.replace(**FIELDS[field]).replace(**slow)
    exact, reserved = (build_trainer(config, OraclePrior(16), "x", 0, device) for _ in range(2))
    exact.budget.asynchronous, reserved.budget.asynchronous = False, True
    for _ in range(SampleBudget.EXACT_STEPS + 4):
        expected = exact.train_step()
        found = reserved.train_step()
        for name in ("gradient_norm", "opacity", "guidance"):
            assert_close(found[name], expected[name], rtol=1e-2, atol=1e-4)
    assert reserved.budget.max_samples(16) is not None and reserved.budget.overflows == 0
    for name, values in exact.scene.field.named_parameters():
        assert_close(reserved.scene.field.get_parameter(name), values, rtol=1e-2, atol=1e-3)
