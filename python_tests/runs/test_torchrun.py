"""Several processes make one object: `torchrun --nproc-per-node 2 -m dfast train`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dfast

pytestmark = [pytest.mark.usefixtures("needs_native"), pytest.mark.slow]
SETTINGS = {
    "field.grid.levels": 3, "field.grid.log2_entries": 10, "field.hidden": 8,
    "occupancy.resolution": 16, "occupancy.every": 3, "march.step_size": 0.1, "camera.views": 4,
    "camera.resolution": "[[0.0, 12]]", "train.checkpoint_every": 2, "train.log_every": 2,
}  # fmt: skip


def command(out: Path, steps: int, **more: object) -> list[str]:
    """Return the arguments of dfast for a small run."""
    settings = SETTINGS | {key.replace("__", "."): value for key, value in more.items()}
    tiny = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    run = ["train", "a red chair", "--out", str(out), "--steps", str(steps), "--device", "cpu"]
    return [*run, "--no-export", "--quiet", *tiny]


def together(line: list[str], count: int = 2) -> subprocess.CompletedProcess[str]:
    """Run the command in several processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    package = str(Path(dfast.__file__).parents[1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": package}
    return subprocess.run(
        [sys.executable, *torchrun, "-m", "dfast", *line],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def alone(line: list[str]) -> None:
    """Run the command in one process."""
    package = str(Path(dfast.__file__).parents[1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": package}
    subprocess.run([sys.executable, "-m", "dfast", *line], env=environment, check=True)


def trained(out: Path) -> torch.Tensor:
    """Return the parameters of a finished run."""
    state = load_file(out / "result.safetensors")
    return torch.cat([v.float().flatten() for k, v in sorted(state.items()) if "field" in k])


def test_two_processes_make_one_layout(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    line = ["train", "a red cube next to a blue sphere", "--parts"]
    alone([*line, *command(one, 6)[2:]])
    done = together([*line, *command(two, 6)[2:]])
    assert done.returncode == 0, done.stderr
    assert len(trained(one)) > 2000
    # A step is 1e-2, also where a gradient is so small that rounding decides its sign; how half as
    # many images are multiplied, and rounded to bfloat16, depends on the processor.
    differs = (trained(two) - trained(one)).abs() > 1e-3
    assert differs.float().mean() < 0.01


def test_two_processes_are_one(tmp_path: Path) -> None:
    one, two, part = tmp_path / "one", tmp_path / "two", tmp_path / "part"
    alone(command(one, 6))
    done = together(command(two, 6))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{two}/result.safetensors"]
    start = tmp_path / "start"
    alone(command(start, 1))
    moved = (trained(one) - trained(start)).norm()
    assert (trained(one) - trained(two)).norm() < 0.05 * moved  # rounding, which Adam enlarges
    lines = [(run / "metrics.jsonl").read_text().splitlines() for run in (one, two)]
    assert len(lines[0]) == len(lines[1]) == 3
    # One process begins, two go on.
    alone(command(part, 4))
    done = together([*command(part, 6), "--resume"])
    assert done.returncode == 0, done.stderr
    assert dfast.load(part).steps == 6


def test_views_that_cannot_be_shared_are_refused(tmp_path: Path) -> None:
    done = together(command(tmp_path / "run", 2, camera__views=3))
    assert done.returncode != 0
    assert "config key 'camera.views': expected a multiple of 2" in done.stderr
    assert not (tmp_path / "run" / "result.safetensors").exists()


def test_a_program_without_torchrun_is_told_so() -> None:
    with pytest.raises(dfast.ConfigError, match="distributed: expected one prompt"):
        dfast.train("a red chair", distributed=True)
