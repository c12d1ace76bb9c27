"""Tables of runs: every format, names, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dfast.batches.table import Row, read_table
from dfast.config import Config, Layout
from dfast.errors import ConfigError


def table(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_text_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = table(tmp_path, "runs.txt", "# solids\na red  cube\n\nthe Blue sphere # round\n")
    assert [(r.name, r.prompt, r.seed, r.settings) for r in read_table(path, seeds=2)] == [
        ("a-red-cube-0", "a red cube", 0, {}),
        ("a-red-cube-1", "a red cube", 1, {}),
        ("a-blue-sphere-0", "the Blue sphere", 0, {}),
        ("a-blue-sphere-1", "the Blue sphere", 1, {}),
    ]


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    csv = table(
        tmp_path,
        "runs.csv",
        "\ufeffprompt,seed,name,guidance.scale,field.grid.interpolation\r\n"
        "a red cube,7,cube,20,smoothstep\r\n"
        "\r\n"
        '"a red cube",,,0.5,\r\n',
    )
    lines = table(
        tmp_path,
        "runs.jsonl",
        '{"prompt": "a red cube", "seed": 7, "name": "cube", "guidance.scale": 20, '
        '"field.grid.interpolation": "smoothstep"}\n'
        '{"prompt": "a red cube", "seed": null, "guidance.scale": 0.5}\n',
    )
    found = read_table(csv)
    assert found[0] == Row(
        f"'{csv}', row 2",
        "cube",
        "a red cube",
        7,
        {"guidance": {"scale": 20}, "field": {"grid": {"interpolation": "smoothstep"}}},
    )
    assert (found[1].where, found[1].name) == (f"'{csv}', row 4", "a-red-cube-0-guidance.scale-0.5")
    values = [(r.name, r.prompt, r.seed, r.settings) for r in found]
    assert values == [(r.name, r.prompt, r.seed, r.settings) for r in read_table(lines)]


def test_rows_can_be_mappings() -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a red cube", "out": "x"}, {"prompt": "a glorb"}]
    assert [r.name for r in read_table(rows[:1], seeds=2)] == ["x-0", "x-1"]
    with pytest.raises(ConfigError, match=r"^runs, row 2, column 'prompt': "):
        read_table(rows)
    assert [r.name for r in read_table(rows, prior="sd15")] == ["x", "a-glorb-0"]


CUBE = {"name": "cube", "prompt": "a red cube"}
LAYOUT: dict[str, Any] = {"prompt": "a scene", "whole": 0.0, "parts": [CUBE]}


def test_rows_have_layouts(tmp_path: Path) -> None:
    path = tmp_path / "One cube.toml"
    Layout.from_dict(LAYOUT).save(path)
    lines = [{"layout": LAYOUT}, {"prompt": "a scene", "layout": str(path), "seed": 1}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    first, second = read_table(table(tmp_path, "runs.jsonl", text))
    (third,) = read_table(table(tmp_path, "runs.csv", f"prompt,layout,seed\n,{path},1\n"))
    assert (first.name, first.prompt) == ("a-scene-0", "a scene")
    assert second.name == third.name == "a-scene-1-layout-one-cube"
    for row in (first, second, third):
        assert Config().replace(**row.settings).layout == Layout.from_dict(LAYOUT)
    for changes, message in (
        ({"prompt": "a cube"}, "row 1, column 'layout': prompt: expected that of the layout"),
        ({"layout.whole": 0.5}, "column 'layout': layout.prompt: expected one that the prior kn"),
        ({"layout.whole": 3}, "column 'layout.whole': expected a number in [0, 1], got 3"),
        ({"guidance.variant": "vsd"}, "column 'guidance.variant': expected one that trains no co"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            read_table([{"layout": LAYOUT} | changes])


def test_settings_of_a_row_are_judged_together() -> None:
    (row,) = read_table([{"prompt": "a red cube", "camera.ring": 8, "camera.views": 16}])
    assert Config().replace(**row.settings).camera.views == 16
    (row,) = read_table([{"prompt": "a red cube", "camera.ring": 3}])  # what runs have may fit
    assert Config().replace(camera={"views": 3}).replace(**row.settings).camera.ring == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "# nothing\n", "expected a run a row, got none"),
        ("a.txt", "a red cube\na glorb\n", "row 2, column 'prompt': "),
        ("a.csv", "", "row 1: expected the names of columns, each once, 'prompt' among them"),
        ("a.csv", "prompt,prompt\n", "got 'prompt, prompt'"),
        ("a.csv", "prompt\na red cube,1\n", "row 2: expected 1 columns, got 2"),
        ("a.csv", "prompt,seed\n,1\n", "row 2, column 'prompt': expected a description"),
        ("a.csv", "prompt,seed\na red cube,-1\n", "column 'seed': expected a whole number in [0, "),
        ("a.csv", "prompt,seed\na red cube,1.5\n", "got '1.5'"),
        ("a.csv", "prompt,name\na red cube,../x\n", "column 'name': expected the name of a folder"),
        ("a.csv", "prompt,out\na red cube,logs\n", "column 'out': expected the name of a folder"),
        ("a.csv", "prompt,name,out\na red cube,a,b\n", "expected one of the columns name and out"),
        (
            "a.csv",
            "prompt,guidance.scael\na red cube,3\n",
            "row 2, column 'guidance.scael': unknown; did you mean 'guidance.scale'?",
        ),
        (
            "a.csv",
            "prompt,train.steps\na red cube,many\n",
            "column 'train.steps': expected a whole number, got 'many'",
        ),
        (
            "a.csv",
            "prompt,sed\na red cube,3\n",
            "column 'sed': expected prompt, seed, name, out, layout or",
        ),
        ("a.csv", 'prompt\n"a red cube\n', "expected CSV"),
        ("a.csv", "prompt,layout\n,no.toml\n", "column 'layout': layout file 'no.toml': cannot be"),
        ("a.jsonl", '{"layout": 3}\n', "column 'layout': layout: expected a dfast.Layout, a f"),
        ("a.csv", "prompt,zzz.a\na red cube,3\n", "column 'zzz.a': config key 'zzz': unknown"),
        (
            "a.csv",
            "prompt,name\na red cube,A\na blue cube,a\n",
            "row 3, column 'name': expected a name of its own, got 'a', which is that of ",
        ),
        ("a.jsonl", '{"prompt": "a red cube"}\n[1]\n', "row 2: expected an object, got [1]"),
        ("a.jsonl", "{\n", "row 1: expected JSON"),
        ("a.jsonl", '{"prompt": 3}\n', "row 1, column 'prompt': expected a description"),
        ("a.jsonl", '{"prompt": "\\ud800"}\n', "expected text that UTF-8 can encode"),
        ("a.jsonl", '{"prompt": "a red cube", "seed": true}\n', "column 'seed': expected a whole"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = table(tmp_path, name, text)
    with pytest.raises(ConfigError) as refused:
        read_table(path)
    said = str(refused.value)
    assert said.startswith(f"'{path}'")
    assert message in said
    assert "\n" not in said


def test_tables_and_seeds_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\)$"):
        read_table(tmp_path / "missing.csv")
    with pytest.raises(ConfigError, match="runs: expected a file or a list of mappings, got 3"):
        read_table(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="seeds: expected 1 to 2147483648, got 0"):
        read_table([{"prompt": "a red cube"}], seeds=0)
