"""Best of n: several seeds begin, the one that the prior predicts best goes on."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from procedural import views

import dfast
from dfast.errors import CollapsedError, ConfigError, RunFolderError
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.priors.embedded.prior import ShapesPrior
from dfast.runs.best_of import SELECTION
from dfast.runs.events import Event
from dfast.runs.plan import shared_steps
from dfast.runs.unfinished import CHECKPOINT, RESULT
from dfast.scene.lighting import fixed_lighting
from dfast.training.trainer import Trainer
from dfast.world import build_scene, read, tracer

pytestmark = pytest.mark.usefixtures("needs_native")
TINY: dict[str, Any] = {
    "field": {"grid": {"levels": 3, "log2_entries": 10}, "hidden": 8},
    "occupancy": {"resolution": 16},
    "march": {"step_size": 0.1},
    "camera": {"views": 1, "resolution": [[0.0, 8]]},
    "train": {"steps": 10, "preview_every": 0, "checkpoint_every": 2, "log_every": 2},
}


def train(out: Path | None, **options: Any) -> dfast.Result:
    options = {"config": TINY, "progress": False, "device": "cpu", "best_of": 3} | options
    return dfast.train("a red chair", out=out, **options)


def test_the_best_seed_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[int] = []
    result = train(tmp_path / "run", seed=5, callbacks=[lambda event: steps.append(event.step)])
    chosen = json.loads((tmp_path / "run" / SELECTION).read_text())
    errors = {int(seed): error for seed, error in chosen["errors"].items()}
    assert sorted(errors) == [5, 6, 7] and len(set(errors.values())) == 3
    assert chosen["chosen"] == min(errors, key=lambda seed: errors[seed]) == result.seed
    until = shared_steps(10)
    assert chosen["step"] == until and steps == list(range(1, 11))
    assert f"seed {result.seed} goes on, the best of 3" in capsys.readouterr().err
    again = train(tmp_path / "run", seed=5, resume=True, steps=12)
    assert again.steps == 12 and again.seed == result.seed


def test_a_run_of_one_seed_takes_no_others(tmp_path: Path) -> None:
    for steps in (4, 10):  # stopped on the way, and finished
        train(tmp_path / "run", best_of=1, resume=steps == 10, steps=steps)
        with pytest.raises(ConfigError, match=r"best_of: expected 1 to resume '.*', .* got 3"):
            train(tmp_path / "run", resume=True, steps=10)


def test_a_seed_that_fails_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end_step = Trainer.end_step
    failing = {0, 2}

    def end(self: Trainer, metrics: Any) -> Any:
        if self.seed in failing:
            raise CollapsedError("the scene stays empty")
        return end_step(self, metrics)

    monkeypatch.setattr(Trainer, "end_step", end)
    assert train(tmp_path / "run").seed == 1
    errors = json.loads((tmp_path / "run" / SELECTION).read_text())["errors"]
    assert [seed for seed, error in errors.items() if error is None] == ["0", "2"]
    failing.add(1)
    with pytest.raises(CollapsedError, match="all 3 seeds failed: the scene stays empty"):
        train(None)


@pytest.mark.parametrize("at", [0, 2])
def test_a_choice_that_was_interrupted_is_made_when_the_run_goes_on(
    at: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = threading.Event()
    if at == 0:
        stop.set()

    def end(event: Event) -> None:
        assert event.seed == 0 and event.result().prompt == "a red chair"
        if event.step == at:
            event.stop()

    stopped = train(tmp_path / "run", stop=stop, callbacks=[end])
    assert stopped.steps == at and stopped.folder is None
    assert "stopped before a seed was chosen: nothing is saved" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not names & {SELECTION, CHECKPOINT, RESULT, "metrics.jsonl"}
    result = train(tmp_path / "run", resume=True, best_of=1)
    chosen = json.loads((tmp_path / "run" / SELECTION).read_text())
    assert len(chosen["errors"]) == 3 and result.seed == chosen["chosen"] and result.steps == 10


def test_what_a_callback_raises_before_the_choice_ends_the_run(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError(f"no {event.step}")

    with pytest.raises(RuntimeError, match="no 1"):
        train(tmp_path / "run", callbacks=[fail])
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_run_goes_on_with_as_many_seeds_as_it_began_with(tmp_path: Path) -> None:
    for steps in (4, 10):  # after the choice, and finished
        train(tmp_path / "run", steps=steps, resume=steps == 10)
        for count in (2, 5):
            says = f"best_of: expected 3 to resume '.*', which has 3 seeds, got {count}"
            with pytest.raises(ConfigError, match=says):
                train(tmp_path / "run", best_of=count, steps=10, resume=True)


def test_the_right_object_is_predicted_best() -> None:
    camera, prior = views(20.0, 140.0, 260.0), ShapesPrior(torch.device("cpu"))
    lighting = fixed_lighting("albedo", camera)
    config = dfast.Config.default("cpu").guidance
    guidance = DiffusionGuidance(config, prior, "a red chair", torch.device("cpu"))

    def error(shown: str, turn: float = 0.0) -> float:
        seen = views(20.0 + turn, 140.0 + turn, 260.0 + turn)
        images = tracer.render_scene(build_scene(read(shown).sentence), seen, 64, ambient=1.0)
        return float(guidance.prediction_error(images, camera, lighting))

    right = error("a red chair")
    assert right == error("a red chair")  # the same noise every time
    assert min(error("a blue chair"), error("a red mug"), error("a red chair", 90.0)) > 1.2 * right


def test_bad_numbers_and_files_are_refused(tmp_path: Path) -> None:
    for number in (0, 65, True, 2.5, "3"):
        with pytest.raises(ConfigError, match="best_of: expected a number from 1 to 64"):
            train(tmp_path / "run", best_of=number)
    with pytest.raises(ConfigError, match="best_of: expected 1 with a list"):
        dfast.train(["a red chair"], best_of=2, config=TINY)  # type: ignore[call-overload]
    assert not (tmp_path / "run").exists()
    train(tmp_path / "run")
    (tmp_path / "run" / SELECTION).write_text("[]")
    with pytest.raises(RunFolderError, match="cannot be read"):
        train(tmp_path / "run", resume=True, steps=12)
