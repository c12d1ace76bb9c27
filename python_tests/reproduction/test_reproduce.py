"""Comparisons with a tiny model and a tiny CLIP: runs, scores, restarts, refusals."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
import tiny_models
from PIL import Image
from tiny_runs import TINY

from dfast.batches import process
from dfast.batches.job import Job, Outcome
from dfast.batches.plan import Place, Resources
from dfast.cli.main import main
from dfast.clip import load_clip
from dfast.config import Config
from dfast.errors import ConfigError, DfastError, PromptError
from dfast.evaluation.clip_score import Subject, score_with_clips
from dfast.evaluation.clip_views import views_of_scene
from dfast.reproduction import scoring
from dfast.reproduction.prompts import PROMPTS, is_world
from dfast.reproduction.reproduce import Reproduction, reproduce
from dfast.runs.events import Event
from dfast.runs.exports import SCORES
from dfast.runs.result import Result
from dfast.runs.train import train
from dfast.runs.unfinished import CHECKPOINT, RESULT

pytestmark = pytest.mark.usefixtures("needs_native")

PHOTOS = ["a photo of a corgi on mars", "a photo of a violin"]
"""No sentences of the procedural world, whose scores would take long."""
METHODS = ["dreamfusion", "dfast"]
SECTIONS = TINY.to_dict()
SETTINGS = {
    name: SECTIONS[name] for name in ("occupancy", "march", "camera")
} | {
    "field": {
        "grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8,
        "ipe": {"frequencies": 2, "directions": "axes", "width": 4, "blocks": 1},
        "density_bias": -4.0,
    },
    "coarse_to_fine": {"levels_start": 3},
    "optimizer": {"warmup_steps": 0},
    "train": {
        "steps": 4, "log_every": 2, "preview_every": 0, "checkpoint_every": 2,
        "average_from": 1.0,
    },
}  # fmt: skip


class Killed(BaseException):
    """As if the process had gone."""


class InProcess:
    """An engine that makes runs in this process, which may be killed in the midst of one."""

    def __init__(self, kill: str = "", fail: str = "") -> None:
        self.kill, self.fail, self.made = kill, fail, list[str]()

    def submit(self, job: Job) -> Future[Outcome]:
        self.made.append(job.name)
        future: Future[Outcome] = Future()
        if job.name == self.kill:
            self._kill(job)
        if job.name == self.fail:
            future.set_result(Outcome("failed", "the scene stays empty"))
            return future
        process.finish(job, process._train(job))
        future.set_result(Outcome("done", seconds=1.0))
        return future

    def _kill(self, job: Job) -> None:
        def killed(event: Event) -> None:
            if event.step == 3:
                raise Killed

        train(
            job.prompt, prior=job.prior, clip=job.clip or None, out=job.folder, seed=job.seed,
            device=job.device, config=Config.from_dict(job.config), callbacks=[killed],
        )  # fmt: skip

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    made = InProcess()
    monkeypatch.setattr(Resources, "open", lambda self, runs: Place(made, "cpu", 1, 1, 1, 1))
    return made


def run(out: Path, what: Any = "table1", **options: Any) -> Reproduction:
    defaults: dict[str, Any] = {
        "prompts": PHOTOS,
        "prior": str(tiny_models.folder("if-m")),
        "clips": (str(tiny_clip.folder()),),
        "methods": METHODS if what == "table1" else None,
        "config": SETTINGS,
        "device": "cpu",
        "progress": False,
    }
    return reproduce(what, out, **defaults | options)


def test_a_killed_comparison_goes_on(tmp_path: Path, engine: InProcess) -> None:
    options: dict[str, Any] = {"methods": ["dfast"]}
    whole = run(tmp_path / "whole", **options)
    names = list(engine.made)
    assert len(names) == 2
    engine.made.clear()
    engine.kill = names[1]
    with pytest.raises(Killed):
        run(tmp_path / "killed", **options)
    assert engine.made == names and (tmp_path / "killed/runs" / names[1] / CHECKPOINT).exists()
    assert not list((tmp_path / "killed").glob("table1.*"))
    engine.made.clear()
    engine.kill = ""
    again = run(tmp_path / "killed", **options)
    assert engine.made == names[1:]
    for name in names:
        files = [tmp_path / out / "runs" / name / RESULT for out in ("whole", "killed")]
        assert files[0].read_bytes() == files[1].read_bytes()

    def without_time(made: Reproduction) -> list[dict[str, float]]:
        scores = [run.numbers for row in made.report.rows for run in row.runs]
        return [{k: v for k, v in numbers.items() if k != "seconds"} for numbers in scores]

    assert without_time(again) == without_time(whole)
    assert [path.name for path in again.files] == ["table1.md", "table1.json", "table1.png"]


def test_what_is_done_is_neither_made_nor_measured_again(
    tmp_path: Path, engine: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path, methods=["dfast"])
    asked: list[str] = []
    monkeypatch.setattr(
        scoring.ClipJudges, "_measure", lambda self, name, *_: asked.append(name) or {}
    )
    engine.made.clear()
    again = run(tmp_path, methods=["dfast"])
    assert not engine.made and not asked and again.report == first.report
    more = ["a photo of a cat"]
    run(tmp_path, methods=["dfast"], among=more)  # other choices are another question
    assert not engine.made and len(asked) == 2


def test_numbers_are_those_of_evaluate(tmp_path: Path, engine: InProcess) -> None:
    found = run(tmp_path, methods=["dfast"], among=["a photo of a cat"])
    (row,) = found.report.rows
    clip = load_clip(str(tiny_clip.folder()), "cpu")
    choices = [*PHOTOS, "a photo of a cat"]
    for one in row.runs:
        result = Result.load(tmp_path / "runs" / one.name)
        subject = Subject(
            one.name, one.prompt, "run", 0,
            lambda views, result=result: views_of_scene(result.scene, result.config.march, views),
        )  # fmt: skip
        (score,) = next(score_with_clips([subject], [clip], choices, ("r-precision",)))
        assert one.numbers[f"R color {clip.name}"] == score.r_precision["dreamfusion-color"]
        assert one.numbers[f"R geo {clip.name}"] == score.r_precision["dreamfusion-geometry"]
        assert one.numbers["seconds"] > 0
    values = json.loads((tmp_path / "table1.json").read_text())
    assert values["clips"][0]["weights_sha256"] == clip.digest
    assert values["choices"] == [f"{choice}." for choice in choices]
    assert "IoU, colours, normals and front were left out" in found.files[0].read_text()
    with Image.open(found.files[2]) as image:
        assert image.width >= 900


def test_a_failed_run_counts_as_a_miss(tmp_path: Path, engine: InProcess) -> None:
    engine.fail = "dfast-a-photo-of-a-violin-0"
    found = run(tmp_path, methods=["dfast"])
    (row,) = found.report.rows
    assert row.failed == 1 and found.batch.failed[0].name == engine.fail
    clip = str(tiny_clip.folder())
    assert row.runs[1].numbers == {f"R color {clip}": 0.0, f"R geo {clip}": 0.0}
    assert "- dfast-a-photo-of-a-violin-0: the scene stays empty" in found.files[0].read_text()


def test_a_clip_guides_its_methods_beside_any_prior(tmp_path: Path, engine: InProcess) -> None:
    methods, clip = ["dream-fields", "dfast"], tiny_clip.folder()
    found = run(tmp_path, methods=methods, guide=clip, seeds=np.int64(1))
    assert not found.batch.failed and [row.guide for row in found.report.rows] == [str(clip), ""]
    assert json.loads((tmp_path / "table1.json").read_bytes())["seeds"] == 1


def test_without_a_clip_its_columns_are_left_out(tmp_path: Path, engine: InProcess) -> None:
    found = run(tmp_path, clips=(), prompts=PHOTOS[:1])
    assert [column.title for column in found.report.columns] == ["minutes"]
    assert engine.made == [f"{name}-a-photo-of-a-corgi-on-mars-0" for name in METHODS]
    assert "R-Precision was left out, as was asked." in found.files[0].read_text()


def test_an_ablation_has_five_rows(tmp_path: Path, engine: InProcess) -> None:
    settings = {**SETTINGS, "train": {**SETTINGS["train"], "steps": 1}}
    found = run(tmp_path, "ablation", prompts=PHOTOS[:1], clips=(), config=settings)
    titles = ["narrow views", "+ wide views", "+ view words", "+ lighting", "+ textureless"]
    assert [row.title for row in found.report.rows] == titles and len(engine.made) == 5
    configs = [Config.load(tmp_path / "runs" / name / "config.toml") for name in engine.made]
    # What all arms are given does not undo what an arm leaves out.
    assert configs[0].camera.elevation == (30.0, 30.0)
    assert configs[-1].camera.elevation == TINY.camera.elevation
    assert found.files[0].name == "ablation.md"


def test_settings_of_one_method_are_laid_over_those_of_all(
    tmp_path: Path, engine: InProcess
) -> None:
    own = {"dfast": {"train": {"steps": 1}, "guidance": {"scale": 7.0}}}
    found = run(tmp_path, clips=(), prompts=PHOTOS[:1], steps=2, method_config=own)
    assert [row.steps for row in found.report.rows] == [2 - (name == "dfast") for name in METHODS]
    scales = {
        name: Config.load(tmp_path / "runs" / made / "config.toml").guidance.scale
        for name, made in zip(METHODS, engine.made, strict=True)
    }
    assert [name for name, scale in scales.items() if scale == 7.0] == ["dfast"]


def test_scores_of_the_world_are_those_of_the_run(tmp_path: Path) -> None:
    scores = {"iou": 0.5, "colors": 1.0, "front": True, "surface": {"normals": 4.0}}
    status = scoring.Status("x", "a red cube", 0, {}, state="done")
    (tmp_path / SCORES).write_text(json.dumps({"scores": [scores]}))
    expected = {"iou": 0.5, "colors": 1.0, "front": 1.0, "normals": 4.0}
    assert scoring.world_numbers(tmp_path, status) == expected
    (tmp_path / SCORES).write_text(
        json.dumps({"scores": [scores | {"front": None, "surface": None}]})
    )
    assert scoring.world_numbers(tmp_path, status) == {"iou": 0.5, "colors": 1.0}


def test_every_usual_prompt_is_one_of_the_world() -> None:
    assert is_world(PROMPTS) and not is_world([*PROMPTS, PHOTOS[0]])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"what": "table2"}, ConfigError, "what: expected one of table1, ablation, got 'table2'"),
        ({"seeds": 0}, ConfigError, "seeds: expected 1 to"),
        ({"prompts": []}, ConfigError, "prompts: expected a list of descriptions, got"),
        ({"prompts": ["x", " "]}, PromptError, "prompts: expected descriptions such as"),
        ({"prompts": ["x", "X."]}, ConfigError, "prompts: expected each once, got 'x' and 'X.'"),
        ({"prompts": ["x"]}, ConfigError, "prompts: expected two or more among which a CLIP"),
        ({"what": "ablation", "methods": ["dfast"]}, ConfigError, "methods: expected None with"),
        ({"what": "ablation", "method": "clip-mesh"}, ConfigError, "method: expected one of dfast"),
        (
            {"clips": "shapes"},
            ConfigError,
            "clips: expected a list of names of CLIPs, got",
        ),
        ({"clips": ["/no/such"]}, ConfigError, "clip: expected .*`--no-clip`"),
        ({"prior": "nothing"}, DfastError, "prior: expected 'shapes'"),
        ({"guide": "/no/such"}, DfastError, "guide: expected"),
        ({"steps": 0}, ConfigError, "steps: expected a whole number >= 1"),
        ({"jobs": 0}, ConfigError, "jobs: expected 1 to"),
        ({"config": {"field": {"size": 1}}}, ConfigError, "config key 'field.size'"),
        ({"method_config": {"nerf": {}}}, ConfigError, "method_config: expected some of dfast"),
        ({"method_config": {"dfast": 3}}, ConfigError, "method_config: expected tables of"),
        ({"method_config": ["dfast"]}, ConfigError, "method_config: expected tables of"),
        ({"method_config": {"clip-mesh": {}}}, ConfigError, "expected methods of this comparison"),
        ({"what": ["table1"]}, ConfigError, "what: expected one of table1, ablation, got"),
        ({"prompts": 3}, ConfigError, "prompts: expected a list of descriptions, got 3"),
        ({"prompts": ["x", 3]}, ConfigError, "prompts: expected a list of descriptions, got"),
        ({"among": "a red dog"}, ConfigError, "among: expected a list of descriptions, got"),
        ({"among": None}, ConfigError, "among: expected a list of descriptions, got None"),
        ({"clips": None}, ConfigError, "clips: expected a list of names of CLIPs, got None"),
        ({"config": 3}, ConfigError, "config: expected tables of settings or None, got 3"),
        ({"methods": "dfast"}, ConfigError, "methods: expected a list of some of dfast"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(
    options: dict[str, Any], error: type[DfastError], message: str, tmp_path: Path
) -> None:
    given = {"what": "table1"} | options
    with pytest.raises(error, match=message) as caught:
        run(tmp_path / "out", **given)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["table1", "--clip", "x", "--no-clip"], "--no-clip: expected without --clip"),
        (["ablation", "--methods", "dfast"], "--methods: expected with table1, got ablation"),
        (["table1", "--method", "dfast"], "--method: expected with ablation, got table1"),
        (["table1", "--prompts", "/no/such"], "--prompts: '/no/such' cannot be read"),
        (["table1", "--methods", "nerf"], "methods: expected some of dfast"),
        (["table1", "--guide", "/no/such"], "guide: expected 'shapes'"),
        (["table1", "--methods", "dream-fields", "--guide", ""], "guide: expected the CLIP"),
        (["table1", "--clip", "/no/such"], "`--no-clip`"),
        (["table1", "--set", "steps"], "--set: expected"),
        (["table1", "--set", "dfast:steps"], "--set: expected"),
        (["table1", "--set", "nerf:train.steps=5"], "--set: expected KEY=VALUE"),
        (["table1", "--device", "warp"], "device: expected cpu, cuda"),
    ],
)
def test_bad_command_lines_are_refused_in_one_line(
    line: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *line, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and message in said and not (tmp_path / "out").exists()


def test_the_command_prints_the_table(
    tmp_path: Path, engine: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(f"# what to make\n{PHOTOS[0]}\n")
    line = ["reproduce", "table1", "--out", str(tmp_path / "out"), "--prompts", str(prompts)]
    line += ["--prior", str(tiny_models.folder("if-m")), "--no-clip", "--methods", "dfast"]
    line += ["--quick", "--steps", "1", "--device", "cpu", "--quiet"]
    line += ["--set", "camera.resolution=[[0,8]]", "--set", "dfast:occupancy.resolution=16"]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert "dfast" in said.splitlines()[1] and "quick settings" in said
    assert said.splitlines()[-1].endswith("table1.png")
