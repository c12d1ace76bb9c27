"""Run folders, checkpoints and results of earlier versions: read, and resumed to the same bytes.

`old_run` holds the text files of a run that a version wrote before settings were renamed.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest
import torch

import dfast
from dfast.cli.main import main
from dfast.config import Config
from dfast.errors import RunFolderError
from dfast.io.tensors import read_tensors, write_tensors
from dfast.runs.events import Event
from dfast.runs.result_file import FORMAT

pytestmark = pytest.mark.usefixtures("needs_native")

OLD_RUN = Path(__file__).parent / "old_run"
PROMPT = "a red ball"


def _stop_at_two(event: Event) -> None:
    if event.step == 2:
        raise KeyboardInterrupt


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """Return a folder stopped after two of four steps, its text files as the old version's."""
    out, config = tmp_path / "run", Config.load(OLD_RUN / "config.toml")
    with pytest.raises(KeyboardInterrupt):
        dfast.train(
            PROMPT,
            out=out,
            config=config,
            device="cpu",
            progress=False,
            callbacks=[_stop_at_two],
        )
    for file in ("config.toml", "run.json"):
        shutil.copy(OLD_RUN / file, out / file)
    return out


def test_settings_of_an_old_run() -> None:
    config = Config.load(OLD_RUN / "config.toml")
    assert config.march.step_size == 0.1 and config.march.cone_angle == 0.01
    assert config.march.early_stop_eps == 0.001 and config.train.cuda_graphs is False
    assert config.coarse_to_fine.lowpass_std == (0.1, 0.002)
    assert config.coarse_to_fine.lowpass_std_until == 0.5
    assert config.guidance.view_conditioning == "words"


def test_an_old_run_goes_on(interrupted: Path, tmp_path: Path) -> None:
    config = Config.load(OLD_RUN / "config.toml")
    whole = tmp_path / "whole"
    dfast.train(PROMPT, out=whole, config=config, device="cpu", progress=False)
    line = ["train", "--resume", "--out", str(interrupted), "--quiet", "--no-export"]
    assert main([*line, "--device", "cpu"]) == 0
    name = "result.safetensors"
    assert (interrupted / name).read_bytes() == (whole / name).read_bytes()


def test_an_old_run_with_other_settings_is_refused(interrupted: Path) -> None:
    config = Config.load(OLD_RUN / "config.toml").replace(march={"step_size": 0.2})
    with pytest.raises(RunFolderError, match="begun with other settings"):
        dfast.train(
            PROMPT, out=interrupted, config=config, device="cpu", progress=False, resume=True
        )


def test_an_old_result_loads(tmp_path: Path) -> None:
    config = Config.load(OLD_RUN / "config.toml")
    result = dfast.train(PROMPT, config=config, device="cpu", progress=False)
    path = result.save(tmp_path)
    tensors, about = read_tensors(path, FORMAT)
    about["config"] = tomllib.loads((OLD_RUN / "config.toml").read_text())
    assert "view_words" in about["config"]["guidance"]
    write_tensors(path, tensors, about)
    loaded = dfast.load(path)
    points = torch.rand(20, 3) - 0.5
    assert loaded.config == config
    assert torch.equal(loaded.density(points), result.density(points))
