"""Files that people ask for by name: images, films and meshes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfast._files import replacing
from dfast.errors import ExportError


@contextmanager
def exporting(path: Path) -> Iterator[Path]:
    """Yield a temporary file that becomes `path`, see `dfast._files.replacing`.

    Args:
        path: the file to write.

    Raises:
        ExportError: it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise ExportError(f"'{path}': cannot be written ({error.strerror})") from error
