"""What a run writes while it proceeds, so that no trouble with its folder costs the run.

Metrics and previews are left out where they cannot be written. A checkpoint that cannot be written
is tried again at the next one. Where the folder is gone, or the last files of a run cannot be
written into it, the run goes on in another folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from dfast.errors import RunFolderError
from dfast.io.tensors import write_bytes
from dfast.runs.folder import RunFolder
from dfast.runs.notices import notice
from dfast.runs.shown import Shown
from dfast.runs.signals import StopRequest

State = Mapping[str, Tensor]
"""All that resuming needs."""


class Keeper:
    """Writes into a run folder as long as it can.

    Args:
        folder: the folder; its path changes when the run has to go on elsewhere.
        request: what asks the run to stop; it waits for files that are being written.
    """

    def __init__(self, folder: RunFolder, request: StopRequest) -> None:
        self.folder, self._request = folder, request
        self._troubles: set[str] = set()

    def log(self, values: dict[str, float]) -> None:
        """Append one line of metrics, if possible."""
        self._try("metrics", lambda: self.folder.log(values))

    def preview(self, step: int, data: bytes) -> Path | None:
        """Write a preview image; return its file, None where it cannot be written."""
        done = self._try("a preview", lambda: write_bytes(self.folder.preview_path(step), data))
        return self.folder.preview_path(step) if done else None

    def checkpoint(self, state: State, step: int, *, last: bool = False) -> None:
        """Replace the checkpoint.

        Args:
            state: all that resuming needs.
            step: steps done.
            last: write it elsewhere if it cannot be written into the folder.

        Raises:
            RunFolderError: the last one can be written nowhere.
        """

        def save() -> None:
            self.folder.save_checkpoint(dict(state), step)

        with self._request.writing():
            if last:
                self._somewhere(save)
            else:
                self._try("a checkpoint", save)

    def result(self, result: Shown) -> None:
        """Write the finished object.

        Raises:
            RunFolderError: it can be written nowhere.
        """
        with self._request.writing():
            self._somewhere(lambda: result.save(self.folder.path))
        result.folder = self.folder.path

    def _try(self, what: str, write: Callable[[], object]) -> bool:
        """Write a file that the run can do without; return whether it was written."""
        try:
            if not self.folder.is_there():
                self._move("is gone")
            write()
        except RunFolderError as error:
            if what not in self._troubles:
                self._troubles.add(what)
                notice(f"{error}; the run goes on without {what}")
            return False
        return True

    def _somewhere(self, write: Callable[[], object]) -> None:
        """Write a file into the folder or elsewhere; raise RunFolderError if that fails, too."""
        try:
            if self.folder.is_there():
                write()
                return
            trouble = RunFolderError(f"'{self.folder.path}' is gone")
            reason = "is gone"
        except RunFolderError as error:
            trouble, reason = error, "cannot be written"
        for place in _other_places(self.folder.path):
            try:
                self.folder.move_to(place)
                write()
            except RunFolderError:
                continue
            notice(f"{trouble}; the run is in '{place}'")
            return
        raise RunFolderError(f"'{self.folder.path}': {reason}, and no other place can") from trouble

    def _move(self, reason: str) -> None:
        """Go on in another folder; raise RunFolderError if there is none."""
        before = self.folder.path
        for place in _other_places(before):
            try:
                self.folder.move_to(place)
            except RunFolderError:
                continue
            notice(f"'{before}' {reason}; the run goes on in '{place}'")
            return
        raise RunFolderError(f"'{before}' {reason}, and no other place can be written")


def _other_places(path: Path) -> Iterator[Path]:
    """Yield folders that do not exist: beside a folder, then in the temporary folder."""
    path = path.absolute()
    yield next(
        place
        for n in range(1, 1000)
        if not (place := path.with_name(f"{path.name}-rescued{f'-{n}' * (n > 1)}")).exists()
    )
    yield Path(tempfile.mkdtemp(prefix="dfast-")) / path.name
