"""The sentences of the world as people write them."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from dfast.errors import PromptError
from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.reading import Reading, read
from dfast.world.sentence import (
    CONTAINERS,
    PATTERNS,
    RELATIONS,
    SHELTERS,
    SIZES,
    WORN,
    Sentence,
    Thing,
)

SENTENCES = {
    "Red   DOG!": "a red dog",
    "a dog with a hat": "a brown dog with a black hat",
    "a cat wearing a crown": "an orange cat with a yellow crown",
    "a cat in a red hat": "an orange cat with a red hat",
    "a dog in a top hat": "a brown dog with a black hat",
    "red and white striped ball": "a red and white striped sphere",
    "striped red and white ball": "a red and white striped sphere",
    "a red striped ball": "a red and white striped sphere",
    "a white, dotted ball": "a white and black dotted sphere",
    "a cat with blue spots": "an orange and blue dotted cat",
    "big red apple": "a big red apple",
    "a red big apple": "a big red apple",
    "three red apples": "three red apples",
    "3 apples": "three red apples",
    "a couple of cats": "two orange cats",
    "a pair of shoes": "two red shoes with white soles",
    "two mice": "two gray mice",
    "two green houses with yellow roofs": "two green houses with yellow roofs",
    "a carriage with a red wheel": "a pink carriage with red wheels",
    "a lighthouse with white stripes": "a white lighthouse with white stripes",
    "two glasses": "two cyan glasses",
    "glasses": "black glasses",
    "two pairs of glasses": "two pairs of black glasses",
    "a snowman": "a white snowman with a black hat",
    "a snowman with a purple cap": "a white snowman with a purple hat",
    "a cat is sitting on the sofa": "an orange cat on top of a red sofa",
    "a dog atop a bench": "a brown dog on top of a brown bench",
    "red cube beside blue orb": "a red cube next to a blue sphere",
    "a dog in a tub": "a brown dog inside a white bathtub",
    "a dog below a table": "a brown dog under a brown table",
    "a duck in front of a barn": "a yellow duck in front of a red barn with a gray roof",
    "an ice cream": "a pink icecream",
    "a light house": "a white lighthouse with red stripes",
    "a truck with a pink cab in front of a mug": (
        "a white truck with a pink cab in front of a blue mug"
    ),
    "a red panda": "a red panda",
    "a green house": "a green house with a red roof",
    "a t-shirt": "a red shirt with white sleeves",
}
REFUSED = {
    "": "names no thing",
    "!": "names no thing",
    "a red char": 'did you mean "chair"',
    "an xqzzv": 'the word "xqzzv" is not known',
    "a red": "a thing is missing",
    "a plain dog": '"plain" is no colour',
    "a hat": "a hat is worn",
    "a roof": "is a part of a thing",
    "apples": "say how many",
    "four cats": "at most three",
    "a red blue dog": 'try "a red and blue striped dog"',
    "a red and red striped dog": "two different colours",
    "a big small dog": "one size",
    "a dog and a cat": 'try "a brown dog next to an orange cat"',
    "a red and dog": "joins the two colours",
    "a dog red": "cannot stand after",
    "red two dogs": "stands first",
    "a dog on top of": "joins two things",
    "a dog on a chair under a table": "one relation",
    "two dogs on a sofa": 'try "a brown dog on top of a red sofa"',
    "a dog inside a tree": "only inside bowl",
    "two dogs under a cat": "only under table",
    "a dog under a cat": "only under table",
    "a dog with": "missing after",
    "a dog with red wheels": 'it can wear a hat or a crown; try "a brown dog with a red hat"',
    "a house with a hat": "a part of its own, its roof",
    "a chair with a red leg": "is not known|no part",
    "a person with a hat": "a part of its own",
    "a chair with a hat": "has no head",
    "a dog with a hat and a crown": "one colour and one part",
}


def random_thing(rng: random.Random, noun: str, *, dressed: bool) -> Thing:
    """Return a thing in random colours."""
    kind = NOUNS[noun]
    colors = rng.sample(ALL_COLORS, 3)
    wears = rng.choice(WORN) if dressed and kind.head and not kind.part else None
    pattern = rng.choice((*PATTERNS, None, None))
    return Thing(
        noun,
        colors[0],
        colors[1] if kind.part or wears else None,
        rng.choice((*SIZES, *[None] * 5)),
        pattern,
        colors[2] if pattern else None,
        wears,
    )


def random_sentence(rng: random.Random) -> Sentence:
    """Return a sentence that the world can make."""
    nouns = rng.choices(list(NOUNS), k=2)
    relation = rng.choice(RELATIONS)
    places = {"under": SHELTERS, "inside": CONTAINERS}.get(relation)
    nouns[1] = rng.choice(places) if places else nouns[1]
    things = tuple(random_thing(rng, noun, dressed=rng.random() < 0.3) for noun in nouns)
    count = rng.choice((1, 1, 2, 3))
    if count > 1 or rng.random() < 0.5:
        things, relation = things[:1], None
    else:
        count = 1
    return Sentence(things, relation, count)


@pytest.mark.parametrize(("text", "canonical"), SENTENCES.items())
def test_sentences_have_one_canonical_form(text: str, canonical: str) -> None:
    assert read(text).sentence.text() == canonical
    assert read(canonical) == Reading(read(text).sentence, ())


def test_random_sentences_are_read_back() -> None:
    rng = random.Random(0)
    for _ in range(4000):
        sentence = random_sentence(rng)
        assert read(sentence.text()) == Reading(sentence, ()), sentence.text()
        if sentence.count == 1:
            assert read(" ".join(sentence.words())).sentence == sentence


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_alone(noun: str) -> None:
    kind = NOUNS[noun]
    part = kind.part[1] if kind.part else None
    assert read(noun).sentence == Sentence((Thing(noun, kind.color, part),))
    for size in SIZES:
        assert read(f"{size} {noun}").sentence == Sentence((Thing(noun, kind.color, part, size),))
    for pattern in PATTERNS:
        (thing,) = read(f"a lime {pattern} {noun}").sentence.things
        assert (thing.color, thing.pattern, thing.second) == ("lime", pattern, "white")


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_other_sentences_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as error:
        read(text)
    assert str(error.value).startswith("prompt: cannot read ") and "\n" not in str(error.value)


def test_what_is_suggested_can_be_read() -> None:
    for text in REFUSED:
        with pytest.raises(PromptError) as error:
            read(text)
        _, *tried = str(error.value).split("try ")
        for suggestion in "".join(tried).split('"')[1::2]:
            assert read(suggestion)


@pytest.mark.parametrize("noun", NOUNS)
def test_suggestions_about_every_noun_can_be_read(noun: str) -> None:
    for words in (
        "a {} with",
        "a red blue {}",
        "{} next to",
        "a {} with a hat",
        "three {}",
        "a {} inside a {}",
    ):
        text = words.format(noun, noun)
        try:
            read(text)
        except PromptError as error:
            message = str(error).removeprefix(f'prompt: cannot read "{text}": ')
            _, found, suggestions = message.partition("try ")
            tried = suggestions.split('"')[1::2]
            assert found and tried, message
            for suggestion in tried:
                assert read(suggestion)


def test_refusals_are_short_and_name_other_priors() -> None:
    for text in ("a glorb", "x" * 5000, "赤い椅子", "ein stühl", "a red \x1b[31m glorb"):
        with pytest.raises(PromptError, match="--prior sd15") as error:
            read(text)
        assert len(str(error.value)) < 700 and str(error.value).isprintable()


def test_kinds_of_things_are_noted() -> None:
    reading = read("a crimson corgi on a settee")
    assert reading.sentence.text() == "a red dog on top of a red sofa"
    assert reading.notes == ("crimson: made in red", "corgi: made as a dog")
    assert read("two police officers").notes == ("police officers: made as people",)
    assert read("a fox with a sombrero").notes == ("sombrero: made as a hat",)


def test_reading_takes_milliseconds() -> None:
    read("a red dog")
    begin = time.perf_counter()
    for _ in range(20):
        read("a small red and white striped corgi on top of a green sofa")
    assert (time.perf_counter() - begin) / 20 < 0.05


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from dfast.world.reading import read; read('a red corgi'); "
        "from dfast.world.vocabulary import known_lines; known_lines(); "
        "assert not {'torch', 'numpy'} & set(sys.modules); import dfast.world; "
        "assert dfast.world.ProceduralScene and dfast.world.build_scene; "
        "sys.exit('torch' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
