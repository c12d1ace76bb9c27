"""What a run makes of a layout: its settings, and the prompts that its prior sees.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dfast._numbers import shown
from dfast.config import Config, Layout
from dfast.config.parsing import overlay
from dfast.errors import ConfigError, PromptError
from dfast.world.reading import read

if TYPE_CHECKING:
    from dfast.guidance.clip import Guide

Prompts = TypeVar("Prompts", bound=str | list[str] | tuple[str, ...])
"""What `dfast.train` makes: of one prompt, or of several."""


def laid_out(
    layout: Layout | Mapping[str, Any] | str | Path | None,
    prompt: Prompts | None,
    config: Config | Mapping[str, Any] | None,
) -> tuple[Prompts | str, Config | Mapping[str, Any] | None]:
    """Return what is to be made and the settings, with a layout laid over them.

    Args:
        layout: of the scene, a file of it, or None.
        prompt: what to make; None takes the prompt of the layout, which settings may have too.
        config: the settings.

    Raises:
        ConfigError: a layout that cannot be used.
        PromptError: neither a prompt nor a layout.
    """
    if layout is not None:
        found = as_layout(layout)
        table = found.to_dict()
        if isinstance(config, Config):
            config = config.replace(layout=table)
        elif config is None:
            config = {"layout": table}
        elif isinstance(config, Mapping):  # what it says of the layout is laid over the file
            own = config.get("layout", {})
            config = {**config, "layout": overlay(table, own) if isinstance(own, Mapping) else own}
        return (found.prompt if prompt is None else prompt), config
    text = prompt_of(config) if prompt is None else prompt
    if text is None:
        raise PromptError(
            "prompt: expected a description such as 'a red chair', or a layout, got neither"
        )
    return text, config


def as_layout(given: object) -> Layout:
    """Return a layout with parts of a layout, a file of one or nested mappings.

    Args:
        given: the argument `layout` of `dfast.train`.

    Raises:
        ConfigError: a layout that cannot be used.
    """
    if isinstance(given, str | Path):
        return Layout.load(given)
    if isinstance(given, Mapping):
        return Layout.from_dict(given)
    if isinstance(given, Layout):
        return Layout.from_dict(given.to_dict())
    raise ConfigError(f"layout: expected a dfast.Layout, a file or a dict, got {shown(given)}")


def prompt_of(config: Config | Mapping[str, Any] | None) -> str | None:
    """Return the prompt of the layout in settings, which may be any; None where they have none.

    Args:
        config: the argument of `dfast.train`.
    """
    if isinstance(config, Config):
        return config.layout.prompt if config.layout.parts else None
    table = config.get("layout") if isinstance(config, Mapping) else None
    prompt = table.get("prompt") if isinstance(table, Mapping) else None
    return prompt if isinstance(prompt, str) else None


def has_layout(config: Config | Mapping[str, Any] | None) -> bool:
    """Return whether settings, which may be any, have a layout.

    Args:
        config: the argument of `dfast.train`.
    """
    if isinstance(config, Config):
        return bool(config.layout.parts)
    return isinstance(config, Mapping) and "layout" in config


def check_layout(layout: Layout, prompt: str, *, embedded: bool) -> None:
    """Raise for a layout that does not fit its run.

    Args:
        layout: with parts.
        prompt: what the run makes.
        embedded: whether the embedded prior guides it, which has to know the prompts.

    Raises:
        ConfigError: the run makes something else.
        PromptError: the prior does not know a prompt that it is asked for.
    """
    if prompt.split() != layout.prompt.split():
        raise ConfigError(
            f"prompt: expected that of the layout, {shown(layout.prompt)}, got {shown(prompt)}"
        )
    if not embedded:
        return
    if layout.whole > 0.0:
        try:
            read(layout.prompt)
        except PromptError as error:
            raise PromptError(
                "layout.prompt: expected one that the prior knows, or whole = 0, which trains the "
                f"parts alone; {error}"
            ) from None
    for index, part in enumerate(layout.parts):
        try:
            read(part.prompt)
        except PromptError as error:
            raise PromptError(f"layout.parts[{index}]: {error}") from None


def notes_of(config: Config, model: Guide, prompt: str) -> tuple[str, ...]:
    """Return what a run's guide makes in place of what it is asked for, a line each.

    Args:
        config: settings of the run.
        model: what guides it.
        prompt: what it makes.
    """
    asked = config.layout.asked if config.layout.parts else (prompt,)
    return tuple(dict.fromkeys(note for text in asked for note in model.notes(text)))


def normal_form_of(config: Config, model: Guide) -> Callable[[str], str]:
    """Return the normal form of a run's prompt; one that the prior does not see is its own.

    Args:
        config: settings of the run.
        model: what guides it.
    """
    return model.normal_form if config.layout.shows_whole else str
