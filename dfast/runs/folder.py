"""The folder of one run, written so that it stays usable after a crash at any moment.

run.json                 what the run is: prompt, seed, prior, dfast's version, notes of the prior
                         "stage" and "source" of a refine stage
config.toml              every setting
metrics.jsonl            one line every `train.log_every` steps
previews/step_000050.png
checkpoint.safetensors   model, Adam, occupancy, random state: all that resuming needs
result.safetensors       the finished object, see `dfast.load`
mesh.safetensors         of a refine stage: the mesh that it began with
run.lock                 while a process writes the folder, see `dfast.runs.lock`
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dfast._files import TEMPORARY, sweep, unreadable
from dfast._numbers import shown
from dfast.config import Config
from dfast.errors import PromptError, RunFolderError
from dfast.io.tensors import damaged, layout, read_tensors, write_bytes, write_tensors
from dfast.runs.lock import LOCK, FolderLock
from dfast.runs.paths import as_path
from dfast.runs.records import (
    ABOUT,
    IDENTITY,
    REFINE,
    SETTINGS,
    read_about,
    read_metrics,
    read_settings,
)
from dfast.runs.unfinished import CHECKPOINT, METRICS, PREVIEWS, resume_command
from dfast.scene.stored import find_fault

FORMAT = "dfast checkpoint 1"
"""Recorded in a checkpoint, and required of one."""
OWN = "guidance."
"""Beginning of the names of a guidance's own tensors, which it checks itself."""


class RunFolder:
    """The folder of a run; nothing is written before `begin`.

    A folder that holds another run or other files is refused, and one that holds this run is
    refused unless the run is resumed.

    Attributes:
        path: the folder.
        config: all settings of the run.
        about: what the run is: prompt, seed, prior and dfast's version.
        resume: whether a run that is already there is continued.
        has_run: whether it is already there.
        prompt: what the run makes, in the words of the run that is already there.
        steps_before: length of the run that is already there, else that of `config`.
    """

    def __init__(
        self,
        path: str | Path,
        config: Config,
        about: dict[str, Any],
        *,
        resume: bool = False,
        normal_form: Callable[[str], str] = str,
    ) -> None:
        """Inspect the folder and change nothing.

        Args:
            path: the folder, which need not exist.
            config: all settings of the run.
            about: what the run is.
            resume: continue the run that is already there.
            normal_form: of prompts; those with the same one are the same run.

        Raises:
            RunFolderError: the folder cannot be used.
        """
        self.path, self.config = as_path(path, "out"), config
        self.about, self.resume = about, resume
        self.prompt, self.steps_before = about["prompt"], config.train.steps
        self._normal_form = normal_form
        self._lock = FolderLock(self.path)
        self._lock.check()
        self.has_run = self._inspect()

    def begin(self) -> None:
        """Lock the folder, and write what the run is, if it is new.

        Raises:
            RunFolderError: the folder cannot be used or written, or another process writes it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"out: '{self.path}' cannot be made ({error.strerror or error})"
            ) from error
        self._lock.acquire()
        try:
            self._begin()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Let other processes write the folder; nothing happens where it was not begun."""
        self._lock.release()

    def _begin(self) -> None:
        """Write what the run is, if it is new."""
        self.has_run = self._inspect()  # another process may have begun a run meanwhile
        for folder in (self.path, self.path / PREVIEWS):
            sweep(folder)
        if not self.has_run or self.steps_before != self.config.train.steps:
            write_bytes(self.path / SETTINGS, self.config.dumps().encode())
        if not self.has_run:
            write_bytes(self.path / ABOUT, (json.dumps(self.about, indent=2) + "\n").encode())

    def is_there(self) -> bool:
        """Return whether the folder that `begin` made still holds this run."""
        return (self.path / ABOUT).is_file()

    def move_to(self, path: Path) -> None:
        """Go on in another folder, which gets what `begin` writes.

        Args:
            path: a folder that does not exist.

        Raises:
            RunFolderError: it cannot be written.
        """
        other = RunFolder(path, self.config, self.about | {"prompt": self.prompt})
        other.begin()
        self.end()
        self.path, self._lock = other.path, other._lock

    def _inspect(self) -> bool:
        """Return whether the run is already here; raise when the folder cannot be used."""
        path = self.path
        try:
            if not path.exists():
                return False
            if not path.is_dir():
                raise RunFolderError(f"out: expected a folder, got the file '{path}'")
            if not (path / ABOUT).exists():
                if any(not self._from_a_crash(file) for file in path.iterdir()):
                    raise RunFolderError(
                        f"out: '{path}' holds files that are not a dfast run; choose a new folder"
                    )
                return False
        except OSError as error:
            raise RunFolderError(f"out: '{path}' cannot be read ({unreadable(error)})") from error
        self._check_same_run(read_about(path))
        self._check_same_settings(read_settings(path))
        return True

    def _check_same_run(self, found: dict[str, Any]) -> None:
        """Raise unless run.json describes this run and it is to be resumed."""
        for key in IDENTITY:
            if found[key] == self.about.get(key):
                continue
            if key != "prompt" or not self._same_prompt(found[key]):
                raise RunFolderError(
                    f"out: '{self.path}' holds another run ({key} {shown(found[key])}, not "
                    f"{shown(self.about.get(key))}); choose another folder"
                )
        if found.get("stage") != self.about.get("stage"):
            kind = "a refine stage" if found.get("stage") == REFINE else "a run"
            raise RunFolderError(
                f"out: '{self.path}' holds {kind}; choose another folder. It goes on with: "
                f"{resume_command(self.path)}"
            )
        if not self.resume:
            raise RunFolderError(
                f"out: '{self.path}' already holds this run; resume it, or choose another folder. "
                f"Resume with: {resume_command(self.path)}"
            )
        self.prompt = str(found["prompt"])

    def _same_prompt(self, found: str) -> bool:
        """Return whether a prompt means what this run's does."""
        try:
            return self._normal_form(found) == self._normal_form(self.about["prompt"])
        except PromptError:
            return False

    def _check_same_settings(self, found: Config) -> None:
        """Raise unless the run was begun with these settings, but for fewer steps."""
        steps, longer = found.train.steps, self.config.train.steps
        same = found == self.config.replace(train={"steps": steps})
        if same and longer < steps:
            raise RunFolderError(
                f"out: '{self.path}' was begun with {steps} steps, and a run can be made longer, "
                f"not shorter; resume it without `steps`, or with more than {longer}"
            )
        self.steps_before = steps
        if not same and found != self.config:
            raise RunFolderError(
                f"out: '{self.path}' was begun with other settings; resume with its own "
                f"{SETTINGS}, or choose another folder"
            )

    def _from_a_crash(self, file: Path) -> bool:
        """Return whether `file` is what a crash in `begin` of this very run leaves."""
        if file.name == LOCK:
            return True
        if file.name == SETTINGS and file.is_file():
            return file.read_bytes() == self.config.dumps().encode()
        older = re.fullmatch(r"\.config\.\w+\.toml|\.run\.\w+\.json", file.name)
        return bool(older or TEMPORARY.fullmatch(file.name))

    def save_checkpoint(self, state: dict[str, Tensor], step: int) -> None:
        """Replace the checkpoint, atomically.

        Args:
            state: all that resuming needs.
            step: steps done.

        Raises:
            RunFolderError: it cannot be written.
        """
        write_tensors(self.path / CHECKPOINT, state, {"format": FORMAT, "step": step})

    def load_checkpoint(self, like: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return the last checkpoint and drop the metrics after it; None if there is none yet.

        Args:
            like: tensors of the shapes and types that it must hold, by name. State of the guidance
                (`guidance.*`) is not compared.

        Raises:
            RunFolderError: it is damaged, or does not belong to this run.
        """
        path = self.path / CHECKPOINT
        if not self.has_run or not path.exists():
            self._cut_metrics(0)
            return None
        expected = layout({k: v for k, v in like.items() if not k.startswith(OWN)})
        tensors, about = read_tensors(path, FORMAT, lambda _: expected, ignore=OWN)
        step, steps = about.get("step"), self.config.train.steps
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= steps:
            raise damaged(path, f"step: expected 0 to {steps}, got {shown(step)}")
        if "step" in tensors and int(tensors["step"]) != step:
            raise damaged(path, f"step {int(tensors['step'])} in one place, {step} in another")
        if (fault := find_fault(tensors)) is not None:
            raise damaged(path, fault)
        self._cut_metrics(step)
        return tensors

    def log(self, values: dict[str, float]) -> None:
        """Append one line of metrics.

        Args:
            values: numbers by name, "step" among them.

        Raises:
            RunFolderError: it cannot be written.
        """
        try:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise RunFolderError(f"'{self.path / METRICS}': cannot be written ({error})") from error

    def metrics(self) -> list[dict[str, float]]:
        """Return all lines of metrics so far, without those that are damaged.

        A warning counts those, but for a last line that a crash cut short.

        Raises:
            RunFolderError: they cannot be read.
        """
        return read_metrics(self.path / METRICS)

    def preview_path(self, step: int) -> Path:
        """Return the file of the preview image after a step.

        Args:
            step: steps done.
        """
        return self.path / PREVIEWS / f"step_{step:06d}.png"

    def _cut_metrics(self, step: int) -> None:
        """Drop the metrics after a step."""
        if os.path.lexists(self.path / METRICS):
            kept = [line for line in self.metrics() if line["step"] <= step]
            write_bytes(self.path / METRICS, "".join(json.dumps(v) + "\n" for v in kept).encode())
