"""Lines for whoever watches a run."""

from __future__ import annotations

import sys
from contextlib import suppress


def notice(text: str) -> None:
    """Print one line to stderr, where there is one.

    Args:
        text: what happened, without a name before it.
    """
    with suppress(OSError, ValueError, AttributeError):  # a closed pipe, a terminal that is gone
        print(f"dfast: {text}", file=sys.stderr, flush=True)
