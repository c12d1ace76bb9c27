"""A callback that writes metrics and previews for TensorBoard."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dfast._files import user_path
from dfast._numbers import shown
from dfast.errors import ConfigError
from dfast.runs.events import ClosingCallback, Event


class TensorBoard(ClosingCallback):
    """Writes every metric as a scalar, and previews as images, into a folder for TensorBoard.

    Each of several runs, of a list of prompts or of particles, has a folder of its own in that one,
    named like its run folder, so that TensorBoard shows them beside each other.

    It needs the extra `tensorboard`. Previews are those of the run folder, so a run without `out`
    has none. Metrics come every `train.log_every` steps.

    Example:
        >>> import dfast
        >>> with dfast.callbacks.TensorBoard("logs/chair") as board:  # doctest: +SKIP
        ...     dfast.train("a red chair", out="runs/chair", callbacks=[board])
    """

    def __init__(self, log_dir: str | Path) -> None:
        """Prepare; nothing is written before the first metrics.

        Args:
            log_dir: the folder, such as "logs/chair"; runs beside each other are shown together.

        Raises:
            ConfigError: it is no path, or TensorBoard is not installed.
        """
        if not isinstance(log_dir, str | Path) or not str(log_dir):
            raise ConfigError(f"log_dir: expected a folder, got {shown(log_dir)}")
        if find_spec("tensorboard") is None:
            raise ConfigError(
                "TensorBoard: expected the package tensorboard, got none; "
                'pip install "dfast[tensorboard]"'
            )
        self.log_dir = user_path(log_dir)
        self._writers: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        """Write what the event of a step has."""
        if not event.metrics and event.preview is None:
            return
        writer = self._open(event.name)
        for name, value in event.metrics.items():
            writer.add_scalar(f"train/{name}", value, event.step)
        if event.preview is not None:
            writer.add_image("preview", _pixels(event.preview), event.step, dataformats="HWC")
        writer.flush()  # a run may end at any moment

    def close(self) -> None:
        """End the files; another event begins a new one."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _open(self, name: str) -> Any:
        """Return the writer of a run's event file."""
        if name not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[name] = SummaryWriter(str(self.log_dir / name))
        return self._writers[name]


def _pixels(path: Path) -> Any:
    """Return an image file as uint8 [H, W, 3]."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
