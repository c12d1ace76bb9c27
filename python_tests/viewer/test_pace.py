"""What an idle page may cost."""

from __future__ import annotations

import pytest

from dfast.viewer.pace import SHARE, Pace


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.001, 0.05, 0.4])
@pytest.mark.parametrize("step", [0.01, 0.7, 30.0])
def test_work_takes_its_share_at_most(cost: float, step: float) -> None:
    clock, spent, done = Clock(), 0.0, 0
    pace = Pace(clock=clock)
    began = clock.now
    while clock.now - began < 400 * max(cost, step):
        clock.now += step
        if pace.due():
            with pace.spending():
                clock.now += cost
            spent, done = spent + cost, done + 1
    assert done > 3
    assert spent - cost <= SHARE * (clock.now - began)  # the last one is not paid for yet


def test_the_first_is_due_and_failed_work_counts() -> None:
    clock = Clock()
    pace = Pace(0.5, clock)
    assert pace.due()
    with pytest.raises(KeyError), pace.spending():
        clock.now += 2.0
        raise KeyError
    assert not pace.due()
    clock.now += 2.0
    assert pace.due()
