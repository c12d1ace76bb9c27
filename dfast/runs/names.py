"""Names of run folders, one for all prompts of the same meaning. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress

from dfast.errors import PromptError

LONGEST, DIGITS = 60, 8
"""Most characters of a name, and those of the digest at the end of one that leaves letters out."""


def slug(prompt: str) -> str:
    """Return a prompt as the name of a folder: lower-case letters, digits and hyphens.

    The name of a prompt that is longer, or has other letters than a to z, ends in a digest.

    Args:
        prompt: any text.
    """
    text = " ".join(prompt.lower().split())
    name = re.sub(r"[^a-z0-9]+", "-", text).strip("-")
    letters_lost = any(letter.isalnum() and not letter.isascii() for letter in text)
    if name and len(name) <= LONGEST and not letters_lost:
        return name
    short = name[: LONGEST - DIGITS - 1].strip("-") or "run"
    return f"{short}-{digest(text)}"


def digest(text: str) -> str:
    """Return a few digits that tell a text from others.

    Args:
        text: any text.
    """
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:DIGITS]


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
