"""Health checks of a run, on a model of one tensor."""

from __future__ import annotations

import pytest
import torch

from dfast.config import Config, TrainConfig
from dfast.config.methods import METHODS
from dfast.config.suggestions import setting_names
from dfast.errors import CollapsedError, NonFiniteError
from dfast.ops.adam import SKIPPED, STREAK
from dfast.training.health import REMEDIES, Checkpointable, HealthCheck, Remedies, State

CONFIG = TrainConfig(steps=100, skip_limit=3, rewind_limit=1, collapse_limit=2)
HEALTHY, EMPTY, OPAQUE = (torch.tensor(v) for v in (0.3, 0.0, 1.0))


class OneTensor:
    """The smallest `Checkpointable`."""

    def __init__(self) -> None:
        self.value = torch.zeros(1)
        self.resets = 0

    def state(self) -> State:
        return {"value": self.value}

    def restore(self, state: State) -> None:
        self.value.copy_(state["value"])

    def reset(self) -> None:
        self.resets += 1
        self.value.zero_()


class Run:
    """A model, the optimiser's counts, and the health check of both."""

    def __init__(self, *, delayed: bool = False) -> None:
        self.model, self.status = OneTensor(), torch.zeros(4)
        self.health = HealthCheck(CONFIG, self.status, self.model)
        self.health.delayed = delayed

    def check(
        self, value: float, fill: torch.Tensor = HEALTHY, streak: int = 0, *, last: bool = False
    ) -> None:
        """Set the model and the streak of skipped steps, and check."""
        self.model.value.fill_(value)
        self.status[STREAK] = streak
        self.health.check(fill, [self.model.value], last=last)


def test_the_smallest_model_is_checkpointable() -> None:
    model: Checkpointable = OneTensor()
    assert list(model.state()) == ["value"]


@pytest.mark.parametrize("streak", [0, 3])
def test_a_rewind_restores_the_last_good_state_in_place(streak: int) -> None:
    run = Run()
    place = run.model.value.data_ptr()
    run.check(1.0)
    run.check(2.0, streak=1)  # a skipped step: neither good nor bad enough
    run.check(float("nan") if streak == 0 else 3.0, streak=streak)
    assert run.model.value.item() == 1.0 and run.health.rewinds == 1
    assert run.model.value.data_ptr() == place and float(run.status[STREAK]) == 0.0
    with pytest.raises(NonFiniteError, match="1 rewinds did not help"):
        run.check(float("nan"))


def test_without_a_good_state_there_is_nothing_to_rewind_to() -> None:
    with pytest.raises(NonFiniteError):
        Run().check(float("nan"))


def test_a_delayed_check_acts_on_the_check_before() -> None:
    run = Run(delayed=True)
    run.check(1.0)
    run.check(2.0)  # now 1.0 is known to be good
    run.check(float("nan"))  # 2.0 is, and nothing else has been acted on
    assert run.health.rewinds == 0
    run.check(4.0)
    assert run.health.rewinds == 1 and run.model.value.item() == 2.0


@pytest.mark.parametrize(("fill", "word"), [(EMPTY, "empty"), (OPAQUE, "fully opaque")])
def test_a_collapsed_scene_is_reset_once(fill: torch.Tensor, word: str) -> None:
    run = Run()
    run.check(1.0, fill)
    run.check(1.0)  # a healthy check starts the count again
    for _ in range(2):
        assert run.model.resets == 0
        run.check(1.0, fill)
    assert run.model.resets == 1 and run.health.was_reset and run.health.collapsed_checks == 0
    run.check(1.0, fill)
    with pytest.raises(CollapsedError, match=f"became {word} again"):
        run.check(1.0, fill)


@pytest.mark.parametrize(
    ("method", "empty", "opaque", "rates"),
    [
        ("dfast", "regularizer.opacity", "regularizer.opacity", "optimizer.lr_grid"),
        ("dreamfusion", "regularizer.opacity", "regularizer.opacity", "optimizer.lr_grid"),
        ("dream-fields", "dream_fields.transmittance", "dream_fields.transmittance",
         "optimizer.lr_grid"),
        ("clip-mesh", "clip_mesh.lr_vertices", "clip_mesh.laplacian", "clip_mesh.lr_vertices"),
    ],
)  # fmt: skip
def test_errors_name_the_settings_of_the_method(
    method: str, empty: str, opaque: str, rates: str
) -> None:
    run = Run()
    run.health.remedies = REMEDIES.get(method, Remedies())
    names = setting_names(Config)
    for fill, setting in ((EMPTY, empty), (OPAQUE, opaque)):
        with pytest.raises(CollapsedError, match=rf"(lower|raise) {setting}$"):
            run.check(1.0, fill, last=True)
        assert setting in names
    with pytest.raises(NonFiniteError, match=f"lower {rates} and lr_") as caught:
        run.check(float("nan"), last=True)
    assert ("the CLIP" in str(caught.value)) is (METHODS[method].guide == "clip")
    assert rates in names and set(REMEDIES) < set(METHODS)


@pytest.mark.parametrize("delayed", [False, True])
def test_the_last_check_acts_on_its_own_values(delayed: bool) -> None:
    run = Run(delayed=delayed)
    run.check(1.0)
    with pytest.raises(CollapsedError, match="ended empty"):
        run.check(1.0, EMPTY, last=True)
    with pytest.raises(NonFiniteError):
        run.check(float("nan"), last=True)
    run.check(1.0, last=True)


def test_counts_continue_from_a_checkpoint() -> None:
    run, other = Run(), Run()
    run.check(1.0)
    run.check(float("nan"))
    run.check(1.0, EMPTY)
    run.status[SKIPPED], run.status[STREAK] = 7, 2
    state = {key: value.clone() for key, value in run.health.state_dict().items()}
    assert sorted(state) == ["counts", "skipped", "streak"]
    other.model.value.fill_(5.0)
    other.health.load_state_dict(state)
    assert other.health.rewinds == 1 and other.health.collapsed_checks == 1
    assert not other.health.was_reset
    assert float(other.status[SKIPPED]) == 7.0 and float(other.status[STREAK]) == 2.0
    with pytest.raises(NonFiniteError):  # the one rewind was used before the checkpoint
        other.check(float("nan"))
