"""What a sentence of the world says: things, what they are like, how they stand to each other.

    sentence := thing | count things | thing relation thing
    thing    := [a|an|the] [size] [colour [and colour] [pattern]] noun [with a colour part]
    count    := two | three
    relation := on top of | next to | in front of | behind | under | inside
    size     := tall | short | wide | thin | long | big | small
    pattern  := striped | dotted | checkered
    part     := the noun's own part, such as the roof of a house | hat | crown

A pattern has two colours. A caption states every colour; it is what the embedded prior was trained
on. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfast.world.nouns import NOUNS, Noun
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.parts import ALL_COLORS, PATTERNS
from dfast.world.plurals import PAIRS, plural

RELATIONS: tuple[str, ...] = ("on top of", "next to", "in front of", "behind", "under", "inside")
"""How the first thing stands to the second."""
SIZES: dict[str, tuple[float, float, float]] = {
    "tall": (1.0, 1.0, 1.45),
    "short": (1.0, 1.0, 0.62),
    "wide": (1.0, 1.5, 1.0),
    "thin": (1.0, 0.58, 1.0),
    "long": (1.5, 1.0, 1.0),
    "big": (1.0, 1.0, 1.0),
    "small": (1.0, 1.0, 1.0),
}
"""What a size does to a thing along its own axes (front, left, up); big and small are relative to
the picture, or to the other thing."""
COUNTS: dict[str, int] = {"two": 2, "three": 3}
WORN: tuple[str, ...] = tuple(ACCESSORIES)
"""What a thing with a head may wear."""
MASS = frozenset({"smoke", "hair", "fur", "icing", "rice", "sand", "cream", "paint", "liquid"})
"""Words of parts that take no article, beside those that end in s."""

SHELTERS: tuple[str, ...] = ("table", "bench", "bridge", "arch", "gazebo")
"""What another thing can be under."""
CONTAINERS: tuple[str, ...] = ("bowl", "bucket", "bathtub", "boat", "wagon", "canoe", "crib", "pan")
"""What another thing can be inside; its seat is the height of its floor."""
PLACES: dict[str, tuple[str, ...]] = {"under": SHELTERS, "inside": CONTAINERS}
"""The only second things of some relations."""
VIEWS: tuple[str, ...] = ("front", "side", "back", "overhead", "view")
SITUATIONS: tuple[str, ...] = ("alone", "dressed", "two", "three", "pair")
"""Kinds of sentences."""
PLAIN = "plain"
"""In place of colours: a textureless image."""


def vocabulary() -> tuple[str, ...]:
    """Return every word of a caption but its articles, each once."""
    parts = [noun.part[0] for noun in NOUNS.values() if noun.part]
    joints = [word for relation in RELATIONS for word in relation.split()]
    words = ["with", "and", *COUNTS, *joints, *SIZES, *PATTERNS, *ALL_COLORS, PLAIN, *VIEWS]
    return tuple(dict.fromkeys([*words, *NOUNS, *parts, *WORN]))


@dataclass(frozen=True)
class Thing:
    """One thing of a sentence."""

    noun: str
    """A key of `NOUNS`."""
    color: str
    """Of the thing itself."""
    part_color: str | None = None
    """Of its own part, or of what it wears; None if it has neither."""
    size: str | None = None
    """One of `SIZES`."""
    pattern: str | None = None
    """One of `PATTERNS`, on all parts that have the thing's own colour."""
    second: str | None = None
    """The pattern's second colour."""
    wears: str | None = None
    """One of `WORN`, for a thing with a head and without a part of its own."""

    @property
    def kind(self) -> Noun:
        """Return what the noun means."""
        return NOUNS[self.noun]

    def words(self, number: str = "") -> list[str]:
        """Return the words of its caption, the noun in the singular.

        Args:
            number: "two" or "three" in place of the article.
        """
        colors = [self.color] if self.second is None else [self.color, "and", self.second]
        words = [self.size, *colors, self.pattern, self.noun]
        said = [word for word in words if word]
        part = self.wears or (self.kind.part[0] if self.kind.part else None)
        many = plural(self.noun) == self.noun and _is_plural(self.noun)
        said = [number, *said] if number or many else [_article(said[0]), *said]
        said = said if said[0] else said[1:]
        if part is not None:
            color = self.part_color or ""
            said += ["with", *([] if _is_plural(part) else [_article(color)]), color, part]
        return said


@dataclass(frozen=True)
class Sentence:
    """One thing, several alike, or two and a relation."""

    things: tuple[Thing, ...]
    """One, or two that `relation` joins."""
    relation: str | None = None
    """One of `RELATIONS`."""
    count: int = 1
    """How many there are of the only thing, 1 to 3."""

    @property
    def situation(self) -> str:
        """Return what kind of sentence it is, one of `SITUATIONS`."""
        if self.relation is not None:
            return "pair"
        if self.count > 1:
            return next(word for word, n in COUNTS.items() if n == self.count)
        return "dressed" if self.things[0].wears else "alone"

    def words(self) -> list[str]:
        """Return the words of the canonical caption, nouns in the singular."""
        number = {n: word for word, n in COUNTS.items()}.get(self.count, "")
        words = self.things[0].words(number)
        if self.relation is not None:
            words += [*self.relation.split(), *self.things[1].words()]
        return words

    def text(self) -> str:
        """Return the canonical caption for people: nouns that are counted are in the plural."""
        words = self.words()
        if self.count == 1:
            return " ".join(words)
        thing = self.things[0]
        at = words.index(thing.noun)
        if thing.noun in PAIRS:
            words[0] += " pairs of"
        words[at] = plural(thing.noun)
        if "with" in words:
            part = words[-1]
            words = [*words[: at + 2], words[-2], part if _is_plural(part) else plural(part)]
        return " ".join(words)


def _is_plural(part: str) -> bool:
    """Return whether the word of a part takes no article: it is a plural, or a mass."""
    return (part.endswith("s") and not part.endswith("ss")) or part in MASS


def _article(word: str) -> str:
    """Return the article before a word."""
    return "an" if word[:1] in "aeio" else "a"
