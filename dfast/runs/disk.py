"""How many bytes the files of a run take."""

from __future__ import annotations

from dfast.config import Config
from dfast.runs.recording import FIRST_PREVIEW
from dfast.scene.stored import object_bytes

EXPORT_BYTES = 5.7e6
"""Mesh, contact sheet, turntable and report: 5.57 MB of "a red chair" by the default settings of a
CPU (2026-11-29, commit 045ad72). A detailed surface takes more."""
PREVIEW_BYTES, LINE_BYTES = 3.8e4, 300
"""A preview, and a line of metrics, of the same run."""


def run_bytes(config: Config, checkpoint: int, *, exported: bool = True) -> int:
    """Return the bytes of the files in the folder of a finished run.

    Args:
        config: its settings.
        checkpoint: bytes of its checkpoint.
        exported: whether mesh, pictures and report are written.
    """
    plan = config.train
    previews = 0
    if plan.preview_every:
        early = plan.preview_every > FIRST_PREVIEW and plan.steps >= FIRST_PREVIEW
        previews = plan.steps // plan.preview_every + early
    lines = plan.steps // plan.log_every + 1
    files = PREVIEW_BYTES * previews + LINE_BYTES * lines + EXPORT_BYTES * exported
    return object_bytes(config) + checkpoint + int(files)
