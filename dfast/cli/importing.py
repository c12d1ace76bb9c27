"""Import torch, and what needs it, for a command that is about to compute."""

from __future__ import annotations

import gc


def import_runs() -> None:
    """Import what a run or a result needs, without a search for garbage meanwhile or afterwards.

    What is imported stays. While it comes, the collector would look through all of it again and
    again, a sixth of the time in all, and later in every full collection and at the end.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        import dfast.runs.train  # noqa: F401
    finally:
        gc.freeze()
        if collects:
            gc.enable()
