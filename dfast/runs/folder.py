"""The folder of one run, written so that a crash at any moment leaves it whole.

run.json                 what the run is: prompt, seed, prior, dfast's version
config.toml              every setting
metrics.jsonl            one line every `train.log_every` steps
previews/step_000050.png
checkpoint.safetensors   model, Adam, occupancy, random state: all that resuming needs
result.safetensors       the finished object, see `dfast.load`
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from dfast.config import Config
from dfast.errors import RunFolderError
from dfast.io.tensors import read_tensors, write_bytes, write_tensors

CHECKPOINT, RESULT, METRICS = "checkpoint.safetensors", "result.safetensors", "metrics.jsonl"
FORMAT = "dfast checkpoint 1"


class RunFolder:
    """The folder at `path` for the run that `about` and `config` describe; `begin` makes it.

    resume: continue the run that is already there; without it such a folder is refused, and so is
    always one that holds another run or other files. Raises RunFolderError, and touches nothing
    then.
    """

    def __init__(
        self, path: str | Path, config: Config, about: dict[str, Any], *, resume: bool = False
    ) -> None:
        self.path, self.config, self.about, self.resume = Path(path), config, about, resume
        self.has_run = self._inspect(resume)

    def begin(self) -> None:
        """Write what the run is, if it is new. Raises RunFolderError."""
        self.has_run = self._inspect(self.resume)  # somebody else's may have come meanwhile
        if not self.has_run:
            write_bytes(self.path / "config.toml", self.config.dumps().encode())
            write_bytes(self.path / "run.json", (json.dumps(self.about, indent=2) + "\n").encode())

    def _inspect(self, resume: bool) -> bool:
        """Whether the run is already here; raises when the folder cannot be used."""
        path = self.path
        try:
            if not path.exists():
                return False
            if not path.is_dir():
                raise RunFolderError(f"out: expected a folder, got the file '{path}'")
            if not (path / "run.json").exists():
                if any(not self._just_begun(file) for file in path.iterdir()):
                    raise RunFolderError(
                        f"out: '{path}' holds files that are not a dfast run; choose a new folder"
                    )
                return False
            found = json.loads((path / "run.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise RunFolderError(f"out: '{path}' cannot be read ({error})") from error
        for key in ("prompt", "seed", "prior"):
            if found.get(key) != self.about.get(key):
                raise RunFolderError(
                    f"out: '{path}' holds another run ({key} {found.get(key)!r}, not "
                    f"{self.about.get(key)!r}); choose another folder"
                )
        if not resume:
            raise RunFolderError(
                f"out: '{path}' already holds this run; resume it, or choose another folder"
            )
        begun = Config.load(path / "config.toml")
        length = {"steps": begun.train.steps}
        if begun != self.config and begun == self.config.replace(train=length):
            raise RunFolderError(
                f"out: '{path}' was begun with {length['steps']} steps, not "
                f"{self.config.train.steps}, and a run's length is fixed; resume it without "
                "`steps`, or start anew in another folder"
            )
        if begun != self.config:
            raise RunFolderError(
                f"out: '{path}' was begun with other settings; resume with its own config.toml, "
                "or choose another folder"
            )
        return True

    def _just_begun(self, file: Path) -> bool:
        """Whether `file` is what a crash while beginning this very run leaves."""
        if file.name == "config.toml":
            return file.read_bytes() == self.config.dumps().encode()
        return bool(re.fullmatch(r"\.config\.\w+\.toml|\.run\.\w+\.json", file.name))

    def save_checkpoint(self, state: dict[str, Tensor], step: int) -> None:
        """Replace the checkpoint."""
        write_tensors(self.path / CHECKPOINT, state, {"format": FORMAT, "step": step})

    def load_checkpoint(self) -> dict[str, Tensor] | None:
        """The last checkpoint, or None if there is none yet; metrics after it are dropped."""
        if not self.has_run or not (self.path / CHECKPOINT).exists():
            self._cut_metrics(0)
            return None
        tensors, about = read_tensors(self.path / CHECKPOINT, FORMAT)
        self._cut_metrics(about["step"])
        return tensors

    def log(self, values: dict[str, float]) -> None:
        """Append one line of metrics."""
        try:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise RunFolderError(f"'{self.path / METRICS}': cannot be written ({error})") from error

    def metrics(self) -> list[dict[str, float]]:
        """All lines so far; a last line that a crash cut short is left out."""
        path = self.path / METRICS
        if not path.exists():
            return []
        lines = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def preview_path(self, step: int) -> Path:
        """Where the picture of a step goes."""
        return self.path / "previews" / f"step_{step:06d}.png"

    def _cut_metrics(self, step: int) -> None:
        if (self.path / METRICS).exists():
            kept = [line for line in self.metrics() if line["step"] <= step]
            write_bytes(self.path / METRICS, "".join(json.dumps(v) + "\n" for v in kept).encode())
