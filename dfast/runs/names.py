"""Names of run folders, one for all prompts of the same meaning. Nothing here imports torch."""

from __future__ import annotations

import re
from contextlib import suppress

from dfast.errors import PromptError


def slug(prompt: str) -> str:
    """Return a prompt as the name of a folder: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "run"


def run_name(prompt: str, prior: str) -> str:
    """Return the name of a run's folder, one for all prompts of the same meaning.

    Args:
        prompt: what to make.
        prior: name of the prior.
    """
    if prior == "shapes":
        from dfast.world.reading import read

        with suppress(PromptError):  # it is refused where the run begins
            prompt = read(prompt).sentence.text()
    return slug(prompt)
