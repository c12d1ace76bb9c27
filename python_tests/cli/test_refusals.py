"""Refusals of the command line: at once, in one line, with what may have been meant."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dfast
from dfast.cli import results
from dfast.cli.main import main
from dfast.config import Config
from dfast.config.describe import commented
from dfast.config.suggestions import setting_names
from dfast.errors import RunFolderError
from dfast.runs.records import ABOUT

RENDER, EXPORT = ["render", "run", "--out"], ["export", "run"]
AT_ONCE = [
    (["train", "a red char"], 'did you mean "chair" or "charr" or "car"?'),
    (["train", "a glorb"], "other prompts need another prior, such as --prior sd15 (see `dfast"),
    (["train", "the"], "names no thing"),
    (["train", "four cats"], "at most three"),
    (["train", "a dog with a roof"], "a brown dog with a red hat"),
    (["train", ""], "prompt: expected"),
    (["train", "a red \udcff"], "prompt: expected text"),
    (["train", "a cube", "--steps", "0"], "steps: expected"),
    (["train", "a cube", "--steps", "1" * 400], "steps: expected a whole number <= 2147483647"),
    (["train", "a cube", "--seed", "-1"], "seed: expected"),
    (["train", "a cube", "--seed", "99999999999"], "seed: expected"),
    (["train", "a cube", "--device", "gpu"], "device: expected cpu, cuda or cuda:N"),
    (["train", "a cube", "--device", "cuda:x"], "device: expected"),
    (["train", "a cube", "--set", "scale=20"], "did you mean 'guidance.scale'?"),
    (["train", "a cube", "--set", "größe=20"], "KEY=VALUE"),
    (["train", "a cube", "--set", "guidance.variant=größe"], "expected one of"),
    (["train", "a cube", "--set", "train.steps=" + "9" * 309], "expected a number between"),
    (["train", "a cube", "--set", "train.steps=" + "9" * 5000], "expected a whole number"),
    (["train", "a cube", "--set", "field.grid.features=2.5"], "expected one of [1, 2, 4, 8]"),
    (["train", "a cube", "--set", "field=" + "[" * 5000], "expected a table"),
    (["train", "a cube", "--negative", "blue"], "negative: expected"),
    (["train", "a cube", "--config", "no.toml", "--preset", "default"], "dfast train --help"),
    (["train", "a cube", "--sedd", "1"], "did you mean --seed? (see `dfast train --help`)"),
    (["train", "a", "red", "cube"], "put the whole prompt in quotes"),
    (["trian", "a cube"], "did you mean train?"),
    (["train", "a cube", "--preset", "dreamfusio"], "did you mean dreamfusion?"),
    (["train"], "(see `dfast train --help`)"),
    (["train", "a\0cube"], "null characters"),
    ([*EXPORT, "x.fbx"], ".glb, .usdz, .obj, .ply, .stl, .3mf"),
    ([*EXPORT, "x.glb", "--resolution", "7"], "8..512"),
    ([*EXPORT, "x.glb", "--level", "nan"], "level must be"),
    ([*RENDER, "x.tiff"], ".png"),
    ([*RENDER, "x.png", "--elevation", "1e308"], "elevation: expected -90 to 90 degrees"),
    ([*RENDER, "x.png", "--azimuth", "nan"], "azimuth: expected"),
    ([*RENDER, "x.png", "--resolution", "0"], "resolution: expected"),
    ([*RENDER, "x.png", "--frames", "3"], "--frames: expected without it"),
    ([*RENDER, "x.png", "--sheet", "--azimuth", "3"], "a contact sheet has its own views"),
    ([*RENDER, "x.gif", "--sheet"], "--sheet: expected without it"),
    ([*RENDER, "x.gif", "--frames", "1"], "frames must be at least 2"),
    ([*RENDER, "x.gif", "--frames", "1" + "0" * 20], "frames must be at most"),
    ([*RENDER, "x.png", "--shading", "shiny"], "(see `dfast render --help`)"),
    (["evaluate"], "(see `dfast evaluate --help`)"),
    (["evaluate", "--prompt", "a cube", "--seeds", "9" * 20], "--seeds: expected 1 to 2147483648"),
    (["evaluate", "--prompt", "a red char"], 'did you mean "chair"'),
    (["evaluate", "run", "--device", "gpu"], "device: expected"),
    (["evaluate", "run", "--out", "runs"], "--out: expected with --prompt or --prompts"),
    (["evaluate", "run", "--set", "train.steps=3"], "--set: expected with --prompt or --prompts"),
    (["evaluate", "run", "--seeds", "2"], "--seeds: expected with --prompt or --prompts"),
    (["evaluate", "--prompt", "a cube", "--json", "/"], "--json: expected a file to write, got"),
    (["bench", "--device", "gpu"], "device: expected"),
    (["bench", "--prior", "sd15", "--set", "scale=3"], "did you mean 'guidance.scale'?"),
    (["config", "--device", "gpu"], "device: expected"),
]


@pytest.mark.parametrize(("line", "says"), AT_ONCE)
def test_a_refusal_is_one_line_that_helps(
    line: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(line) == 2
    text = capsys.readouterr().err
    assert text.startswith("dfast: error: ") and text.count("\n") == 1 and says in text, text
    assert len(text) < 900


def test_refusals_come_before_torch() -> None:
    refuse_before_torch([line for line, _ in AT_ONCE if "\0" not in str(line)])


def refuse_before_torch(lines: list[list[str]]) -> None:
    """Fail unless a process that refuses the command lines loads none of the large libraries."""
    code = (
        "import sys\n"
        "from dfast.cli.main import main\n"
        f"for line in {lines!r}:\n"
        "    try: code = main(line)\n"
        "    except SystemExit as stop: code = stop.code\n"
        "    heavy = {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "    assert code == 2 and not heavy, (line, code, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


WITHOUT_RESULT = {
    "nothing": "no such file",
    "nothing.safetensors": "no such file",
    "empty": "'empty': expected a run folder, got one without result.safetensors",
    "mesh.glb": "expected a run folder, or a .safetensors file of dfast",
    "text": "expected a run folder, or a .safetensors file of dfast",
    "/dev/null": "expected a file of dfast",
    "begun": "begun and stopped before anything was saved",
    "it's unfinished": "unfinished, resume with: dfast train --resume --out",
    "it's unfinished/result.safetensors": "unfinished, resume with: dfast train --resume --out",
    "n" * 300: "cannot be read (File name too long)",
}
"""Paths without a finished run, and what is said of them."""


@pytest.fixture
def unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder where the folders of `WITHOUT_RESULT` are."""
    monkeypatch.chdir(tmp_path)
    for name, files in {"empty": [], "begun": ["config.toml"], "it's unfinished": [ABOUT]}.items():
        Path(name).mkdir()
        for file in files:
            (Path(name) / file).touch()
    Path("mesh.glb").write_bytes(b"glTF" + bytes(8))
    Path("text").write_text("{}")


@pytest.mark.parametrize(("path", "says"), WITHOUT_RESULT.items())
def test_a_run_without_a_result_is_refused_alike_everywhere(
    path: str, says: str, unfinished: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunFolderError) as refused:
        dfast.load(path)
    assert says in str(refused.value)
    for line in (["render", path, "--out", "a.png"], ["export", path, "a.glb"], ["evaluate", path]):
        assert code_of(line) == 2
        assert capsys.readouterr().err == f"dfast: error: {refused.value}\n"


def test_an_mp4_that_cannot_be_written_is_refused_before_torch() -> None:
    code = (
        "import sys\n"
        "sys.modules['av'] = None\n"
        "from dfast.cli.main import main\n"
        "assert main(['render', 'run', '--out', 'a.mp4']) == 2 and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "mp4 videos need PyAV" in done.stderr, done.stderr[-2000:]


@pytest.mark.usefixtures("unfinished")
def test_a_run_without_a_result_is_refused_before_torch() -> None:
    ends = [["render", "--out", "a.png"], ["render", "--out", "a.gif"], ["evaluate"]]
    lines = [[*end, path] for path in WITHOUT_RESULT for end in ends]
    lines += [["export", path, "a.glb"] for path in WITHOUT_RESULT]
    refuse_before_torch([*lines, ["evaluate", "--device", "cpu", *WITHOUT_RESULT]])


def test_endings_are_those_that_can_be_written() -> None:
    from dfast.io.images import IMAGE_FORMATS
    from dfast.io.video import VIDEO_FORMATS

    assert (results.IMAGES, results.FILMS) == (IMAGE_FORMATS, VIDEO_FORMATS)


def test_a_seed_is_refused_alike_everywhere() -> None:
    command = importlib.import_module("dfast.cli.train")
    assert command.check_seed is importlib.import_module("dfast.runs.train").check_seed


def test_a_sheet_takes_its_shading(tmp_path: Any, cube: Any) -> None:
    from PIL import Image

    out = tmp_path / "a.png"
    line = ["render", "run", "--out", str(out), "--sheet", "--resolution", "8"]
    assert main([*line, "--shading", "normal"]) == 0
    assert Image.open(out).size == (40, 8)


def test_help_says_how_long_runs_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "300 on a CPU and 1200 on a GPU" in text and "10000 with other priors" in text


@pytest.mark.parametrize("config", [Config(), Config.dreamfusion(), Config.for_prior("if")])
def test_commented_settings_read_back(config: Config, tmp_path: Any) -> None:
    (tmp_path / "c.toml").write_text(commented(config))
    assert Config.load(tmp_path / "c.toml") == config
    lines = commented(config).splitlines()
    assert all(len(line) <= 100 for line in lines)
    settings = [i for i, line in enumerate(lines) if "=" in line and line[0] != "#"]
    assert all(lines[i - 1].startswith("# ") for i in settings)
    tables = [i for i, line in enumerate(lines) if line.startswith("[")]
    assert all(lines[i - 1].startswith("# ") for i in tables)
    known = [name for name in setting_names(Config) if name.split(".")[0] not in config.unused]
    assert len(settings) + len(tables) == len(known)


def code_of(line: list[str]) -> int:
    """Return the exit code of a command line."""
    try:
        return main(line)
    except SystemExit as stop:
        return int(stop.code or 0)
