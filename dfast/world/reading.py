"""Read sentences of the world as people write them; imports no torch.

The grammar is that of `dfast.world.sentence`. Case, punctuation, articles and spaces do not matter;
colours that are missing are those that the things have by default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from dfast.errors import PromptError
from dfast.world import advice
from dfast.world.nouns import NOUNS
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.plurals import PAIRS, plural, singulars
from dfast.world.sentence import (
    CONTAINERS,
    COUNTS,
    RELATIONS,
    SHELTERS,
    Sentence,
    Thing,
)
from dfast.world.words import VARIANTS, Meaning, meaning, resolve

ARTICLES = frozenset({"a", "an", "the", "one", "its", "his", "her", "their"})
STANDING = ("is", "are", "sits", "sitting", "stands", "standing", "lies", "lying", "placed")
"""Words before a relation that say nothing more than it."""
NUMBERS = {"1": "one", "2": "two", "3": "three", "couple of": "two"}
MARKS = {"stripe": "striped", "dot": "dotted", "spot": "dotted", "check": "checkered"}
"""Patterns as parts: "a cat with white stripes"."""
JOINTS = {**{r: r for r in RELATIONS}, **VARIANTS, "with": "with", "wearing": "with"}
LONGEST = 3
"""Most words of a relation, or of a thing's name."""


class Reading(NamedTuple):
    """What a text says."""

    sentence: Sentence
    notes: tuple[str, ...]
    """What is made in place of what was asked, such as "corgi: made as a dog"."""


@dataclass(frozen=True)
class _Named:
    """A thing, and what was said about its number."""

    thing: Thing
    count: int
    noun: Meaning
    is_counted: bool


def read(text: str) -> Reading:
    """Return what a text says.

    Args:
        text: a sentence of the grammar, also one with synonyms and kinds of things.

    Raises:
        PromptError: if it is none; the message says why, and what would be one.
    """
    try:
        tokens = meanings(text)
        for token in tokens:
            if not token.target and _mark(token.word) is None:
                raise _Refused(advice.unknown_word(token))
        sentence = _sentence(tokens)
    except _Refused as refused:
        raise PromptError(advice.refusal(text, str(refused))) from None
    notes = dict.fromkeys(note for token in tokens if (note := token.note))
    return Reading(sentence, tuple(notes))


class _Refused(Exception):
    """Why a text is no sentence."""


def meanings(text: str) -> list[Meaning]:
    """Return what the words of a text mean, without articles.

    Relations, and names of several words such as "ice cream", are one word.

    Args:
        text: any.
    """
    words = re.findall(r"[^\W_]+", text.lower().replace("'s ", " "))
    found: list[Meaning] = []
    i = 0
    while i < len(words):
        for size in range(min(LONGEST, len(words) - i), 0, -1):
            word = NUMBERS.get(w := " ".join(words[i : i + size]), w)
            token = _token(word)
            if token is not None or size == 1:
                break
        i += size
        if word in ARTICLES:
            continue
        token = token or resolve(word)
        if token.target in JOINTS:
            while found and found[-1].word in STANDING:
                found.pop()
        found.append(token)
    return found


def _token(word: str) -> Meaning | None:
    """Return the meaning of words that belong together, None if they do not."""
    if word in JOINTS:
        return Meaning(word, "known", JOINTS[word])
    if word in ("pair of", "pairs of") or word in STANDING:
        return Meaning(word, "known", word)
    return meaning(word)


def _sentence(tokens: list[Meaning]) -> Sentence:
    """Return what the words say."""
    if not tokens:
        raise _Refused(advice.no_thing())
    at = [i for i, token in enumerate(tokens) if token.target in RELATIONS]
    at = [i for i in at if not _is_worn_in(tokens, i)]
    if len(at) > 1:
        raise _Refused(advice.two_relations([tokens[i].target for i in at]))
    if not at:
        named = _thing(tokens)
        _check_number(named)
        return Sentence((named.thing,), count=named.count)
    relation = tokens[at[0]].target
    if at[0] == 0 or at[0] == len(tokens) - 1:
        raise _Refused(advice.missing_thing(relation))
    sides = _thing(tokens[: at[0]]), _thing(tokens[at[0] + 1 :])
    things = sides[0].thing, sides[1].thing
    allowed = {"under": SHELTERS, "inside": CONTAINERS}.get(relation)
    if allowed is not None and things[1].noun not in allowed:
        raise _Refused(advice.wrong_place(relation, allowed, *things))
    for side in sides:
        if side.count > 1:
            raise _Refused(advice.counted_relation(relation, *things))
        _check_number(side)
    return Sentence(things, relation)


def _is_worn_in(tokens: list[Meaning], at: int) -> bool:
    """Return whether "in" is followed by what is worn alone, as in "a cat in a red hat"."""
    rest = tokens[at + 1 :]
    worn = bool(rest) and rest[-1].target in ACCESSORIES
    plain = worn and all(t.role == "color" for t in rest[:-1])
    if plain and tokens[at].word == "in":
        tokens[at] = Meaning("in", "known", "with")
        return True
    return False


def _check_number(named: _Named) -> None:
    """Refuse a plural without a number."""
    if named.noun.plural and not named.is_counted:
        raise _Refused(advice.how_many(named.noun.word, named.thing))


def _thing(tokens: list[Meaning]) -> _Named:
    """Return the thing that some words name."""
    split = next((i for i, token in enumerate(tokens) if token.target == "with"), len(tokens))
    head, tail = tokens[:split], tokens[split + 1 :]
    if split < len(tokens) and not tail:
        raise _Refused(advice.no_part(head))
    nouns = [token for token in head if token.role == "noun"]
    if len(nouns) != 1:
        raise _Refused(advice.two_things(nouns) if nouns else advice.no_noun(head))
    if head[-1] is not nouns[0]:
        raise _Refused(advice.noun_last(nouns[0], head[-1]))
    counts = [i for i, token in enumerate(head) if token.role == "count"]
    pairs = [token for token in head if token.target in ("pair of", "pairs of")]
    if counts not in ([], [0]) or len(pairs) > 1:
        raise _Refused(advice.number_first(nouns[0]))
    count = COUNTS[head[0].target] if counts else 1
    name = nouns[0].target
    if pairs and name not in PAIRS:
        if counts:
            raise _Refused(advice.number_first(nouns[0]))
        count = 2
    elif counts and not pairs:  # "two glasses" are two of a glass
        name = next((s for s in singulars(nouns[0].word) if plural(s) == name and s in NOUNS), name)
    thing = _described(name, [t for t in head[len(counts) : -1] if t not in pairs])
    return _Named(_with_part(thing, tail) if tail else thing, count, nouns[0], count > 1)


def _described(name: str, words: list[Meaning]) -> Thing:
    """Return a thing with the size, the colours and the pattern of the words before its noun."""
    kind = NOUNS[name]
    said: dict[str, list[str]] = {"size": [], "color": [], "pattern": []}
    for i, word in enumerate(words):
        if word.role in said:
            said[word.role].append(word.target)
        elif word.target != "and":
            raise _Refused(advice.stray_word(word, name))
        elif [w.role for w in words[max(i - 1, 0) : i + 2]] != ["color", "other", "color"]:
            raise _Refused(advice.stray_and(name))
    size, colors, pattern = said["size"], said["color"], said["pattern"]
    if len(size) > 1 or len(pattern) > 1 or len(colors) > 2:
        raise _Refused(advice.too_much_said(name))
    if len(colors) == 2 and not pattern:
        raise _Refused(advice.two_colors(name, *colors))
    color = colors[0] if colors else kind.color
    second = None
    if pattern:
        second = colors[1] if len(colors) == 2 else _contrast(color)
        if second == color:
            raise _Refused(advice.same_colors(name, color, pattern[0]))
    part_color = kind.part[1] if kind.part else None
    return Thing(
        name,
        color,
        part_color,
        size[0] if size else None,
        pattern[0] if pattern else None,
        second,
    )


def _contrast(color: str) -> str:
    """Return the second colour of a pattern where a sentence states one colour."""
    return "black" if color == "white" else "white"


def _with_part(thing: Thing, words: list[Meaning]) -> Thing:
    """Return a thing with what stands after "with": its own part, what it wears, or a pattern."""
    *before, last = words
    colors = [word.target for word in before if word.role == "color"]
    if len(colors) != len(before) or len(colors) > 1:
        raise _Refused(advice.one_part(thing))
    color = colors[0] if colors else None
    own = thing.kind.part
    if own is not None and own[0] in _forms(last):
        return replace(thing, part_color=color or own[1])
    pattern = _mark(last.word)
    if pattern is not None and thing.pattern is None:
        second = color or _contrast(thing.color)
        if second == thing.color:
            raise _Refused(advice.same_colors(thing.noun, thing.color, pattern))
        return replace(thing, pattern=pattern, second=second)
    if last.target not in ACCESSORIES:
        raise _Refused(advice.no_such_part(last.word, thing))
    if thing.kind.head is None or own is not None:
        raise _Refused(advice.wears_nothing(last.target, thing))
    color = color or ACCESSORIES[last.target].color
    return replace(thing, part_color=color, wears=last.target)


def _forms(word: Meaning) -> set[str]:
    """Return the words of parts that a word may mean."""
    own = {word.word, plural(word.word), *singulars(word.word)}
    return own | {word.target, plural(word.target)} if word.target else own


def _mark(word: str) -> str | None:
    """Return the pattern that some marks make, None for other words."""
    name = word.split()[-1]
    return MARKS.get(name) or next((MARKS[s] for s in singulars(name) if s in MARKS), None)
