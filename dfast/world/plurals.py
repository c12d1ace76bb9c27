"""Plurals of English nouns: the regular ones by rule, those of the world's words by a table."""

from __future__ import annotations

PLURALS: dict[str, str] = {
    "mouse": "mice",
    "goose": "geese",
    "wolf": "wolves",
    "knife": "knives",
    "shelf": "shelves",
    "leaf": "leaves",
    "loaf": "loaves",
    "calf": "calves",
    "elf": "elves",
    "dwarf": "dwarves",
    "scarf": "scarves",
    "hoof": "hooves",
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "ox": "oxen",
    "die": "dice",
    "octopus": "octopuses",
    "cactus": "cacti",
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "mosquito": "mosquitoes",
    "volcano": "volcanoes",
    "domino": "dominoes",
    "hero": "heroes",
    "pants": "pants",
    "trousers": "trousers",
    "jeans": "jeans",
    "scissors": "scissors",
    "glasses": "glasses",
    "grapes": "grapes",
    "pancakes": "pancakes",
    "blocks": "blocks",
}
"""Of nouns that are irregular, or that end in o and take es."""
SINGULARS: dict[str, str] = {
    **{plural: noun for noun, plural in PLURALS.items() if plural != noun},
    "octopi": "octopus",
    "cactuses": "cactus",
    "fishes": "fish",
    "persons": "person",
    "dwarfs": "dwarf",
    "volcanos": "volcano",
    "dominos": "domino",
    "oxes": "ox",
}
"""The noun of each irregular plural."""
PAIRS = frozenset({"pants", "scissors", "glasses"})
"""Things that are counted in pairs: "two pairs of glasses"."""


def plural(noun: str) -> str:
    """Return the plural of a noun.

    Args:
        noun: in the singular.
    """
    if noun in PLURALS:
        return PLURALS[noun]
    if noun.endswith("fish"):
        return noun
    if noun.endswith("man") and noun not in ("human", "shaman"):
        return noun[:-2] + "en"
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def singulars(word: str) -> tuple[str, ...]:
    """Return the nouns of which a word may be the plural, the likeliest first.

    Args:
        word: in lower case; a noun in the singular that looks like a plural has some, too.
    """
    if word in SINGULARS:
        return (SINGULARS[word],)
    found = []
    if word.endswith("men"):
        found.append(word[:-2] + "an")
    if word.endswith("ves"):
        found += [word[:-3] + "f", word[:-3] + "fe"]
    if word.endswith("ies"):
        found.append(word[:-3] + "y")
    if word.endswith("s") and not word.endswith("ss"):
        found.append(word[:-1])
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        found.append(word[:-2])
    return tuple(found)
