"""The callback for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from oracle import OraclePrior
from PIL import Image
from tiny_runs import TINY, train_tiny

import dfast
from dfast.errors import ConfigError
from dfast.runs.records import read_metrics

pytestmark = pytest.mark.usefixtures("needs_native")


def test_scalars_and_previews_come_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    with dfast.callbacks.TensorBoard(tmp_path / "logs") as board:
        train_tiny(out=run, callbacks=[board])
        read = EventAccumulator(str(tmp_path / "logs")).Reload()  # before it is closed
    expected = read_metrics(run / "metrics.jsonl")
    names = expected[0].keys() - {"step"}
    assert {f"train/{name}" for name in names} == set(read.Tags()["scalars"])
    for name in names:
        scalars = read.Scalars(f"train/{name}")
        assert [s.step for s in scalars] == [2, 4]
        assert [s.value for s in scalars] == pytest.approx([row[name] for row in expected])
    shown = read.Images("preview")
    assert [image.step for image in shown] == [2, 4]
    preview = Image.open(run / "previews" / "step_000004.png")
    stored = Image.open(io.BytesIO(shown[-1].encoded_image_string))
    assert np.array_equal(np.asarray(preview), np.asarray(stored))


def test_a_run_without_a_folder_has_scalars_only(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = dfast.callbacks.TensorBoard(str(tmp_path / "logs"))
    assert not (tmp_path / "logs").exists()
    train_tiny(callbacks=[board])
    board.close()
    board.close()
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_each_of_several_runs_has_its_own_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: list[dfast.Event] = []
    for out in (tmp_path / "runs", None):
        logs = tmp_path / f"logs-{out is None}"
        with dfast.callbacks.TensorBoard(logs) as board:
            dfast.train(
                ["a ball", "a box", "a box"],
                prior=OraclePrior(12),
                seed=[0, 1, 2],
                out=out,
                config=TINY,
                device="cpu",
                progress=False,
                callbacks=[board, events.append],
            )
        assert sorted(f.name for f in logs.iterdir()) == ["a-ball", "a-box-seed-1", "a-box-seed-2"]
        for folder in logs.iterdir():
            read = EventAccumulator(str(folder)).Reload()
            assert [s.step for s in read.Scalars("train/opacity")] == [2, 4]
            assert ("preview" in read.Tags()["images"]) is (out is not None)
    there = {event.name: event.folder for event in events[:12]}
    assert there == {name: tmp_path / "runs" / name for name in there} and len(there) == 3
    assert {event.folder for event in events[12:]} == {None}


def test_an_event_names_the_folder_of_a_run_alone(tmp_path: Path) -> None:
    events: list[dfast.Event] = []
    train_tiny(out=tmp_path / "run", callbacks=[events.append])
    assert {(event.folder, event.name) for event in events} == {(tmp_path / "run", "")}


def test_what_cannot_be_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (3, None, ""):
        with pytest.raises(ConfigError, match="log_dir: expected a folder"):
            dfast.callbacks.TensorBoard(bad)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r'pip install "dfast\[tensorboard\]"'):
        dfast.callbacks.TensorBoard(tmp_path)
