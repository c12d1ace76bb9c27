"""Times of steps of several objects side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dfast.bench import at_once
from dfast.bench.priors import Options
from dfast.cli.main import main
from dfast.config import Config
from dfast.errors import ConfigError

pytestmark = pytest.mark.usefixtures("needs_native")

SMALL = [
    "march.step_size=0.1",
    "field.grid.log2_entries=10",
    "field.grid.levels=4",
    "camera.resolution=[[0.0, 8], [0.4, 12]]",
    "camera.views=1",
    "occupancy.resolution=16",
]
SETS = [word for change in SMALL for word in ("--set", change)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "cache"))


def test_the_command_measures_numbers_of_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.json"
    line = ["bench", "--prior", "shapes, if-m", "--random", "--quick", "--at-once", "3,1"]
    assert main([*line, "--steps", "1", *SETS, "--device", "cpu", "--out", str(out)]) == 0
    records: list[dict[str, Any]] = json.loads(out.read_text())
    found = [(r["model"], r["random"], r["at_once"]) for r in records]
    assert found == [
        ("shapes", False, 1), ("shapes", False, 3), ("if-m", True, 1), ("if-m", True, 3),
    ]  # fmt: skip
    for one, three in (records[:2], records[2:]):
        assert one["gain"] == 1.0 and one["views"] == 1
        ratio = three["objects_per_hour"] / one["objects_per_hour"]
        assert three["gain"] == pytest.approx(ratio, rel=1e-2)
        small, large = (phase["step_ms"] for phase in one["phases"])
        assert one["step_ms"] == pytest.approx(0.4 * small + 0.6 * large, rel=1e-3)
        hours = one["step_ms"] * one["run_steps"] / 3.6e6
        assert one["objects_per_hour"] == pytest.approx(1 / hours, rel=1e-2)
    assert records[0]["run_steps"] == Config.default("cpu").train.steps
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[:3] == ["model", "at_once", "step_ms"] and len(rows) == 5


def test_what_fails_is_named_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(prior: object, device: object, config: object, count: int, steps: int) -> Any:
        if count == 2:
            raise RuntimeError("no room")
        return {"step_ms": 1.0, "objects_per_hour": 5.0 * count}

    monkeypatch.setattr(at_once, "measure", measure)
    how = Options(torch.device("cpu"), say=lambda line: None)
    records = at_once.run(["shapes"], [1, 2, 4], how)
    assert [r.get("gain") for r in records] == [1.0, None, 4.0]
    assert records[1]["error"] == "RuntimeError: no room"
    assert at_once.table(records).splitlines()[2].endswith("RuntimeError: no room")


@pytest.mark.parametrize("text", ["", "0", "1,", "1,x", "257", "-1", "1.5"])
def test_wrong_numbers_are_named(text: str) -> None:
    with pytest.raises(
        ConfigError, match="--at-once: expected numbers from 1 to 256 as 1,2,4, got"
    ):
        at_once.parse_counts(text)


def test_numbers_rise_and_come_once() -> None:
    assert at_once.parse_counts("4, 1,2,2") == [1, 2, 4]


def test_numbers_need_priors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--at-once", "1,2"]) == 2
    assert "--at-once: expected with --prior" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_objects_are_recorded_on_a_gpu() -> None:
    how = Options(torch.device("cuda"), steps=4, random=True, tiny=True, say=lambda line: None)
    records: list[dict[str, Any]] = at_once.run(["shapes", "sd15"], [1, 2], how)
    for record in records:
        assert "error" not in record, record
        assert record["captures"] > 0 and record["peak_mib"] > 0
