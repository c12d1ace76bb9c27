"""Bad input from the shell, end to end: exit code 2, one line with what to do, nothing touched.

Nothing of `dfast train` is replaced here, except that a tiny analytic prior makes the finished run
that other runs then meet.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import OraclePrior

import dfast
from dfast import priors
from dfast.cli.main import main
from dfast.priors.embedded.prior import WEIGHTS, ShapesPrior

pytestmark = pytest.mark.usefixtures("needs_native")

TINY = """
[field]
hidden = 8
grid = {levels = 3, log2_entries = 10, max_resolution = 32}
[occupancy]
resolution = 16
[march]
step_size = 0.1
[camera]
views = 2
resolution = [[0.0, 12]]
[train]
steps = 2
preview_every = 0
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of "a red cube", seed 0, two steps."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    config = dfast.Config.load(folder / "tiny.toml")
    dfast.train(
        "a red cube",
        prior=OraclePrior(12),
        out=folder / "run",
        config=config,
        device="cpu",
        progress=False,
    )
    return folder


@pytest.fixture
def home(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: the finished run, its settings, a file, and the oracle as "oracle"."""
    home = tmp_path / "home"
    shutil.copytree(finished, home)
    (home / "file").write_text("precious")
    (home / "unknown.toml").write_text("[guidance]\nscal = 3\n")
    (home / "broken.toml").write_text("guidance = [")
    monkeypatch.chdir(home)
    real = priors.load_prior

    def load(name: str, device: torch.device, **options: Any) -> object:
        return OraclePrior(12) if name == "oracle" else real(name, device, **options)

    def family(name: str, **options: Any) -> str:
        return "shapes" if name == "oracle" else named(name, **options)

    named = priors.family_of
    monkeypatch.setattr("dfast.runs.arguments.load_prior", load)
    monkeypatch.setattr("dfast.runs.arguments.family_of", family)
    return home


def cut(path: str, keep: int) -> Callable[[Path], None]:
    def damage(home: Path) -> None:
        whole = (home / path).read_bytes()
        (home / path).write_bytes(whole[:keep])

    return damage


def unfinished(keep: int) -> Callable[[Path], None]:
    """Take away the result and cut the checkpoint, which a finished run does not need."""

    def damage(home: Path) -> None:
        (home / "run/result.safetensors").unlink()
        cut("run/checkpoint.safetensors", keep)(home)

    return damage


def intact(home: Path) -> None:
    del home


NEW = ["--out", "new"]
RUN = ["--out", "run", "--prior", "oracle", "--config", "tiny.toml", "--device", "cpu"]
RESUME = ["--resume", "--out", "run", "--device", "cpu"]


@pytest.mark.parametrize(
    ("arguments", "damage", "says"),
    [
        pytest.param(["", *NEW], intact, "prompt: expected", id="empty prompt"),
        pytest.param([" \t", *NEW], intact, "prompt: expected", id="blank prompt"),
        pytest.param(["a red glorb", *NEW], intact, '"glorb" is not known', id="unknown word"),
        pytest.param(["red on a", *NEW], intact, 'cannot read "red on a"', id="no sentence"),
        pytest.param(["a red cube", *NEW, "--steps", "0"], intact, "steps: expected", id="steps=0"),
        pytest.param(["a red cube", *NEW, "--seed", "-1"], intact, "seed: expected", id="seed=-1"),
        pytest.param(
            ["a red cube", *RUN, "--out", "file/run"], intact, "file/run", id="unwritable folder"
        ),
        pytest.param(["a red cube", *RUN, "--out", "file"], intact, "got the file", id="a file"),
        pytest.param(["a red cube", *RUN, "--out", "."], intact, "not a dfast run", id="foreign"),
        pytest.param(["a blue ball", *RUN], intact, "holds another run", id="another prompt"),
        pytest.param(["a red cube", *RUN, "--seed", "1"], intact, "another run", id="another seed"),
        pytest.param(["a red cube", *RUN], intact, "already holds this run", id="same run"),
        pytest.param([*RESUME, "--steps", "1"], intact, "was begun with", id="shorter"),
        pytest.param(
            [*RESUME, "--set", "march.step_size=0.2"], intact, "other settings", id="other settings"
        ),
        pytest.param(RESUME, unfinished(999), "cut short", id="cut checkpoint"),
        pytest.param(RESUME, unfinished(0), "cut short", id="no checkpoint"),
        pytest.param(RESUME, cut("run/run.json", 20), "cannot be read", id="cut run.json"),
        pytest.param(RESUME, cut("run/config.toml", 40), "config", id="cut config.toml"),
        pytest.param(
            ["a red cube", *NEW, "--prior", "imagen"], intact, "expected 'shapes'", id="no prior"
        ),
        pytest.param(
            ["a red cube", *NEW, "--config", "unknown.toml"],
            intact,
            "'guidance.scal': unknown; did you mean 'guidance.scale'?",
            id="unknown key",
        ),
        pytest.param(
            ["a red cube", *NEW, "--config", "broken.toml"], intact, "not valid TOML", id="no toml"
        ),
        pytest.param(
            ["a red cube", *NEW, "--set", "guidance.scale=-1"],
            intact,
            "'guidance.scale': expected a number",
            id="bad value",
        ),
        pytest.param(
            ["a red cube", *NEW, "--device", "cuda:99"], intact, "use device='cpu'", id="no cuda"
        ),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    arguments: list[str],
    damage: Callable[[Path], None],
    says: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(home)
    before = contents(home)
    try:
        code = main(["train", *arguments, "--quiet", "--no-export"])
    except SystemExit as stop:
        code = int(stop.code or 0)
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("dfast: error: ") and error.count("\n") == 1, error
    assert says in error
    assert contents(home) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_absent_cuda_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "a red cube", *NEW, "--device", "cuda"]) == 2
    assert "torch sees 0 CUDA devices" in capsys.readouterr().err
    assert not (home / "new").exists()


@pytest.mark.parametrize(
    ("path", "keep"),
    [
        ("unet", None),
        ("tokenizer", None),
        ("unet/config.json", 30),
        ("unet/diffusion_pytorch_model.safetensors", 100_000),
    ],
)
def test_missing_or_damaged_weights_are_named(
    path: str,
    keep: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(WEIGHTS, weights)
    if keep is None:
        shutil.rmtree(weights / path)
    else:
        cut(path, keep)(weights)
    with pytest.raises(dfast.PriorError) as error:
        ShapesPrior(torch.device("cpu"), weights)
    assert str(error.value).startswith("prior: ") and "\n" not in str(error.value)
    capsys.readouterr()
    monkeypatch.setattr(
        "dfast.runs.arguments.load_prior",
        lambda _, device, **options: ShapesPrior(device, weights),
    )
    line = ["train", "a red cube", "--out", str(tmp_path / "new"), "--device", "cpu", "--quiet"]
    assert main(line) == 2 and not (tmp_path / "new").exists()
    shown = capsys.readouterr().err
    assert shown.startswith("dfast: error: prior: ") and shown.count("\n") == 1


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}
