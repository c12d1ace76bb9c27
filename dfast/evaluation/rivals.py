"""What a result could show in place of its sentence: the same things, one attribute changed.

A count, size or relation is right where the sentence's own geometry fits the result better than all
rivals, which differ in this attribute alone. As alignment is over scale, "big" and "small" change a
geometry only beside another thing: a thing that stands alone is as large as the camera is near, and
has no rivals of these sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from dfast.world.nouns import NOUNS
from dfast.world.sentence import PLACES, RELATIONS, WORN, Sentence, Thing

OPPOSITES: dict[str, str] = {
    "tall": "short",
    "short": "tall",
    "wide": "thin",
    "thin": "wide",
    "long": "short",
    "big": "small",
    "small": "big",
}
"""The size with which each is compared, beside none at all."""


@dataclass(frozen=True)
class Attributes:
    """Which attributes of a sentence are right, by IoU; None for what it does not have."""

    count: bool | None
    """The number of things."""
    size: bool | None
    """The sizes of all things."""
    relation: bool | None
    """The relation of two things, and their order."""


ATTRIBUTES: tuple[str, ...] = tuple(f.name for f in fields(Attributes))
"""Their names."""


def geometry(sentence: Sentence) -> Sentence:
    """Return the sentence of the same solid in default colours, one for all that are alike."""
    related = sentence.relation is not None
    things = []
    for thing in sentence.things:
        size = None if thing.size in ("big", "small") and not related else thing.size
        things.append(replace(plain(thing.noun), size=size, wears=thing.wears))
    return replace(sentence, things=tuple(things))


def plain(noun: str) -> Thing:
    """Return a thing in its default colours."""
    kind = NOUNS[noun]
    return Thing(noun, kind.color, kind.part[1] if kind.part else None)


def name_of(sentence: Sentence) -> str:
    """Return the name of a geometry, such as "tall cat on top of table" or "3 dog"."""
    names = []
    for thing in sentence.things:
        worn = ["with", thing.wears] if thing.wears else []
        names.append(" ".join([*([thing.size] if thing.size else []), thing.noun, *worn]))
    number = [str(sentence.count)] if sentence.count > 1 else []
    return " ".join([*number, f" {sentence.relation} ".join(names)])


def rivals(sentence: Sentence) -> dict[str, list[Sentence]]:
    """Return the rivals of each attribute that a sentence has, and of its things.

    Args:
        sentence: a geometry.

    Returns:
        Geometries by attribute. Those under "things" are two of one thing where two different ones
        are asked for.
    """
    found = {
        "count": list(_other_counts(sentence)),
        "size": list(_other_sizes(sentence)),
        "worn": list(_other_worn(sentence)),
        "relation": list(_other_relations(sentence)),
        "things": [],
    }
    if sentence.relation is not None and len({t.noun for t in sentence.things}) == 2:
        found["things"] = [Sentence((plain(t.noun),), count=2) for t in sentence.things]
    return {attribute: others for attribute, others in found.items() if others}


def _other_counts(sentence: Sentence) -> Iterator[Sentence]:
    if sentence.count == 1:
        return
    for count in {1, 2, 3} - {sentence.count}:
        yield replace(sentence, count=count)


def _other_sizes(sentence: Sentence) -> Iterator[Sentence]:
    for i, thing in enumerate(sentence.things):
        if thing.size is not None:
            for size in (None, OPPOSITES[thing.size]):
                yield _with(sentence, i, replace(thing, size=size))


def _other_worn(sentence: Sentence) -> Iterator[Sentence]:
    for i, thing in enumerate(sentence.things):
        if thing.wears is not None:
            for worn in {None, *WORN} - {thing.wears}:
                yield _with(sentence, i, replace(thing, wears=worn))


def _other_relations(sentence: Sentence) -> Iterator[Sentence]:
    """Yield every relation of the same two things in both orders, where the world has it."""
    if sentence.relation is None:
        return
    for things in dict.fromkeys([sentence.things, sentence.things[::-1]]):
        for relation in RELATIONS:
            other = Sentence(things, relation)
            if other != sentence and things[1].noun in PLACES.get(relation, (things[1].noun,)):
                yield other


def _with(sentence: Sentence, index: int, thing: Thing) -> Sentence:
    """Return a sentence with one thing replaced."""
    things = list(sentence.things)
    things[index] = thing
    return replace(sentence, things=tuple(things))
