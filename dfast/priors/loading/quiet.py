"""Keep the progress bars and warnings of diffusers and transformers out of the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Show no progress bars and only errors of libraries inside the block.

    Args:
        libraries: which of "diffusers" and "transformers", whose import takes long; none are both.
    """
    names = libraries or ("diffusers", "transformers")
    logs = {name: import_module(f"{name}.utils.logging") for name in names}
    levels = [(log, log.get_verbosity()) for log in logs.values()]
    bars = [log for name, log in logs.items() if name == "transformers"]
    bars = [log for log in bars if log.is_progress_bar_enabled()]
    for log in bars:
        log.disable_progress_bar()
    for log, _ in levels:
        log.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        for log, level in levels:
            log.set_verbosity(level)
        for log in bars:
            log.enable_progress_bar()
