"""Import torch, and what needs it, for a command that is about to compute."""

from __future__ import annotations

import gc

from dfast.host.collection import no_collection


def import_runs() -> None:
    """Import what a run or a result needs, without a search for garbage meanwhile or afterwards.

    Searching takes a sixth of the time of the import; what was imported would be looked through
    again in every full collection and at the end.
    """
    with no_collection():
        try:
            import dfast.runs.train  # noqa: F401
        finally:
            gc.freeze()
