"""Lines of text for people: what the world knows, and what would become of a word."""

from __future__ import annotations

from typing import Any

from dfast.world.nouns import CATEGORIES, NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.sentence import (
    COUNTS,
    PATTERNS,
    PLACES,
    RELATIONS,
    SIZES,
    WORN,
)
from dfast.world.words import Meaning, resolve


def known() -> dict[str, Any]:
    """Return what a sentence may say, by kind of words."""
    wearers = [n for n, noun in NOUNS.items() if noun.head is not None and noun.part is None]
    return {
        "nouns": {name: list(group) for name, group in CATEGORIES.items()},
        "colors": list(ALL_COLORS),
        "sizes": list(SIZES),
        "patterns": list(PATTERNS),
        "counts": list(COUNTS),
        "relations": {r: list(PLACES[r]) if r in PLACES else "any" for r in RELATIONS},
        "parts": parts(),
        "worn": dict.fromkeys(WORN, wearers),
    }


def known_lines() -> list[str]:
    """Return what a sentence may say, a line for each kind of words."""
    every = known()
    lines = [f"{name}: {', '.join(group)}" for name, group in every["nouns"].items()]
    lines.append(f"colors: {', '.join(every['colors'])}")
    lines.append(f"sizes: {', '.join(every['sizes'])}")
    lines.append(f"patterns, of two colors: {', '.join(every['patterns'])}")
    lines.append(f"counts: {', '.join(every['counts'])}")
    lines.append(f"relations: {', '.join(every['relations'])}")
    lines += [f"{relation}, only: {', '.join(places)}" for relation, places in PLACES.items()]
    owned = [f"{word} ({', '.join(owners)})" for word, owners in every["parts"].items()]
    lines.append(f"parts: {', '.join(owned)}")
    wearers = every["worn"][WORN[0]]
    lines.append(f"worn: {', '.join(WORN)} (by {', '.join(wearers)})")
    lines.append(
        "other words for these, and kinds of these things, are known, too: dfast words WORD"
    )
    return lines


def parts() -> dict[str, list[str]]:
    """Return the nouns of every part that has a colour of its own."""
    found: dict[str, list[str]] = {}
    for name, noun in NOUNS.items():
        if noun.part is not None:
            found.setdefault(noun.part[0], []).append(name)
    return dict(sorted(found.items()))


def word_lines(word: str) -> list[str]:
    """Return what would become of a word.

    Args:
        word: any, or several that mean one thing.
    """
    meaning = resolve(word)
    if meaning.status == "unknown":
        return [f"{meaning.word}: not known"]
    if meaning.status == "misspelt":
        return [f"{meaning.word}: not known; near: {', '.join(meaning.near)}"]
    lines = [_first_line(meaning)]
    noun = NOUNS.get(meaning.target)
    if noun is not None:
        lines.append(f"color: {noun.color}, where a sentence states none")
        if noun.part is not None:
            lines.append(f"part: {noun.part[0]}, {noun.part[1]} where a sentence states no color")
        elif noun.head is not None:
            lines.append(f"wears: {', '.join(WORN)}")
        lines += [
            f"things can be {r} it" for r, places in PLACES.items() if meaning.target in places
        ]
    owners = parts().get(meaning.target, [])
    if owners:
        lines.append(f"part of: {', '.join(owners)}")
    return lines


def _first_line(meaning: Meaning) -> str:
    """Return what a word is."""
    if meaning.note is not None:
        return meaning.note
    what = {"other": "a word of the grammar", "worn": "worn by things with a head"}
    what |= {"part": "a part of things", "count": "a number"}
    category = next((c for c, group in CATEGORIES.items() if meaning.target in group), None)
    kind = f"a thing ({category})" if category else what.get(meaning.role, f"a {meaning.role}")
    if meaning.status == "synonym":
        return f"{meaning.word}: the same as {meaning.target}, {kind}"
    number = f"plural of {meaning.target}, " if meaning.plural else ""
    return f"{meaning.word}: {number}{kind}"
