"""What words mean in the world."""

from __future__ import annotations

import time

import pytest

from dfast.world.isa import TABLE, kinds
from dfast.world.nouns import CATEGORIES, NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.plurals import PLURALS, SINGULARS, plural, singulars
from dfast.world.sentence import COUNTS, PATTERNS, RELATIONS, SIZES, WORN, vocabulary
from dfast.world.synonyms import PHRASES, SHADES, SYNONYMS
from dfast.world.vocabulary import known_lines, parts, word_lines
from dfast.world.words import resolve, roles


def test_the_vocabulary_is_known() -> None:
    for word in vocabulary():
        meaning = resolve(word)
        if word in parts() and meaning.role != "part":
            continue  # the cap of a bottle, the leaves of a carrot: a part only after "with"
        assert (meaning.status, meaning.target, meaning.plural) == ("known", word, False)


def test_every_word_has_its_role() -> None:
    for group, role in (
        (NOUNS, "noun"),
        (ALL_COLORS, "color"),
        (SIZES, "size"),
        (PATTERNS, "pattern"),
    ):
        assert {resolve(word).role for word in group} == {role}
    assert {resolve(word).role for word in parts()} <= {"part", "noun", "worn"}
    assert {resolve(word).role for word in COUNTS} == {"count"}


def test_synonyms_point_to_words_of_the_world() -> None:
    known = {*NOUNS, *ALL_COLORS, *SIZES, *PATTERNS, *WORN}
    for word, target in {**SYNONYMS, **PHRASES}.items():
        assert target in known, word
        meaning = resolve(word)
        assert (meaning.status, meaning.target) == ("synonym", target)
    for word, target in SHADES.items():
        assert target in ALL_COLORS and resolve(word).status == "kind of"


def test_kinds_are_kinds_of_things() -> None:
    table = kinds()
    assert 3000 < len(table) < 8000 and TABLE.stat().st_size < 100_000
    assert set(table.values()) <= {*NOUNS, *WORN}
    said = {*ALL_COLORS, *SIZES, *PATTERNS}
    assert not [word for word in table if " " in word and word.split()[0] in said]
    for word, noun in {"corgi": "dog", "sedan": "car", "oak": "tree", "polar bear": "bear"}.items():
        assert table[word] == noun
        assert resolve(word).note == f"{word}: made as a {noun}"


def test_no_word_has_two_meanings() -> None:
    spelled = [*SYNONYMS, *SHADES, *PHRASES, *kinds()]
    assert len(spelled) == len(set(spelled))
    assert not set(spelled) & {word for word, role in roles().items() if role != "part"}


@pytest.mark.parametrize("noun", NOUNS)
def test_plurals_are_read_back(noun: str) -> None:
    many = plural(noun)
    assert many == noun or noun in singulars(many)
    meaning = resolve(many)
    expected = "glasses" if noun == "glass" else noun  # "glasses" alone are worn
    assert (meaning.status, meaning.target) == ("known", expected)


def test_irregular_plurals() -> None:
    for noun, many in PLURALS.items():
        assert plural(noun) == many
    for many, noun in SINGULARS.items():
        assert resolve(many).target == resolve(noun).target
    for word, target in {"people": "person", "octopi": "octopus", "loaves": "bread"}.items():
        assert resolve(word).target == target and resolve(word).plural
    assert resolve("corgis").note == "corgis: made as dogs"
    assert resolve("policemen").note == "policemen: made as people"


def test_misspelt_words_have_neighbours() -> None:
    assert resolve("elefant").near[0] == "elephant"
    assert resolve("dachsund").near[0] == "dachshund"
    assert resolve("xqzzv").status == "unknown"


def test_words_take_milliseconds() -> None:
    resolve("dog")
    for word in ("elephnat", "xqzzvvbb", "dachshunds", "a" * 60):
        begin = time.perf_counter()
        resolve(word)
        assert time.perf_counter() - begin < 0.05


def test_what_is_known_is_listed() -> None:
    lines = known_lines()
    assert all("\n" not in line for line in lines)
    names = [line.split(": ")[0] for line in lines]
    assert names[: len(CATEGORIES)] == list(CATEGORIES)
    text = "\n".join(lines)
    assert all(
        word in text for word in (*NOUNS, *ALL_COLORS, *SIZES, *PATTERNS, *RELATIONS, *parts())
    )


def test_a_word_is_explained() -> None:
    assert word_lines("corgi")[0] == "corgi: made as a dog"
    assert word_lines("mice")[0] == "mice: plural of mouse, a thing (farm)"
    assert word_lines("couch")[0] == "couch: the same as sofa, a thing (furniture)"
    assert "things can be inside it" in word_lines("bowl")
    assert word_lines("roof")[1].startswith("part of: house")
    assert word_lines("elefant") == ["elefant: not known; near: elephant"]
    assert word_lines("xqzzv") == ["xqzzv: not known"]
