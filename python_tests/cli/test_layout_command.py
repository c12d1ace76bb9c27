"""`dfast train --layout` and `--parts`: what they pass on, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dfast
from dfast.cli.main import main
from dfast.evaluation.score import with_parts

pytestmark = pytest.mark.usefixtures("needs_native")

CUBE = {"name": "cube", "prompt": "a red cube", "position": [0.0, -0.5, 0.0], "size": 0.5}
BALL = {"name": "ball", "prompt": "a blue sphere", "position": [0.0, 0.5, 0.0], "size": 0.5}
LAYOUT: dict[str, Any] = {"prompt": "a red cube next to a blue sphere", "parts": [CUBE, BALL]}


def written(**changes: Any) -> str:
    """Write a layout with some keys changed into the current folder; return its name."""
    Path("scene.json").write_text(json.dumps(LAYOUT | changes))
    return "scene.json"


def test_a_layout_is_passed_on(cube: list[dict[str, Any]]) -> None:
    line = ["train", "--layout", written(), "--no-export", "--device", "cpu"]
    assert main(line) == 0
    assert main([*line, "--set", "layout.whole=0.25", "--steps", "7"]) == 0
    first, second = cube
    assert first["prompt"] == LAYOUT["prompt"]
    assert first["config"] == dfast.Config.default().replace(layout=LAYOUT)
    assert first["out"] == Path("runs/a-red-cube-next-to-a-blue-sphere")
    assert second["config"].layout.whole == 0.25 and second["config"].train.steps == 7


def test_settings_fit_one_another_and_not_what_was(cube: list[dict[str, Any]]) -> None:
    Path("rings.toml").write_text("[camera]\nviews = 8\nring = 8\n")
    line = ["train", "--layout", written(), "--no-export", "--device", "cpu"]
    changes = ["--set", "camera.views=6", "--set", "camera.ring=3"]
    assert main([*line, "--config", "rings.toml", *changes]) == 0
    solid = ["--set", "background.kind=solid"]
    assert main([*line, "--preset", "dreamfusion", *solid]) == 0
    first, second = (call["config"] for call in cube)
    assert (first.camera.views, first.camera.ring) == (6, 3)
    assert second.background.kind == "solid" and second.layout.parts


def test_settings_have_the_prompt_of_their_layout(cube: list[dict[str, Any]]) -> None:
    dfast.Config().replace(layout=LAYOUT).save("config.toml")
    line = ["train", "--config", "config.toml", "--no-export", "--device", "cpu"]
    assert main(line) == 0
    assert main(["train", "a cube", *line[1:]]) == 2  # which is not that of the layout
    assert [call["prompt"] for call in cube] == [LAYOUT["prompt"]]


def test_a_sentence_is_split(
    cube: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "two red chairs next to a blue table"
    assert main(["train", sentence, "--parts", "--no-export", "--device", "cpu"]) == 0
    layout = cube[0]["config"].layout
    assert layout == dfast.layout_of(sentence) and layout.whole == 0.0
    assert "its parts are trained alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["a cube", "--layout", "scene.json"], "--layout: expected without a prompt"),
        (["--layout", "scene.json", "--parts"], "--layout: expected without --parts"),
        (["--layout", "scene.json", "--particles", "2"], "--layout: expected without --particles"),
        (["--layout", "scene.json", "--best-of", "2"], "--layout: expected without --best-of"),
        (["--layout", "scene.json", "--refine"], "--layout: expected without --refine"),
        (["--layout", "scene.json", "--prompts", "a"], "--layout: expected without --prompts"),
        (["--layout", "none.json"], "layout file 'none.json': cannot be read"),
        (["--layout", "bad.json"], "layout file 'bad.json': config key 'layout.parts[0].size'"),
        (["--layout", "mess.json"], "layout.prompt: expected one that the prior knows, or whole"),
        (["--layout", "glorb.json"], "layout.parts[1]: prompt: cannot read"),
        (["--parts"], "--parts: expected a sentence of two things, got none"),
        (["a red cube", "--parts"], "parts: expected two things with on top of"),
        (["--layout", "scene.json", "--set", "guidance.variant=vsd"],
         "config key 'guidance.variant': expected one that trains no copy"),
        (["--layout", "scene.json", "--method", "clip-mesh", "--clip", "x"],
         "config key 'method.name': expected one that a prior guides with a layout"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(
    line: list[str], message: str, cube: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    written(prompt="a mess")
    Path("scene.json").rename("mess.json")
    written(parts=[CUBE | {"size": 3}])
    Path("scene.json").rename("bad.json")
    written(parts=[CUBE, BALL | {"prompt": "a glorb"}], whole=0)
    Path("scene.json").rename("glorb.json")
    written()
    assert main(["train", *line]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said
    assert cube == [] and not Path("runs").exists()


def test_parts_are_scored_and_a_whole_that_was_seen() -> None:
    for whole, scored in ((0.0, ["cube", "ball"]), (0.5, ["whole", "cube", "ball"])):
        config = dfast.Config().replace(layout=LAYOUT | {"whole": whole})
        result: Any = SimpleNamespace(config=config, parts={"cube": "cube", "ball": "ball"})
        found = ["whole" if one is result else one for one in with_parts(result)]
        assert found == scored
    alone: Any = SimpleNamespace(config=dfast.Config(), parts={})
    assert with_parts(alone) == [alone]


def test_a_layout_that_the_prior_knows_is_estimated(
    cube: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["--set", "field.grid.log2_entries=10", "--set", "camera.resolution=[[0.0, 12]]"]
    line = ["train", "--layout", written(), "--dry-run", "--device", "cpu", *tiny]
    assert main(line) == 0
    assert "300 steps" in capsys.readouterr().out
