"""The command line: help without torch, exit codes, one-line errors, every command on a stand-in
run.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import dfast
from dfast import errors
from dfast.cli import doctor
from dfast.cli import train as commands
from dfast.cli.main import main, parser
from dfast.io.images import save_image
from dfast.runs.events import Event
from dfast.runs.progress import ProgressBar


class Cube:
    """A finished run's stand-in: a red cube."""

    prompt, seed, device = "a red cube", 0, torch.device("cpu")

    def density(self, x: Tensor) -> Tensor:
        return 60 * torch.sigmoid((0.5 - x.abs().amax(-1)) / 0.01)

    def albedo(self, x: Tensor) -> Tensor:
        return torch.tensor([0.85, 0.08, 0.08]).expand(len(x), 3)

    def render(self, *, resolution: int, **_: object) -> object:
        return torch.zeros(resolution, resolution, 3, dtype=torch.uint8).numpy()

    mesh = dfast.Result.mesh
    turntable = dfast.Result.turntable
    contact_sheet = dfast.Result.contact_sheet


@pytest.fixture
def cube(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """`dfast.train` and `dfast.load` give the cube; the calls to train are returned."""
    calls: list[dict[str, object]] = []

    def train(prompt: str, **options: object) -> Cube:
        calls.append({"prompt": prompt, **options})
        if not prompt.strip():
            raise errors.PromptError("prompt: expected a description, got ''")
        return Cube()

    monkeypatch.setattr(dfast, "train", train, raising=False)
    monkeypatch.setattr(dfast, "load", lambda path, device="cpu": Cube())
    return calls


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.startswith("dfast: error: ") and text.count("\n") == 1
    return text


def test_help_needs_no_torch():
    code = (
        "import sys, dfast.cli.doctor, dfast.cli.main\n"
        "try: dfast.cli.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'numpy', 'diffusers', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "dfast train" in done.stdout


def test_parts_of_the_package_are_found_when_asked_for():
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
    "command", ["train", "render", "export", "evaluate", "config", "priors", "doctor"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0 and "usage: dfast" in capsys.readouterr().out


def test_train_writes_everything_into_the_run_folder(tmp_path: Path, cube):
    out = tmp_path / "run"
    assert main(["train", "a red cube", "--out", str(out), "--steps", "3", "--quiet"]) == 0
    assert {p.name for p in out.iterdir()} == {"object.glb", "contact_sheet.png", "turntable.gif"}
    assert cube[0]["steps"] == 3 and cube[0]["seed"] == 0 and cube[0]["progress"] is False


def test_a_negative_prompt_and_a_download_are_passed_on(cube):
    line = ["train", "x", "--no-export", "--prior", "sd15", "--device", "cpu"]
    assert main([*line, "--negative", "blurry", "--download"]) == 0
    config = cube[0]["config"]
    assert config.guidance.negative == "blurry" and cube[0]["download"] is True
    assert config.guidance.scale == dfast.Config.for_prior("sd").guidance.scale
    assert main(line) == 0
    assert cube[1]["config"] is None and cube[1]["download"] is False  # left to dfast.train


def test_settings_of_a_prior_are_printed_without_it(capsys):
    assert main(["config", "--prior", "if-m"]) == 0
    text = capsys.readouterr().out
    assert "scale = 20.0" in text and 'precision = "auto"' in text


def test_a_file_leaves_the_rest_to_the_prior(cube, tmp_path: Path, capsys):
    path, own = tmp_path / "c.toml", dfast.Config.for_prior("sd")
    path.write_text('[guidance]\nnegative = "blurry"\n')
    line = ["train", "x", "--no-export", "--prior", "sd15", "--config", str(path)]
    assert main(line) == 0 and main([*line, "--negative", ""]) == 0
    assert cube[0]["config"] == own.replace(guidance={"negative": "blurry"})
    assert cube[1]["config"] == own  # an empty one is one, too
    assert main(["config", "--prior", "sd15", "--config", str(path)]) == 0
    assert "steps = 10000" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["train", "a cube"], ["evaluate", "--prompt", "a cube"]])
def test_an_empty_prior_is_none(command, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--prior", "", "--device", "cpu"]) == 2
    assert "prior: expected 'shapes'" in one_line(capsys) and not list(tmp_path.iterdir())


def test_the_catalogue_is_listed(monkeypatch, capsys, tmp_path):
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


def test_a_dry_run_fetches_nothing(cube, capsys):
    assert main(["train", "x", "--prior", "a/b", "--dry-run", "--download"]) == 2
    assert "--dry-run: expected without --download" in capsys.readouterr().err and cube == []


def test_settings_are_changed_one_by_one(cube):
    line = ["train", "x", "--no-export", "--preset", "dreamfusion"]
    changes = ["--set", "guidance.scale=20", "--set", "background.kind=solid"]
    assert main([*line, *changes]) == 0
    config = cube[0]["config"]
    assert config.guidance.scale == 20.0 and config.background.kind == "solid"
    assert str(cube[0]["out"]) == str(Path("runs/x"))


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
        (["evaluate", "--prompt", "a red zebra"], "zebra"),
        (["export", "run", "mesh.stp"], ".glb"),
        (["render", "run", "--out", "film.avi"], ".png"),
        (["render", "run", "--out", "a.png", "--device", "abacus"], "abacus"),
        (["config", "--device", "abacus"], "abacus"),
        (["export", "run", "mesh.glb", "--resolution", "16", "--level", "1e9"], "level"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(line, says, cube, capsys):
    try:
        code = main(line)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and says in one_line(capsys)


def test_interrupted_training_says_how_to_go_on(tmp_path: Path, monkeypatch, capsys):
    def train(prompt: str, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dfast, "train", train, raising=False)
    (tmp_path / "checkpoint.safetensors").touch()
    assert main(["train", "a red cube", "--out", str(tmp_path)]) == 130
    assert f"dfast train --resume --out {tmp_path}" in capsys.readouterr().err


def test_resume_takes_prompt_seed_and_settings_from_the_folder(tmp_path: Path, cube):
    (tmp_path / "run.json").write_text(
        json.dumps({"prompt": "a red cube", "seed": 7, "prior": "shapes"})
    )
    dfast.Config.dreamfusion().save(tmp_path / "config.toml")
    assert main(["train", "--resume", "--out", str(tmp_path), "--no-export"]) == 0
    call = cube[0]
    assert (call["prompt"], call["seed"], call["resume"]) == ("a red cube", 7, True)
    assert call["config"] == dfast.Config.dreamfusion()
    line = ["train", "--resume", "--out", str(tmp_path), "--no-export"]
    assert main([*line, "--set", "guidance.scale=7"]) == 0  # over what the run has
    assert cube[1]["config"] == dfast.Config.dreamfusion().replace(guidance={"scale": 7})


def test_render_and_export(tmp_path: Path, cube, capsys):
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


def test_evaluate_runs_and_prompts(tmp_path: Path, cube, monkeypatch, capsys):
    assert main(["evaluate", "runs/a", "--json", str(tmp_path / "a.json"), "--device", "cpu"]) == 0
    assert "a red cube" in capsys.readouterr().out
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["summary"]["single"]["top1"] == 1.0 and stored["device"] == "cpu"

    import dfast.priors

    monkeypatch.setattr(
        dfast.priors, "load_prior", lambda name, device, **_: SimpleNamespace(name=name)
    )
    (tmp_path / "prompts.txt").write_text("# two\na red cube\n\na red sphere # round\n")
    line = [
        "evaluate",
        "--prompts",
        str(tmp_path / "prompts.txt"),
        "--seeds",
        "2",
        "--device",
        "cpu",
    ]
    assert main([*line, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(s["prompt"], s["seed"]) for s in report["scores"]] == [
        ("a red cube", 0), ("a red cube", 1), ("a red sphere", 0), ("a red sphere", 1),
    ]  # fmt: skip
    assert report["scores"][2]["nearest"] == "cube" and len(cube) == 4


def test_a_collapsed_run_is_counted_not_fatal(cube, monkeypatch, capsys):
    import dfast.priors

    def train(prompt: str, **options: object) -> None:
        raise errors.CollapsedError("the scene became empty")

    monkeypatch.setattr(dfast, "train", train, raising=False)
    monkeypatch.setattr(
        dfast.priors, "load_prior", lambda name, device, **_: SimpleNamespace(name=name)
    )
    assert main(["evaluate", "--prompt", "a red cube", "--device", "cpu", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["summary"]["all"]["collapsed"] == 1


def test_config_prints_what_it_reads(tmp_path: Path, capsys):
    assert main(["config", "--preset", "dreamfusion", "--steps", "12"]) == 0
    (tmp_path / "c.toml").write_text(capsys.readouterr().out)
    assert dfast.Config.load(tmp_path / "c.toml").train.steps == 12


def test_doctor_names_what_is_missing_and_how_to_mend_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(doctor, "weights_folder", lambda: tmp_path)
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no-such-package"))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "pip install no-such-package" in text and "[missing] prior" in text and "torch" in text
    (tmp_path / "model.safetensors").write_bytes(b"x")
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy",))
    monkeypatch.setattr(doctor, "_native", lambda: iter(()))
    assert main(["doctor"]) == 0


def test_unwritable_output_is_one_line(tmp_path: Path, cube, capsys):
    (tmp_path / "file").touch()
    assert main(["export", "run", str(tmp_path / "file" / "a.glb"), "--resolution", "16"]) == 2
    one_line(capsys)


def test_slugs_are_plain():
    assert commands.slug("A red  Chäir, on: top!") == "a-red-ch-ir-on-top"
    assert parser().parse_args(["train", "x"]).run is commands.train


def test_progress_bar_shows_opacity_and_gradient():
    text = io.StringIO()
    bar = ProgressBar(4, done=1, file=text)
    metrics = {"opacity": 0.25, "gradient_norm": 1.5, "skipped": 2.0}
    bar(Event(2, 4, metrics))
    bar(Event(3, 4))
    bar(Event(4, 4, metrics))
    shown = text.getvalue()
    assert "opacity=0.250" in shown and "grad=1.5" in shown and "skipped=2" in shown
    assert "4/4" in shown


def test_save_image_refuses_other_endings(tmp_path: Path):
    with pytest.raises(errors.ExportError, match=r"\.png"):
        save_image(Cube().render(resolution=4), tmp_path / "a.xyz")
