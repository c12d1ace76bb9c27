"""`dfast evaluate --jobs`: finished runs are scored in several processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import train_tiny

from dfast.cli.main import main

pytestmark = pytest.mark.usefixtures("needs_native")


def test_runs_are_scored_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b", "c")]
    for seed, path in enumerate(paths):
        train_tiny("a red cube", out=path, seed=seed)
    reports = []
    for jobs in ("1", "2"):
        line = ["evaluate", *paths, "--device", "cpu", "--json", "-", "--jobs", jobs]
        assert main(line) == 0
        reports.append(json.loads(capsys.readouterr().out)["scores"])
    assert [s["seed"] for s in reports[1]] == [0, 1, 2]
    assert [s["rank"] for s in reports[0]] == [s["rank"] for s in reports[1]]
    assert main(["evaluate", *paths, "--jobs", "0"]) == 2
    assert main(["evaluate", "--prompt", "a red cube", "--jobs", "2"]) == 2
    said = capsys.readouterr().err
    assert "--jobs: expected at least 1, got 0" in said and "expected with finished runs" in said
