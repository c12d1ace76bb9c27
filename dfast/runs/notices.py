"""Lines for whoever watches a run."""

from __future__ import annotations

import sys
from contextlib import suppress


def notice(text: str) -> None:
    """Print one line to stderr, where there is one; a bar that is shown there moves below it.

    Args:
        text: what happened, without a name before it.
    """
    if sys.stderr is None:  # which would mean stdout to those below
        return
    line = f"dfast: {text}"
    with suppress(OSError, ValueError, AttributeError):  # a closed pipe, a terminal that is gone
        if bars := sys.modules.get("tqdm"):
            bars.tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)
        sys.stderr.flush()
