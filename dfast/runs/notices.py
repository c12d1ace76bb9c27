"""Lines for whoever watches a run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dfast.errors import DfastWarning


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


@contextmanager
def warnings_as_notices() -> Iterator[None]:
    """Show dfast's own warnings in one line, without the file and line of code they come from."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, DfastWarning):
            notice(" ".join(str(message).split()))
        else:
            others(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = others
