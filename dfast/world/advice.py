"""Why a text is no sentence of the world, and a sentence that would do.

Every function returns one line, without the text itself, which `refusal` adds.
"""

from __future__ import annotations

from dataclasses import replace

from dfast._numbers import shown
from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.sentence import PATTERNS, PLAIN, SIZES, WORN, Sentence, Thing
from dfast.world.words import Meaning

EXAMPLES = '"a red dog", "two blue chairs", "a small cat on top of a green sofa"'
ELSEWHERE = (
    "`dfast words` lists what is known; other prompts need another prior, such as --prior sd15 "
    "(see `dfast priors`)"
)
LONGEST = 70
"""Characters of a text that are repeated."""
MORE = ("four", "five", "six", "seven", "eight", "nine", "ten", "many", "several", "some", "few")
"""Numbers that the world does not have, beside those in digits."""


def refusal(text: str, reason: str) -> str:
    """Return the message about a text.

    Args:
        text: what was to be read.
        reason: what a function of this module says.
    """
    return f"prompt: cannot read {_repeated(text)}: {reason}"


def named(noun: str, color: str | None = None) -> Thing:
    """Return a thing in its own colours.

    Args:
        noun: a key of `NOUNS`.
        color: in place of its own.
    """
    kind = NOUNS[noun]
    return Thing(noun, color or kind.color, kind.part[1] if kind.part else None)


def unknown_word(word: Meaning) -> str:
    """Return what to say about a word that the world does not have."""
    if word.word.isdigit() or word.word in MORE:
        return f'"{word.word}": there are at most three of a thing; try "three red apples"'
    unknown = f"the word {_repeated(word.word)} is not known"
    if word.near:
        meant = " or ".join(f'"{w}"' for w in word.near)
        return f"{unknown}; did you mean {meant}? Or leave it out; {ELSEWHERE}"
    return f"{unknown}; leave it out, or try {EXAMPLES}; {ELSEWHERE}"


def no_thing() -> str:
    """Return what to say about a text without words."""
    return f"it names no thing; try {EXAMPLES}"


def no_noun(words: list[Meaning]) -> str:
    """Return what to say about words without a thing."""
    for word in words:
        if word.target in WORN:
            return (
                f'a {word.target} is worn; try "a snowman with a red hat", "a cat with a red hat"'
            )
        if word.role == "part":
            owner = next(
                n for n, kind in NOUNS.items() if kind.part and kind.part[0] == word.target
            )
            return f'"{word.word}" is a part of a thing; try {_quoted(named(owner))}'
    for word in words:
        if word.role == "color":
            would = _quoted(named("dog", word.target))
            return f'"{word.word}" is a colour, and a thing is missing; try {would}'
    return no_thing()


def two_relations(relations: list[str]) -> str:
    """Return what to say about more than one relation."""
    said = " and ".join(f'"{r}"' for r in relations)
    return f'a sentence has one relation, not {said}; try "a cat on top of a table"'


def missing_thing(relation: str) -> str:
    """Return what to say about a relation at the beginning or the end."""
    place = {"inside": "bowl", "under": "table"}.get(relation, "chair")
    return f'"{relation}" joins two things; try "a cat {relation} a {place}"'


def counted_relation(relation: str, first: Thing, second: Thing) -> str:
    """Return what to say about a number beside a relation."""
    one = Sentence((first, second), relation).text()
    return f'a number goes with things that stand alone, not with "{relation}"; try "{one}"'


def wrong_place(relation: str, allowed: tuple[str, ...], first: Thing, second: Thing) -> str:
    """Return what to say about a thing that nothing can be inside or under."""
    place = named(allowed[0], second.color)
    if (first.noun, first.color) == (place.noun, place.color):
        place = named(allowed[1], second.color)
    would = Sentence((first, place), relation).text()
    places = ", ".join(allowed)
    return f'nothing can be {relation} "{second.noun}", only {relation} {places}; try "{would}"'


def how_many(word: str, thing: Thing) -> str:
    """Return what to say about a plural without a number."""
    one, two = Sentence((thing,)).text(), Sentence((thing,), count=2).text()
    return f'"{word}": say how many, two or three; try "{two}" or "{one}"'


def no_part(words: list[Meaning]) -> str:
    """Return what to say about "with" at the end."""
    noun = next((word.target for word in words if word.role == "noun"), "house")
    return f'something is missing after "with"; try {_quoted(_dressed(named(noun)))}'


def two_things(nouns: list[Meaning]) -> str:
    """Return what to say about two things without a relation."""
    first, second = (named(noun.target) for noun in nouns[:2])
    would = Sentence((first, second), "next to").text()
    return f'two things need a relation, such as "next to" or "on top of"; try "{would}"'


def noun_last(noun: Meaning, last: Meaning) -> str:
    """Return what to say about words after the noun."""
    color = last.target if last.role == "color" else None
    would = _quoted(named(noun.target, color))
    return f'"{last.word}" cannot stand after "{noun.word}"; try {would}'


def number_first(noun: Meaning) -> str:
    """Return what to say about a number in the wrong place."""
    would = Sentence((named(noun.target),), count=2).text()
    return f'one number, two or three, stands first; try "{would}"'


def stray_word(word: Meaning, noun: str) -> str:
    """Return what to say about a known word that does not belong before a noun."""
    if word.target == PLAIN:
        return f'"{PLAIN}" is no colour; the colours are {", ".join(ALL_COLORS)}'
    return f'"{word.word}" cannot stand before "{noun}"; try {_quoted(named(noun))}'


def stray_and(noun: str) -> str:
    """Return what to say about "and" that joins no colours."""
    would = _quoted(replace(named(noun, "red"), pattern="striped", second="white"))
    return f'"and" joins the two colours of a pattern; try {would}'


def too_much_said(noun: str) -> str:
    """Return what to say about two sizes, two patterns or three colours."""
    would = _quoted(replace(named(noun, "red"), size="big", pattern="striped", second="white"))
    sizes, patterns = ", ".join(SIZES), ", ".join(PATTERNS)
    return f"a thing has one size ({sizes}) and one pattern ({patterns}); try {would}"


def two_colors(noun: str, first: str, second: str) -> str:
    """Return what to say about two colours without a pattern."""
    if first == second:
        return f"the colour is stated twice; try {_quoted(named(noun, first))}"
    would = _quoted(replace(named(noun, first), pattern="striped", second=second))
    return f"two colours need a pattern ({', '.join(PATTERNS)}); try {would}"


def same_colors(noun: str, color: str, pattern: str) -> str:
    """Return what to say about a pattern of one colour."""
    second = "black" if color == "white" else "white"
    would = _quoted(replace(named(noun, color), pattern=pattern, second=second))
    return f"a pattern has two different colours; try {would}"


def one_part(thing: Thing) -> str:
    """Return what to say about more than a coloured part after "with"."""
    return f'one colour and one part stand after "with"; try {_quoted(_dressed(thing))}'


def no_such_part(word: str, thing: Thing) -> str:
    """Return what to say about a part that a thing does not have."""
    part = thing.kind.part
    if part is not None:
        has = f"its part is {part[0]}"
    elif thing.kind.head is not None:
        has = f"it can wear {' or '.join(f'a {worn}' for worn in WORN)}"
    else:
        has = "it has no part to colour"
    return f'"{word}" is no part of "{thing.noun}": {has}; try {_quoted(_dressed(thing))}'


def wears_nothing(worn: str, thing: Thing) -> str:
    """Return what to say about a hat on what cannot wear it."""
    own = thing.kind.part
    why = "has no head" if own is None else f"has a part of its own, its {own[0]}"
    would = _quoted(_dressed(named("dog"), worn))
    return f'"{thing.noun}" {why}, so it cannot wear a {worn}; try {would} or {_quoted(thing)}'


def _dressed(thing: Thing, worn: str = "hat") -> Thing:
    """Return a thing with what can stand after "with", the thing itself if nothing can."""
    if thing.kind.part is None and thing.kind.head is not None:
        return replace(thing, wears=worn, part_color="red")
    return thing


def _repeated(text: str) -> str:
    """Return a text in double quotes, shortened if it is long."""
    return f'"{text}"' if text.isprintable() and len(text) <= LONGEST else shown(text)


def _quoted(thing: Thing) -> str:
    """Return the canonical caption of a thing in quotes."""
    return f'"{Sentence((thing,)).text()}"'
