"""The prompts of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfast._numbers import shown
from dfast.errors import ConfigError, PromptError
from dfast.runs.names import run_name
from dfast.world.reading import read

PROMPTS = (
    "a red chair",
    "a yellow duck",
    "a blue mug",
    "a green car",
    "a snowman with a purple hat",
    "a white house with a red roof",
    "a red cube next to a blue sphere",
    "a pink torus on top of a white cube",
)
"""Prompts unless others are given."""
QUICK_PROMPTS = 3
"""How many of them a quick comparison has."""


def read_prompts(prompts: Sequence[str] | None, prior: str, quick: bool) -> tuple[str, ...]:
    """Return the prompts of a comparison, checked, with single spaces.

    Args:
        prompts: those that were asked for; None takes `PROMPTS`.
        prior: name of the prior.
        quick: take a few of `PROMPTS`.

    Raises:
        ConfigError: no list of prompts, or two that mean the same.
        PromptError: an empty prompt, or one that the prior does not know.
    """
    if prompts is None:
        return PROMPTS[:QUICK_PROMPTS] if quick else PROMPTS
    if not check_texts("prompts", prompts, "descriptions"):
        raise ConfigError(f"prompts: expected a list of descriptions, got {shown(prompts)}")
    names: dict[str, str] = {}
    for prompt in prompts:
        if not prompt.strip():
            raise PromptError(
                f"prompts: expected descriptions such as 'a red chair', got {prompt!r}"
            )
        if prior == "shapes":
            read(prompt)
        name = run_name(prompt, prior)
        if name in names:
            raise ConfigError(f"prompts: expected each once, got {names[name]!r} and {prompt!r}")
        names[name] = prompt
    return tuple(" ".join(prompt.split()) for prompt in prompts)


def check_texts(argument: str, texts: object, what: str, *, paths: bool = False) -> tuple[str, ...]:
    """Return the texts of an argument that is a list of them.

    Args:
        argument: its name.
        texts: the argument.
        what: they are.
        paths: paths are texts, too.

    Raises:
        ConfigError: it is no list, or not of texts.
    """
    kinds = (str, Path) if paths else (str,)
    if not isinstance(texts, list | tuple) or not all(isinstance(text, kinds) for text in texts):
        raise ConfigError(f"{argument}: expected a list of {what}, got {shown(texts)}")
    return tuple(map(str, texts))


def is_world(prompts: Sequence[str]) -> bool:
    """Return whether every prompt is a sentence of the procedural world.

    Args:
        prompts: the prompts.
    """
    try:
        for prompt in prompts:
            read(prompt)
    except PromptError:
        return False
    return True
