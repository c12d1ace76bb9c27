"""`dfast train --prompts FILE`: a folder for each line, failures and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfast.cli.main import main
from dfast.errors import CollapsedError
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")
SETTINGS = {
    "field.grid.levels": 3, "field.grid.log2_entries": 10, "field.hidden": 8,
    "occupancy.resolution": 16, "march.step_size": 0.1, "camera.views": 1,
    "camera.resolution": "[[0.0, 8]]", "train.checkpoint_every": 2,
}  # fmt: skip


@pytest.fixture
def line(tmp_path: Path) -> list[str]:
    """A command for three prompts, of which two step side by side."""
    prompts = tmp_path / "prompts.txt"
    text = "# chairs and more\na red chair  # the first\n\n  a blue mug\na yellow duck\n"
    prompts.write_text(text, encoding="utf-16")
    tiny = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    line = ["train", "--prompts", str(prompts), "--out", str(tmp_path / "runs"), "--at-once", "2"]
    return [*line, "--steps", "4", "--device", "cpu", "--quiet", "--no-export", *tiny]


def test_each_line_is_a_run(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 0
    names = ["a-red-chair", "a-blue-mug", "a-yellow-duck"]
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{tmp_path}/runs/{name}/result.safetensors" for name in names]
    assert all((tmp_path / "runs" / name / "result.safetensors").exists() for name in names)


def test_files_of_longer_runs_are_written_again(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line.remove("--no-export")
    where = tmp_path / "runs" / "a-red-chair"
    times = []
    for steps in ("4", "5", "5"):
        line[line.index("--steps") + 1] = steps
        assert main([*line, "--resume"]) == 0
        times.append((where / "object.glb").stat().st_mtime_ns)
    assert times[0] < times[1] == times[2]
    assert f"{where}/object.glb" in capsys.readouterr().out


def test_a_failed_run_is_named_and_resumed(
    line: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(self: Trainer, metrics: object) -> object:
        if "mug" in self.prompt and self.step == 2:
            raise CollapsedError("the scene stays empty")
        return end_step(self, metrics)  # type: ignore[arg-type]

    end_step = Trainer.end_step
    monkeypatch.setattr(Trainer, "end_step", failing)
    assert main(line) == 1
    said = capsys.readouterr()
    assert 'failed: "a blue mug": the scene stays empty' in said.out
    assert '"a blue mug", seed 0: the scene stays empty; the other runs go on' in said.err
    monkeypatch.undo()
    assert main([*line, "--resume"]) == 0
    assert (tmp_path / "runs" / "a-blue-mug" / "result.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", [], "--prompts: expected a prompt a line, got none in"),
        ("a red chair\na glorb\n", [], "line 2: "),
        (None, [], "prompts.txt' cannot be read (No such file or directory)"),
        ("a red chair\n", ["a blue mug"], "expected without a prompt, which is for one prompt"),
        ("a red chair\n", ["--view"], "expected without --view"),
        ("a red chair\n", ["--dry-run", "--download"], "expected without --download"),
        ("a red chair\n", ["--fit", "--at-once", "2"], "--fit: expected without --at-once"),
        ("a red chair\n", ["--at-once", "0"], "expected at least 1, got 0"),
    ],
)
def test_refusals_are_one_line(
    text: str | None,
    more: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "prompts.txt"
    if text is not None:
        file.write_text(text)
    out = tmp_path / "runs"
    assert main(["train", "--prompts", str(file), "--out", str(out), *more]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and not out.exists()


def test_particles_refuse_what_is_for_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    for option in (["--view"], ["--best-of", "2"]):
        assert main(["train", "a red chair", "--particles", "2", *option]) == 2
        expected = f"--particles: expected without {option[0]}, which is for one object"
        assert expected in capsys.readouterr().err


def test_a_dry_run_tells_of_the_whole_list(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "on cpu, 3 objects, 2 side by side" in said and "4 steps, 3 objects" in said
    assert "files" in said and not (tmp_path / "runs").exists()
    at = line.index("--at-once")
    assert main([*line[:at], *line[at + 2 :], "--dry-run", "--fit"]) == 0
    assert "fit: 3 of 3 side by side" in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--fit"], ["--at-once", "2"]])
def test_one_object_is_not_fitted(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "a red chair", *option]) == 2
    assert f"{option[0]}: expected with --prompts" in capsys.readouterr().err


def test_a_prompt_that_stands_twice_is_refused(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red chair\na blue mug\na red chair\n")
    assert main(line) == 2
    said = capsys.readouterr().err
    assert f"'{prompts}', line 3: \"a red chair\" stands in line 1, too" in said
    assert "--particles" in said and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("what", ["--prompts", "--particles", "--best-of"])
def test_torchrun_makes_one_object(
    what: str,
    line: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**values, "MASTER_PORT": 29500}.items():
        monkeypatch.setenv(name, str(value))
    if what != "--prompts":
        line = [*line[:1], "a red chair", what, "2", *line[3:5], *line[7:]]
    assert main(line) == 2
    assert f"{what}: expected without torchrun" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
