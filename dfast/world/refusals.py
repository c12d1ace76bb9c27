"""What to say about a prompt that is not a sentence of the procedural world."""

from __future__ import annotations

import difflib
from collections.abc import Sequence, Set

from dfast._numbers import shown
from dfast.world.objects import OBJECTS, PRIMITIVES
from dfast.world.parts import COLORS, PLAIN

EXAMPLES = '"a red chair", "a green cone on top of a yellow cube", "a snowman with a purple hat"'
ELSEWHERE = "Other prompts need another prior, such as --prior sd15 (see `dfast priors`)"
CUTOFF = 0.6
"""Similarity, 0 to 1, from which a word is suggested."""


def refusal(prompt: str, words: list[str], known: Set[str], nearest: Sequence[str]) -> str:
    """Return one line that says what is wrong with a prompt and what would be right.

    Args:
        prompt: one that `dfast.world.grammar.read` refuses.
        words: its words.
        known: every word that a sentence may have.
        nearest: words to suggest, those that are meant most often first.
    """
    if not words:
        return f"prompt: expected a sentence such as {EXAMPLES}, got {_quoted(prompt)}"
    unknown = next((w for w in words if w not in known), None)
    if unknown is not None:
        return _unknown_word(unknown, nearest)
    return f"prompt: cannot read {_quoted(prompt)} as a sentence: {_reason(words)}"


def _unknown_word(word: str, nearest: Sequence[str]) -> str:
    """Return what to say about a word that the world does not have, the nearest ones first."""
    words = [w for w in nearest if len(w) > 1]
    near = difflib.get_close_matches(word, list(dict.fromkeys(words)), n=1, cutoff=CUTOFF)
    meant = f'; did you mean "{near[0]}"?' if near else ""
    return (
        f"prompt: the embedded prior does not know the word {_quoted(word)}{meant or ';'} it knows "
        f"the colours {', '.join(COLORS)}, the solids {', '.join(PRIMITIVES)}, the objects "
        f'{", ".join(OBJECTS)}, and "on top of", "next to", "with a ... hat/roof". {ELSEWHERE}'
    )


def _reason(words: list[str]) -> str:
    """Return why known words make no sentence, and a sentence near them."""
    words = [w for w in words if w not in ("a", "an", "the")]
    nouns = [w for w in words if w in OBJECTS or w in PRIMITIVES]
    colors = [w for w in words if w in COLORS]
    if not nouns:
        return f"it names no solid or object; try {EXAMPLES}"
    if PLAIN in words:
        return f'"{PLAIN}" is no colour; the colours are {", ".join(COLORS)}'
    objects = [w for w in nouns if w in OBJECTS]
    if objects and (len(nouns) > 1 or "on" in words or "next" in words):
        return (
            f'"{objects[0]}" stands alone; only the solids {", ".join(PRIMITIVES)} can be "on top '
            'of" or "next to" one another, such as "a green cone on top of a yellow cube"'
        )
    if len(nouns) > 2:
        return 'at most two solids, such as "a green cone on top of a yellow cube"'
    if objects:
        return _object_reason(objects[0], words, colors)
    if "with" in words:
        return f'"{nouns[0]}" has no parts to colour; try "a {(colors or ["red"])[0]} {nouns[0]}"'
    if len(nouns) == 2:
        first, second = nouns
        return (
            f'two solids are joined by "on top of" or "next to", each with one colour before it; '
            f'try "a red {first} on top of a blue {second}"'
        )
    if "on" in words or "next" in words:
        return f'a second solid is missing; try "a red {nouns[0]} on top of a blue cube"'
    return f'one colour before the solid; try "a {(colors or ["red"])[0]} {nouns[0]}"'


def _object_reason(name: str, words: list[str], colors: list[str]) -> str:
    """Return why a sentence about one object is none."""
    kind = OBJECTS[name]
    color = (colors or ["red"])[-1]
    part = kind.phrase.split()[-1] if "with" in kind.phrase else None
    fixed = len(kind.defaults) == 1 and part is not None
    if part is None:
        what = "has no parts to colour" if "with" in words else "takes one colour, before it"
        return f'"{name}" {what}; try "{kind.phrase.format(color)}"'
    sentence = kind.phrase.format(*([color] if fixed else [kind.defaults[0], color]))
    what = f"only its {part} has a colour to choose" if fixed else f"its part is a {part}"
    return f'"{name}": {what}; try "{sentence}"'


def _quoted(text: str) -> str:
    """Return a text in double quotes, shortened if it is long."""
    return f'"{text}"' if text.isprintable() and len(text) <= 70 else shown(text)
