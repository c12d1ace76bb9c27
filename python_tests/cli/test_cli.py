"""The command line: help without torch, exit codes, errors of one line, files and settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dfast
from dfast import errors
from dfast.cli.main import main
from dfast.io.images import save_image

Calls = list[dict[str, Any]]
"""Arguments of the calls to `dfast.train`."""


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.startswith("dfast: error: ") and text.count("\n") == 1
    return text


def test_help_needs_no_torch() -> None:
    code = (
        "import sys, dfast.cli.doctor, dfast.cli.main\n"
        "try: dfast.cli.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'numpy', 'diffusers', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "dfast train" in done.stdout


def test_parts_of_the_package_are_found_when_asked_for() -> None:
    code = (
        "import sys, dfast\n"
        "assert 'torch' not in sys.modules\n"
        "from dfast.reference import shade\n"
        "from dfast.ops import GridSpec, Samples, composite, hash_encode, hash_encode_grad, march\n"
        "assert all(map(callable, (march, composite, shade, dfast.ops.shade, dfast.ops.march)))\n"
        "assert dfast.reference.shade is shade and dfast.priors.Prior"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "render",
        "export",
        "refine",
        "report",
        "view",
        "evaluate",
        "config",
        "priors",
        "words",
        "bench",
        "batch",
        "reproduce",
        "doctor",
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0 and "usage: dfast" in capsys.readouterr().out


def test_settings_of_a_prior_are_printed_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--prior", "if-m"]) == 0
    text = capsys.readouterr().out
    assert "scale = 20.0" in text and 'precision = "auto"' in text


@pytest.mark.parametrize("command", [["train", "a cube"], ["evaluate", "--prompt", "a cube"]])
def test_an_empty_prior_is_none(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--prior", "", "--device", "cpu"]) == 2
    assert "prior: expected 'shapes'" in one_line(capsys) and not list(tmp_path.iterdir())


def test_the_catalogue_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import tiny_models

    import dfast.priors.loading.hub

    here = {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": tiny_models.folder("sd15"),
        "stabilityai/stable-diffusion-xl-base-1.0": tmp_path,  # a download that was cut short
    }
    monkeypatch.setattr(dfast.priors.loading.hub, "cached_snapshot", here.get)
    assert main(["priors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    assert "; on this machine" in named["sd15"] and "in part on" in named["sdxl"]
    assert "OpenRAIL-M" in named["sd15"].replace(" ", "")
    assert "18.2 GB to fetch" in named["if-xl"] and "gated" in named["if-xl"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["train"], "prompt"),
        (["train", " "], "prompt"),
        (["train", "x", "--steps", "many"], "--steps"),
        (["train", "x", "--set", "guidance.scal=2"], "guidance.scale"),
        (["train", "x", "--set", "nonsense"], "KEY=VALUE"),
        (["train", "x", "--config", "a.toml", "--preset", "default"], "one of them"),
        (["train", "x", "--config", "no/such.toml"], "no/such.toml"),
        (["train", "--resume"], "--out"),
        (["train", "--resume", "--out", "no/such"], "no dfast run"),
        (["evaluate"], "run folders"),
        (["evaluate", "--prompts", "no/such.txt"], "no/such.txt"),
        (["evaluate", "--prompt", "x", "--seeds", "0"], "--seeds"),
        (["evaluate", "--prompt", "a red glorb"], "glorb"),
        (["export", "run", "mesh.stp"], ".glb"),
        (["render", "run", "--out", "film.avi"], ".png"),
        (["render", "run", "--out", "a.png", "--device", "abacus"], "abacus"),
        (["config", "--device", "abacus"], "abacus"),
        (["export", "run", "mesh.glb", "--resolution", "16", "--level", "1e9"], "level"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    line: list[str], says: str, cube: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(line)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2 and says in one_line(capsys)


def test_render_offers_every_shading_mode() -> None:
    from dfast.config.views import SHADING
    from dfast.scene.lighting import SHADING_MODES

    others = {"studio", "clay", "normal", "depth", "opacity"}
    assert sorted(SHADING) == sorted({*SHADING_MODES, *others})


def test_render_and_export(tmp_path: Path, cube: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "run", "--out", str(tmp_path / "a.png"), "--resolution", "16"]) == 0
    assert (
        main(["render", "run", "--out", str(tmp_path / "s.png"), "--sheet", "--resolution", "8"])
        == 0
    )
    film = ["--frames", "3", "--resolution", "16"]
    assert main(["render", "run", "--out", str(tmp_path / "a.gif"), *film]) == 0
    assert main(["export", "run", str(tmp_path / "a.glb"), "--resolution", "24"]) == 0
    assert "vertices" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "s.png", "a.gif", "a.glb"}


def test_a_refined_mesh_is_not_searched_for(
    tmp_path: Path, cube: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dfast, "load", lambda *_: object.__new__(dfast.Refined))
    assert main(["export", "run", str(tmp_path / "a.glb"), "--resolution", "24"]) == 2
    assert "--resolution: expected without it" in one_line(capsys)


def test_config_prints_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--preset", "dreamfusion", "--steps", "12"]) == 0
    (tmp_path / "c.toml").write_text(capsys.readouterr().out)
    assert dfast.Config.load(tmp_path / "c.toml").train.steps == 12


def test_settings_of_a_gpu_are_printed_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--device", "cuda:7"]) == 0
    assert f"steps = {dfast.Config.default('cuda').train.steps}\n" in capsys.readouterr().out


def test_unwritable_output_is_one_line(
    tmp_path: Path, cube: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["export", "run", str(tmp_path / "file" / "a.glb"), "--resolution", "16"]) == 2
    one_line(capsys)


def test_save_image_refuses_other_endings(tmp_path: Path) -> None:
    with pytest.raises(errors.ExportError, match=r"\.png"):
        save_image(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.xyz")
