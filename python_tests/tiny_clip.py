"""A tiny random CLIP folder for tests, written once a session."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from dfast.testing.random_clip import write_clip

_ROOT = tempfile.TemporaryDirectory(prefix="dfast-tiny-clip-")


@functools.cache
def folder() -> Path:
    """Return the folder, which tests must not change."""
    return write_clip(Path(_ROOT.name) / "clip", seed=1)


def copied(to: Path) -> Path:
    """Return a copy of the folder, in `to`, which a test may change."""
    return Path(shutil.copytree(folder(), to / "clip"))
