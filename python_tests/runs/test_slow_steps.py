"""A run whose steps become far slower says so, once."""

from __future__ import annotations

import warnings

import pytest

from dfast.runs import slow_steps
from dfast.runs.slow_steps import SlowSteps


def watched(seconds: list[float]) -> list[str]:
    """Return what is said about steps of these times."""
    watch = SlowSteps()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for time in seconds:
            watch.add(time)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    "seconds",
    [
        [0.1] * 100,
        [9.0, 9.0] + [0.1] * 100,  # warming up
        [0.1] * 20 + [0.25] * 100,  # schedules
        ([0.1] * 9 + [5.0]) * 10,  # pauses
        [0.1] * 5 + [9.0] * 8,  # too early to tell
    ],
)
def test_ordinary_runs_say_nothing(seconds: list[float]) -> None:
    assert watched(seconds) == []


@pytest.mark.parametrize(
    ("spin", "threads", "advice"),
    [
        (True, 2, "OMP_WAIT_POLICY=passive"),
        (False, 2, "OMP_NUM_THREADS=1"),
        (False, 1, "slow this run"),
    ],
)
def test_slow_steps_are_told_once(
    monkeypatch: pytest.MonkeyPatch, spin: bool, threads: int, advice: str
) -> None:
    monkeypatch.setattr(slow_steps, "threads_may_spin", lambda: spin)
    monkeypatch.setattr(slow_steps.torch, "get_num_threads", lambda: threads)
    (said,) = watched([0.1] * 20 + [2.0] * 50 + [0.1] * 50 + [2.0] * 50)
    assert said.startswith("steps take 2 s now and took 0.1 s at first") and advice in said
    assert "\n" not in said and ("OMP_" in said) == (threads > 1)
