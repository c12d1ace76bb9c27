"""What commands that make an object do around that: hints after signals, and the exported files."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast.cli.exporting import export
from dfast.cli.importing import import_runs
from dfast.cli.output import say
from dfast.cli.signals import exit_code, hinting, interrupted
from dfast.cli.view import show
from dfast.host.torchrun import is_first_process
from dfast.runs.unfinished import RESULT

if TYPE_CHECKING:
    from dfast.viewer.live import Viewer


def run_and_export(
    options: Namespace, out: Path, run: Callable[[], Any], viewer: Viewer | None = None
) -> int:
    """Make an object, then write its mesh and images; return the exit code.

    Args:
        options: the parsed command line; its device and no_export are read.
        out: the run folder.
        run: makes the object in it, or reads it: a `dfast.runs.shown.Shown`.
        viewer: the page that shows it.
    """
    try:
        with hinting(_how_to_resume(out, options)):
            import_runs()
            result = run()
    except (KeyboardInterrupt, SystemExit) as stopped:
        folder = getattr(stopped, "folder", None) or out  # another one if `out` was lost
        interrupted(_how_to_resume(folder, options))
        return exit_code(stopped)
    if not is_first_process():
        return 0  # the first one writes and speaks for all
    out = getattr(result, "folder", None) or out
    say(f"{out}/{RESULT}")
    if not options.no_export:
        if viewer is not None:
            viewer.announce(result, "writing")
        with hinting(f"the object is saved; {_how_to_resume(out, options)}"):
            export(result, out)
    if viewer is not None:
        show(viewer, result, out)
    return 0


def _how_to_resume(out: Path, options: Namespace) -> str:
    """Return what can be done after an interruption."""
    from dfast.runs.unfinished import CHECKPOINT, resume_command

    if not (out / CHECKPOINT).exists():
        return "nothing was saved yet"
    device = f" --device {shlex.quote(options.device)}" if options.device else ""
    return f"resume with: {resume_command(out)}{device}"
