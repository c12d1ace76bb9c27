"""`dfast evaluate` on a stand-in for a run."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dfast import errors
from dfast.cli.main import main
from dfast.evaluation.score import score
from dfast.evaluation.scorecard import Score

Calls = list[dict[str, Any]]
"""Arguments of the calls to `dfast.train`."""


@functools.cache
def _scored(kind: type, prompt: str) -> Score:
    """Return the score of a stand-in, which takes seconds and is the same each time."""
    return score(kind(), prompt)


@pytest.fixture(autouse=True)
def score_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score every stand-in once, whatever the seed and the time."""

    def recorded(
        result: Any,
        prompt: str | None = None,
        *,
        seed: int | None = None,
        seconds: float | None = None,
    ) -> Score:
        found = _scored(type(result), prompt or result.prompt)
        return dataclasses.replace(found, seed=seed, seconds=seconds)

    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules[score.__module__], "score", recorded)


def test_evaluate_runs_and_prompts(
    tmp_path: Path, cube: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "run", "--json", str(tmp_path / "a.json"), "--device", "cpu"]) == 0
    assert "a red cube" in capsys.readouterr().out
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["summary"]["alone"]["top1"] == 1.0 and stored["device"] == "cpu"

    import dfast.priors

    monkeypatch.setattr(
        dfast.priors, "load_prior", lambda name, device, **_: SimpleNamespace(name=name)
    )
    (tmp_path / "prompts.txt").write_text("# two\na red cube\n\na red sphere # round\n")
    line = [
        "evaluate",
        "--prompts",
        str(tmp_path / "prompts.txt"),
        "--seeds",
        "2",
        "--device",
        "cpu",
    ]
    assert main([*line, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(s["prompt"], s["seed"]) for s in report["scores"]] == [
        ("a red cube", 0),
        ("a red cube", 1),
        ("a red sphere", 0),
        ("a red sphere", 1),
    ]
    assert report["scores"][2]["nearest"] == "cube" and len(cube) == 4


def test_the_table_is_shown_also_where_the_file_cannot_be_written(
    tmp_path: Path, cube: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    line = ["evaluate", "run", "--device", "cpu", "--json", str(tmp_path / "file" / "a.json")]
    assert main(line) == 2
    said = capsys.readouterr()
    assert "a red cube" in said.out and "--json: " in said.err


def test_a_collapsed_run_is_counted_not_fatal(
    cube: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dfast.priors

    def train(prompt: str, **options: object) -> None:
        raise errors.CollapsedError("the scene became empty")

    monkeypatch.setattr(dfast, "train", train, raising=False)
    monkeypatch.setattr(
        dfast.priors, "load_prior", lambda name, device, **_: SimpleNamespace(name=name)
    )
    assert main(["evaluate", "--prompt", "a red cube", "--device", "cpu", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["summary"]["all"]["collapsed"] == 1
