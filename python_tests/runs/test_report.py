"""The report of a run folder, and what a notebook shows of a result."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from html_pages import Page
from tiny_runs import train_tiny

import dfast
from dfast.cli.main import main
from dfast.errors import ExportError
from dfast.runs.report import gather
from dfast.runs.result import Result

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of four steps."""
    train_tiny("a <b>ball</b>", out=tmp_path / "run")
    return tmp_path / "run"


def test_a_report_needs_only_its_run_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    assert page.loads() == [] and not page.named("b") and "a <b>ball</b>" in page.text
    sheet, *previews = page.images()
    assert sheet.size == (5 * 256, 3 * 256) and len(previews) == 2
    assert np.asarray(sheet).std() > 5
    assert "step 2" in page.text and "step 4" in page.text
    assert len(page.named("svg")) == 6 and len(page.named("canvas")) == 1
    assert f"torch{torch.__version__}" in page.text and f"run{dfast.__version__}" in page.text
    assert "max_resolution = 32" in page.text and "priororacle" in page.text
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_pictures_in_the_folder_are_shown_as_they_are(run: Path) -> None:
    result = dfast.load(run)
    result.mesh(run / "object.glb", resolution=16, texture=64)
    result.turntable(run / "turntable.gif", frames=2, resolution=16)
    result.contact_sheet(run / "contact_sheet.png", resolution=8)
    facts = gather(result)
    assert facts.glb == (run / "object.glb").read_bytes()
    assert [picture.data for picture in facts.pictures] == [
        (run / name).read_bytes() for name in ("turntable.gif", "contact_sheet.png")
    ]
    (run / "object.glb").write_bytes(b"x" * (7 << 20))  # too large to hold
    held = gather(result).glb
    assert held is not None and held[:4] == b"glTF" and len(held) < 1 << 20


def test_scores_are_shown_if_the_run_was_scored(run: Path) -> None:
    result = dfast.load(run)
    result.contact_sheet(run / "contact_sheet.png", resolution=8)  # else each report draws one
    result.mesh(run / "object.glb", resolution=16, vertex_colors=True)
    assert gather(result).scores == []
    score = {
        "prompt": "a ball",
        "iou": 0.96123,
        "rank": 1,
        "front": None,
        "parts": [],
        "empty": False,
    }
    (run / "scores.json").write_text(json.dumps({"scores": [score]}))
    assert ("iou", "0.961") in gather(result).scores and ("rank", 1) in gather(result).scores
    made = (run / "result.safetensors").stat().st_mtime_ns
    os.utime(run / "scores.json", ns=(made - 1, made - 1))  # of the object before
    assert gather(result).scores == []
    for damaged in ("", "[]", "{}", '{"scores": [3]}', '{"scores": []}'):
        (run / "scores.json").write_text(damaged)
        assert gather(result).scores == []


def test_damaged_files_leave_a_report(run: Path) -> None:
    (run / "metrics.jsonl").write_text("nonsense\n")
    (run / "previews" / "step_000002.png").unlink()
    (run / "run.json").write_text("{")
    page = Page(Path(dfast.load(run).report()).read_text(encoding="utf-8"))
    assert not page.named("svg") and "unknown" in page.text


def test_reports_that_cannot_be_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = train_tiny()
    alone.prompt = "a \udcff ball"  # as of a result that something else has made
    with pytest.raises(ExportError, match=r"path: expected an \.html file"):
        alone.report()
    assert alone.report(tmp_path / "a.html").is_file()
    for path in ("a.txt", 3):
        with pytest.raises(ExportError, match=r"must end in \.html"):
            alone.report(path)  # type: ignore[arg-type]
    assert main(["report", str(run), "--out", "a.png"]) == 2
    assert "must end in one of .html" in capsys.readouterr().err


def test_a_loaded_result_knows_its_folder(run: Path) -> None:
    assert dfast.load(run).folder == run
    assert dfast.load(run / "result.safetensors").folder is None


def test_a_notebook_shows_a_picture_and_the_object(run: Path) -> None:
    result = dfast.load(run)
    html = result._repr_html_()
    page = Page(html)
    assert page.loads() == [] and not page.named("b") and repr(result) in page.text
    (image,) = page.images()
    assert np.array_equal(np.asarray(image), result.render(resolution=320))
    assert len(page.named("canvas")) == 1


def test_an_empty_scene_is_shown_without_an_object(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_surface(*_: object, **__: object) -> None:
        raise ExportError("no surface to export")

    monkeypatch.setattr(Result, "mesh", no_surface)
    result = dfast.load(run)
    assert not Page(result._repr_html_()).named("iframe")
    assert not Page(Path(result.report()).read_text(encoding="utf-8")).named("iframe")


def test_ipython_takes_the_page(run: Path) -> None:
    pytest.importorskip("IPython")
    from IPython.core.formatters import DisplayFormatter

    shown, _ = DisplayFormatter().format(dfast.load(run))
    assert shown["text/plain"].startswith("Result(") and "<iframe" in shown["text/html"]
