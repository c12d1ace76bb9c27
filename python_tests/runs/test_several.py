"""Several prompts in one call: folders, resuming, failures, stopping."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from oracle import OraclePrior

import dfast
from dfast.errors import CollapsedError, ConfigError, PromptError, RunsFailedError
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")
TINY: dict[str, Any] = {
    "field": {"grid": {"levels": 3, "log2_entries": 10}, "hidden": 8},
    "occupancy": {"resolution": 16},
    "march": {"step_size": 0.1},
    "camera": {"views": 1, "resolution": [[0.0, 8]]},
    "train": {"steps": 6, "preview_every": 0, "checkpoint_every": 2, "log_every": 2},
}
PROMPTS = ["a red chair", "a blue mug", "a yellow duck"]


def train(prompts: list[str], out: Path | None, **options: Any) -> list[dfast.Result]:
    options = {"config": TINY, "progress": False, "device": "cpu"} | options
    return dfast.train(prompts, out=out, **options)


def test_every_run_has_its_folder_and_its_result(tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}

    def listen(event: dfast.Event) -> None:
        seen.setdefault(event.prompt, []).append(event.step)

    results = train(PROMPTS, tmp_path, seed=[1, 2, 3], callbacks=[listen])
    assert [r.prompt for r in results] == PROMPTS and [r.seed for r in results] == [1, 2, 3]
    assert seen == {prompt: [1, 2, 3, 4, 5, 6] for prompt in PROMPTS}
    folders = sorted(f.name for f in tmp_path.iterdir())
    assert folders == ["a-blue-mug", "a-red-chair", "a-yellow-duck"]
    for result in results:
        assert result.folder is not None
        loaded = dfast.load(result.folder)
        assert (
            loaded.steps == 6 and (loaded.render(resolution=8) == result.render(resolution=8)).all()
        )
        assert len((result.folder / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_run_that_is_made_longer_says_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(PROMPTS[:1], tmp_path, steps=2)
    train(PROMPTS[:2], tmp_path, steps=8, resume=True, progress=True)
    said = capsys.readouterr().err
    assert '"a red chair", seed 0, from step 2 of 2, which is 25% of 8\n' in said
    assert '"a blue mug", seed 0, from step 0\n' in said


def test_seeds_of_one_prompt_have_folders_of_their_own(tmp_path: Path) -> None:
    results = train(["a red chair", "a  red chair"], tmp_path, seed=[4, 5], steps=1)
    names = [r.folder.name for r in results if r.folder]
    assert names == ["a-red-chair-seed-4", "a-red-chair-seed-5"]
    with pytest.raises(ConfigError, match='different ones for "a red chair", got 4 twice'):
        train(["a red chair", "a red chair"], tmp_path / "b", seed=4)


def test_stopped_runs_go_on(tmp_path: Path) -> None:
    stop = threading.Event()

    def after_three(event: dfast.Event) -> None:
        if event.step == 3:
            event.stop()

    stopped = train(PROMPTS[:2], tmp_path, stop=stop, callbacks=[after_three])
    assert [r.steps for r in stopped] == [3, 3]
    seen: list[tuple[str, int]] = []
    resumed = train(
        PROMPTS,  # one more, which begins and is stepped alone until it has caught up
        tmp_path,
        resume=True,
        callbacks=[lambda event: seen.append((event.prompt, event.step))],
    )
    assert [r.steps for r in resumed] == [6, 6, 6]
    assert [s for p, s in seen if p == PROMPTS[2]] == [1, 2, 3, 4, 5, 6]
    assert [s for p, s in seen if p == PROMPTS[0]] == [4, 5, 6]
    again = train(PROMPTS, tmp_path, resume=True, callbacks=[lambda _: pytest.fail("a step")])
    assert [r.steps for r in again] == [6, 6, 6]


def test_few_at_a_time_and_each_result_when_it_is_there(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    told: list[tuple[str, int]] = []
    results = train(
        PROMPTS,
        tmp_path,
        at_once=2,
        callbacks=[lambda event: seen.append((event.prompt, event.step))],
        on_result=lambda result: told.append((result.prompt, len(seen))),
    )
    assert [r.prompt for r in results] == PROMPTS
    assert told == [(PROMPTS[0], 11), (PROMPTS[1], 12), (PROMPTS[2], 18)]
    assert {p for p, _ in seen[:12]} == set(PROMPTS[:2]) and seen[12] == (PROMPTS[2], 1)
    with pytest.raises(ConfigError, match="a whole number of at least 1 or 'fit', got 0"):
        train(PROMPTS, None, at_once=0)
    with pytest.raises(ConfigError, match="at_once: expected None with one prompt"):
        dfast.train("a red chair", at_once=2, config=TINY)  # type: ignore[call-overload]


def test_a_folder_that_cannot_be_used_is_told_before_any_run(tmp_path: Path) -> None:
    (tmp_path / "a-yellow-duck").mkdir()
    (tmp_path / "a-yellow-duck" / "mine.txt").touch()
    with pytest.raises(dfast.RunFolderError, match="a-yellow-duck"):
        train(PROMPTS, tmp_path, at_once=1)
    assert [f.name for f in tmp_path.iterdir()] == ["a-yellow-duck"]


def test_a_failure_is_told_when_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_step = Trainer.end_step

    def failing(self: Trainer, metrics: Any) -> Any:
        if self.prompt == PROMPTS[1] and self.step == 2:
            raise CollapsedError("the scene stays empty")
        return end_step(self, metrics)

    monkeypatch.setattr(Trainer, "end_step", failing)
    with pytest.raises(RunsFailedError, match="1 of 3 runs failed: the scene stays") as caught:
        train(PROMPTS, tmp_path)
    assert [r and r.steps for r in caught.value.results] == [6, None, 6]
    assert list(caught.value.errors) == [1]
    monkeypatch.undo()
    assert [r.steps for r in train(PROMPTS, tmp_path, resume=True)] == [6, 6, 6]


@pytest.mark.parametrize(
    ("prompts", "options", "error", "message"),
    [
        ([], {}, PromptError, "got an empty list"),
        (["a red chair", 3], {}, PromptError, "got 3"),
        (["a red chair", "a glorb"], {}, PromptError, "glorb"),
        (["a red chair", "a blue mug"], {"seed": [1]}, ConfigError, "a number or 2 of them, got 1"),
    ],
)
def test_bad_lists_are_refused_before_anything_is_written(
    tmp_path: Path, prompts: list[Any], options: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        train(prompts, tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_prompts_that_differ_in_case_or_script_have_folders_of_their_own(tmp_path: Path) -> None:
    prompts = ["a corgi", "A corgi!", "\u72ac", "\u732b"]
    options: dict[str, Any] = {"prior": OraclePrior(8), "steps": 2}
    results = train(prompts, tmp_path, **options)
    assert [result.prompt for result in results] == prompts
    assert len({result.folder for result in results}) == len(prompts)
    again = train(prompts, tmp_path, resume=True, **options)
    assert [result.folder for result in again] == [result.folder for result in results]


def test_what_is_made_in_place_of_a_word_is_recorded(tmp_path: Path) -> None:
    with pytest.warns(dfast.DfastWarning, match="corgi: made as a dog"):
        train(["a corgi", "a blue mug"], tmp_path, steps=1)
    about = [json.loads((run / "run.json").read_text()) for run in sorted(tmp_path.iterdir())]
    notes = {run["prompt"]: run.get("notes") for run in about}
    assert notes == {"a blue mug": None, "a corgi": ["corgi: made as a dog"]}
