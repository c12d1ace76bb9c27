"""Tiny random model folders for tests, each written once a session."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from dfast.testing import random_models

PREDICTIONS = {"sd15": "epsilon", "sd21": "v_prediction", "sdxl": "epsilon", "if-m": "epsilon"}
FAMILIES = tuple(PREDICTIONS)
LATENT = ("sd15", "sd21", "sdxl")
_ROOT = tempfile.TemporaryDirectory(prefix="dfast-tiny-")


@functools.cache
def folder(family: str) -> Path:
    """The folder of a family; not to be changed."""
    return random_models.write(
        family, Path(_ROOT.name) / family, size="tiny", prediction=PREDICTIONS[family], seed=1
    )


def copied(family: str, to: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(folder(family), to / family))
