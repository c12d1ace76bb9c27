"""`dfast evaluate` on a stand-in for a run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dfast import errors
from dfast.cli.main import main

Calls = list[dict[str, Any]]
"""Arguments of the calls to `dfast.train`."""


def test_evaluate_runs_and_prompts(
    tmp_path: Path, cube: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "run", "--json", str(tmp_path / "a.json"), "--device", "cpu"]) == 0
    assert "a red cube" in capsys.readouterr().out
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["summary"]["single"]["top1"] == 1.0 and stored["device"] == "cpu"

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
