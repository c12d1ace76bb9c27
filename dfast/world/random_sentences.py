"""Random sentences of the world, of all kinds; imports no torch.

The shares are those of the images that the embedded prior is trained on.
"""

from __future__ import annotations

from random import Random

from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.sentence import (
    COUNTS,
    PATTERNS,
    PLACES,
    RELATIONS,
    SIZES,
    WORN,
    Sentence,
    Thing,
)

SHARES: dict[str, float] = {"alone": 0.52, "dressed": 0.06, "two": 0.06, "three": 0.06, "pair": 0.3}
"""Probability of each of `SITUATIONS`."""
SIZED = 0.25
"""Probability that a thing has a size."""
PATTERNED = 0.2
"""Probability that a thing has a pattern."""
RELATION_WEIGHTS = (0.3, 0.3, 0.15, 0.1, 0.07, 0.08)
"""Of `RELATIONS`."""


def draw_sentences(count: int, seed: int) -> list[Sentence]:
    """Return random sentences that all differ, the same ones for the same seed.

    Args:
        count: how many.
        seed: any number.
    """
    random = Random(seed)
    found: dict[Sentence, None] = {}
    while len(found) < count:
        found[draw_sentence(random)] = None
    return list(found)


def draw_sentence(random: Random, situation: str | None = None) -> Sentence:
    """Return a random sentence, every colour stated.

    Args:
        random: where its choices come from.
        situation: one of `SITUATIONS`; by default they have their shares.
    """
    kind = situation or random.choices(list(SHARES), list(SHARES.values()))[0]
    if kind == "pair":
        relation = random.choices(RELATIONS, RELATION_WEIGHTS)[0]
        second = random.choice(PLACES.get(relation, tuple(NOUNS)))
        return Sentence((_thing(random, _any_noun(random)), _thing(random, second)), relation)
    if kind == "dressed":
        wearers = [n for n, noun in NOUNS.items() if noun.head is not None and noun.part is None]
        return Sentence((_thing(random, random.choice(wearers), random.choice(WORN)),))
    return Sentence((_thing(random, _any_noun(random)),), count=COUNTS.get(kind, 1))


def _any_noun(random: Random) -> str:
    return random.choice(list(NOUNS))


def _thing(random: Random, noun: str, wears: str | None = None) -> Thing:
    """Return a thing in random colours, perhaps with a size and a pattern."""
    color, second = random.sample(ALL_COLORS, 2)
    has_part = wears is not None or NOUNS[noun].part is not None
    part_color = random.choice(ALL_COLORS) if has_part else None
    size = random.choice(list(SIZES)) if random.random() < SIZED else None
    pattern = random.choice(PATTERNS) if random.random() < PATTERNED else None
    return Thing(noun, color, part_color, size, pattern, second if pattern else None, wears)
