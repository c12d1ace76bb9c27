"""Batches of runs of seconds, with the embedded prior, and their processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tiny_runs import TINY

from dfast.io.tensors import read_tensors
from dfast.runs.folder import FORMAT
from dfast.runs.lock import LOCK
from dfast.runs.train import train
from dfast.runs.unfinished import CHECKPOINT, RESULT

SETTINGS = TINY.replace(
    camera={"views": 1}, train={"log_every": 1, "preview_every": 0, "checkpoint_every": 2}
)
"""Of every run: four steps of a tenth of a second."""
LONG = 30
"""Steps of runs that are long enough to be killed on the way."""
PATIENCE = 90.0
"""Seconds after which something that should happen did not."""


def driver(table: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start `dfast batch` on a table."""
    config = table.with_name("settings.toml")
    SETTINGS.save(config)
    command = [sys.executable, "-m", "dfast", "batch", str(table), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--config", str(config), "--device", "cpu", "--no-export", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(true: Callable[[], bool], driver: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is true, as long as the driver runs."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        assert driver is None or driver.poll() is None, driver.communicate()[1]
        time.sleep(0.02)


def owner(folder: Path) -> int:
    """Return the process that writes a run folder, 0 if there is none."""
    try:
        return int(json.loads((folder / LOCK).read_text())["pid"])
    except (OSError, ValueError):
        return 0


def parent(pid: int) -> int:
    """Return the process that started another one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_stepping(folder: Path) -> bool:
    """Return whether a run is on its way, with a checkpoint."""
    return owner(folder) > 0 and (folder / CHECKPOINT).exists()


def saved_step(folder: Path) -> int:
    """Return the step of a run's checkpoint."""
    _, about = read_tensors(folder / CHECKPOINT, FORMAT)
    return int(about["step"])


def gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def result(folder: Path) -> Path:
    """Return the file of a run's result."""
    return folder / RESULT


def alone(out: Path, prompt: str, seed: int, steps: int = TINY.train.steps) -> bytes:
    """Return the bytes of the result of a run that `dfast.train` makes by itself, on one thread.

    Where torch multiplies in float32, another number of threads may sum in another order.
    """
    config, threads = SETTINGS.replace(train={"steps": steps}), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(prompt, seed=seed, out=out, config=config, device="cpu", progress=False)
    finally:
        torch.set_num_threads(threads)
    return result(out).read_bytes()
