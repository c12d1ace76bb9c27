"""The table: means, errors and marks of known numbers, in every form."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dfast._version import __version__
from dfast.evaluation.clip_views import DREAMFUSION_COLOR
from dfast.reproduction.picture import THUMBNAIL, table_picture
from dfast.reproduction.published import TABLE1
from dfast.reproduction.report import SECONDS, WORLD, Report, Row, RunScore, clip_columns

CLIP = {
    "name": "/models/b32", "image_size": 224, "weights_sha256": "0123456789abcdef",
    "revision": None,
}  # fmt: skip
COLOR, GEO = "R color /models/b32", "R geo /models/b32"


def run(arm: str, seed: int, state: str = "done", **numbers: float) -> RunScore:
    names = {"color": COLOR, "geo": GEO}
    found = {names.get(key, key): value for key, value in numbers.items()}
    return RunScore(f"{arm}-{seed}", "a red cube", seed, state, "it stays empty", found)


def report(**changes: object) -> Report:
    rows = (
        Row("dfast", "dfast", 300, (
            run("dfast", 0, color=1.0, geo=0.5, iou=0.8, seconds=60.0),
            run("dfast", 1, color=0.5, geo=0.5, iou=0.6, seconds=120.0),
        )),
        Row("dream-fields", "dream-fields", 100, (
            run("df", 0, color=0.75, geo=0.25, iou=0.4),
            run("df", 1, "failed", color=0.0, geo=0.0, iou=0.0),
        ), guide="/models/b32"),
    )  # fmt: skip
    values = {
        "what": "table1",
        "title": "A table",
        "rows": rows,
        "columns": (*clip_columns(["/models/b32"]), WORLD[0], SECONDS),
        "prompts": ("a red cube",),
        "seeds": 2,
        "prior": "shapes",
        "device": "cpu",
        "quick": False,
        "choices": ("a red cube.", "a blue sphere."),
        "clips": (CLIP,),
        "views": (DREAMFUSION_COLOR.about(),),
        "published": TABLE1,
    }
    return Report(**values | changes)  # type: ignore[arg-type]


def test_cells_are_means_with_standard_errors() -> None:
    found = report()
    assert found.heads == ["", "runs", "b32 R color", "b32 R geo", "IoU", "minutes"]
    # Two values x, y have the standard error |x - y| / 2.
    assert found.cells(found.rows[0]) == [
        "dfast", "2", "75.0 ± 25.0", "50.0 ± 0.0", "0.70 ± 0.10", "1.50 ± 0.50",
    ]  # fmt: skip
    assert found.cells(found.rows[1]) == [
        "dream-fields", "2 (1 failed)", "(37.5 ± 37.5)", "(12.5 ± 12.5)", "0.20 ± 0.20", "-",
    ]  # fmt: skip
    one = Row("x", "x", 1, (run("x", 0, iou=0.5),))
    mean = one.mean("iou")
    assert mean is not None and mean == (0.5, None, 1) and one.mean("front") is None
    three = Row("x", "x", 1, tuple(run("x", seed, iou=seed) for seed in range(3)))
    mean = three.mean("iou")
    assert mean is not None and mean.error == pytest.approx(1.0 / math.sqrt(3.0))


def test_markdown_says_how_everything_was_measured() -> None:
    text = report(notes=("Nothing else.",)).markdown()
    assert "| dfast | 2 | 75.0 ± 25.0 | 50.0 ± 0.0 | 0.70 ± 0.10 | 1.50 ± 0.50 |" in text
    for said in (
        "1 prompt, 2 seeds, prior shapes, cpu",
        f"dfast {__version__}",
        "retrieved among 2; chance is 50",
        "CLIP /models/b32: 224 pixels, weights 0123456789ab.",
        "CLIP /models/b32 guided dream-fields.",
        "In parentheses: by the CLIP that guided the runs.",
        "dreamfusion-color: 8 azimuths, elevation 30",
        "background (1, 1, 1)",
        "Steps: dfast 300, dream-fields 100.",
        "Nothing else.",
        "- df-1: it stays empty",
        "| DreamFusion | 75.1 | 42.5 | 77.5 | 46.6 | 79.7 | 58.5 |",
        "cannot be compared",
    ):
        assert said in text, said
    assert "quick" not in text and "quick settings" in report(quick=True).markdown()
    lines = [line for line in report(published=()).markdown().splitlines() if line[:1] == "|"]
    assert len({line.count("|") for line in lines}) == 1


def test_json_holds_every_run_and_the_means() -> None:
    found = json.loads(json.dumps(report().as_dict()))
    assert found["dfast"] == __version__ and found["clips"] == [CLIP]
    first = found["rows"][0]
    assert first["means"]["iou"] == pytest.approx({"value": 0.7, "error": 0.1, "runs": 2})
    assert first["runs"][1]["numbers"] == {COLOR: 0.5, GEO: 0.5, "iou": 0.6, "seconds": 120.0}
    assert found["rows"][1]["failed"] == 1 and found["views"][0]["name"] == "dreamfusion-color"


def test_the_picture_shows_the_runs_beside_their_numbers() -> None:
    green = np.zeros((32, 32, 3), np.uint8) + np.array([0, 200, 0], np.uint8)
    plain = table_picture(report(), {})
    image = table_picture(report(), {("dfast", "a red cube"): green})
    seen = (image == np.array([0, 200, 0])).all(-1)
    assert seen.sum() == THUMBNAIL**2 and not (plain == np.array([0, 200, 0])).all(-1).any()
    rows, columns = np.nonzero(seen)
    # Every edge of the picture is free, also right of the thumbnail and of the numbers.
    assert (image[:, -8:] == 255).all() and (image[-8:] == 255).all()
    assert columns.max() < image.shape[1] - 8 and rows.max() < image.shape[0] / 2 + THUMBNAIL
    assert (plain < 128).any()


def test_plain_text_is_aligned() -> None:
    lines = report().text().splitlines()[:3]
    assert len({len(line) for line in lines}) == 1 and lines[0].endswith("minutes")
