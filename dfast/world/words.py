"""What a word means in the world: known, a synonym, a kind of a thing, misspelt or unknown."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from dfast.world.isa import kinds
from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.plurals import plural, singulars
from dfast.world.sentence import COUNTS, PATTERNS, PLAIN, RELATIONS, SIZES, VIEWS, WORN
from dfast.world.synonyms import PHRASES, SHADES, SYNONYMS

Status = Literal["known", "synonym", "kind of", "misspelt", "unknown"]
Role = Literal["noun", "worn", "color", "size", "pattern", "count", "part", "other"]
COUNTED: tuple[Role, ...] = ("noun", "worn", "part")
"""What has a plural."""
CUTOFF, KIND_CUTOFF = 0.7, 0.8
"""Similarity, 0 to 1, from which a known word or a kind of a thing is suggested."""
NEAREST = 3
"""Most words that are suggested."""
VARIANTS: dict[str, str] = {
    "beside": "next to",
    "alongside": "next to",
    "near": "next to",
    "by": "next to",
    "on": "on top of",
    "upon": "on top of",
    "atop": "on top of",
    "underneath": "under",
    "below": "under",
    "beneath": "under",
    "in": "inside",
    "within": "inside",
    "in back of": "behind",
    "inside of": "inside",
}
"""Other words for the relations."""


@dataclass(frozen=True)
class Meaning:
    """What a word means."""

    word: str
    """As it was given, in lower case."""
    status: Status
    target: str = ""
    """The word of the world that it stands for; empty if it is misspelt or unknown."""
    role: Role = "other"
    """What its target is; "worn" only if it is not a noun as well."""
    plural: bool = False
    """Whether it is a plural that differs from its noun."""
    near: tuple[str, ...] = ()
    """Known words that resemble a misspelt one, the likeliest first."""

    @property
    def note(self) -> str | None:
        """Return what to say where the word is used: "corgi: made as a dog", None for nothing."""
        if self.status != "kind of":
            return None
        if self.role == "color":
            return f"{self.word}: made in {self.target}"
        many = plural(self.target)
        if self.plural or many == self.target:
            return f"{self.word}: made as {many}"
        return f"{self.word}: made as {'an' if self.target[0] in 'aeiou' else 'a'} {self.target}"


@cache
def roles() -> dict[str, Role]:
    """Return what every known word is."""
    found: dict[str, Role] = {}
    joints = [w for r in (*RELATIONS, *VARIANTS) for w in r.split()]
    own = [noun.part[0] for noun in NOUNS.values() if noun.part]
    groups: list[tuple[Role, list[str]]] = [
        ("noun", list(NOUNS)),
        ("color", list(ALL_COLORS)),
        ("size", list(SIZES)),
        ("pattern", list(PATTERNS)),
        ("count", list(COUNTS)),
        ("worn", list(WORN)),
        ("part", own),
        ("other", ["with", "and", "wearing", PLAIN, *VIEWS, *joints]),
    ]
    for role, words in groups:
        for word in words:
            found.setdefault(word, role)
    return found


@lru_cache(4096)
def resolve(word: str) -> Meaning:
    """Return what a word means.

    Nouns win over synonyms, these over plurals, these over kinds of things.

    Args:
        word: one word, or several that mean one thing ("ice cream"), in any case.
    """
    word = " ".join(word.lower().split())
    found = meaning(word)
    if found is not None:
        return found
    near = nearest(word)
    return Meaning(word, "misspelt" if near else "unknown", near=near)


@lru_cache(4096)
def meaning(word: str) -> Meaning | None:
    """Return what a word means, None if the world does not have it.

    Args:
        word: as for `resolve`, in lower case.
    """
    forms = (word, *singulars(word))
    for singular in forms:  # a part may have the name of a thing: the leaves of a carrot
        target = _same(singular)
        if target is not None and (singular == word or roles()[target] in COUNTED):
            known = target == singular
            return _meant(word, "known" if known else "synonym", target, singular != word)
    for singular in forms:
        if singular in roles() and roles()[singular] == "part":
            return _meant(word, "known", singular, singular != word)
    for singular in forms:
        target = SHADES.get(singular) or _kind(singular)
        if target is not None:
            return _meant(word, "kind of", target, singular != word)
    return None


def _meant(word: str, status: Status, target: str, is_plural: bool) -> Meaning:
    """Return the meaning of a word with the role of its target."""
    return Meaning(word, status, target, roles()[target], is_plural)


def _same(word: str) -> str | None:
    """Return the word, no part, that is a word or means the same, None for another."""
    if roles().get(word, "part") != "part":
        return word
    target = SYNONYMS.get(word) or PHRASES.get(word)
    if target is None and (joined := _joined(word)):
        target = joined if joined in NOUNS else SYNONYMS.get(joined)
    return target


def _kind(word: str) -> str | None:
    """Return the thing that a word names a kind of."""
    return kinds().get(word) or kinds().get(_joined(word))


def _joined(word: str) -> str:
    """Return two words written as one, "" for others: "light house" but not "green house"."""
    first, _, rest = word.partition(" ")
    if len(rest) < 3:  # "cab in front of" has no cabin
        return ""
    free = " " not in rest and roles().get(first) in (None, *COUNTED)
    return first + rest if free and first not in SYNONYMS else ""


def nearest(word: str) -> tuple[str, ...]:
    """Return known words that resemble an unknown one, the likeliest first.

    Args:
        word: in lower case.
    """
    spelled = [w for w in (*roles(), *SYNONYMS) if len(w) > 2]
    near = difflib.get_close_matches(word, spelled, NEAREST, CUTOFF)
    # The table of kinds is long: only words that begin alike are compared.
    alike = [w for w in kinds() if w[0] == word[:1] and abs(len(w) - len(word)) < 3]
    near += difflib.get_close_matches(word, alike, NEAREST, KIND_CUTOFF)
    ratio = {w: difflib.SequenceMatcher(None, w, word).ratio() for w in near}
    return tuple(sorted(ratio, key=lambda w: -ratio[w])[:NEAREST])
