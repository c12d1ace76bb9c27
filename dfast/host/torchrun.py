"""What torchrun tells a process that it started; imports no torch."""

from __future__ import annotations

import os

NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables that it sets."""


def is_started_by_torchrun() -> bool:
    """Return whether this process is one of several that torchrun started."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and all(key in os.environ for key in NEEDED)


def is_first_process() -> bool:
    """Return whether this process is the first of those that torchrun started, or alone."""
    return not is_started_by_torchrun() or os.environ["RANK"] == "0"


def processes() -> int:
    """Return how many processes torchrun started, 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if is_started_by_torchrun() else 1
