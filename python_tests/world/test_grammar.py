"""The sentences of the procedural world."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from procedural import CAPTIONS

from dfast.errors import PromptError
from dfast.world import catalogue, parse
from dfast.world.objects import OBJECTS, PRIMITIVES
from dfast.world.parts import COLORS, MAX_PARTS

SENTENCES = {
    "a red chair": "a red chair",
    "Chair": "a brown chair",
    "an ORANGE ball": "an orange sphere",
    "the grey donut.": "a gray torus",
    "green cone on a yellow box": "a green cone on top of a yellow cube",
    "a pill atop an orange tube": "a gray capsule on top of an orange cylinder",
    "red cube beside blue orb": "a red cube next to a blue sphere",
    "a cup": "a blue mug",
    "snowman": "a snowman with a black hat",
    "a snowman with an orange cap": "a snowman with an orange hat",
    "an orange home with a violet roof": "an orange house with a purple roof",
    "a turquoise aeroplane": "a cyan airplane",
}


@pytest.mark.parametrize(("sentence", "canonical"), SENTENCES.items())
def test_sentences_have_one_canonical_form(sentence: str, canonical: str) -> None:
    assert parse(sentence).caption == canonical


@pytest.mark.parametrize("caption", CAPTIONS)
def test_canonical_captions_are_fixed_points(caption: str) -> None:
    scene = parse(caption)
    assert scene.caption == caption and len(scene.parts) <= MAX_PARTS
    assert [w for w in caption.split() if w in COLORS] == list(scene.slots)
    assert len(scene.part_colors) == len(scene.parts) and set(scene.part_colors) <= set(COLORS)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("", "expected a sentence such as"),
        (" 42 !", "expected a sentence such as"),
        ("a red zebra", 'does not know the word "zebra"'),
        ("a red", "cannot read"),
        ("a red blue cube", "cannot read"),
        ("a cube on top of", "cannot read"),
        ("a chair on top of a cube", "cannot read"),
        ("a red snowman", "cannot read"),
        ("a chair with a red roof", "cannot read"),
        ("a house with a red hat", "cannot read"),
        ("a cube on a cube on a cube", "cannot read"),
    ],
)
def test_other_sentences_are_refused_in_one_line(sentence: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as error:
        parse(sentence)
    assert str(error.value).startswith("prompt: ") and "\n" not in str(error.value)


def test_the_world_is_as_rich_as_it_says() -> None:
    assert len(COLORS) >= 12 and len(PRIMITIVES) >= 6 and len(OBJECTS) >= 8
    assert len(catalogue()) == len(set(catalogue())) >= 50
    fronts = {name for name, kind in OBJECTS.items() if kind.has_front}
    assert {"chair", "snowman", "house", "mug", "car", "duck"} <= fronts


@pytest.mark.parametrize(
    ("sentence", "advice"),
    [
        ("a red char", 'did you mean "chair"?'),
        ("a red snowmen", 'did you mean "snowman"?'),
        ("a bleu cube", 'did you mean "blue"?'),
        ("a red snowman", 'try "a snowman with a red hat"'),
        ("a house with a blue hat", 'try "a white house with a blue roof"'),
        ("a chair with a red roof", 'try "a red chair"'),
        (
            "a chair on a table",
            "only the solids sphere, cube, cylinder, cone, torus, capsule can be",
        ),
        ("a cube cube", '"on top of" or "next to"'),
        ("the a", "expected a sentence such as|it names no solid"),
        ("a plain mug", "the colours are red"),
        ("ein stühl", '"ein"'),
        ("赤い椅子", '"赤い椅子"'),
        ("x" * 5000, "xxx..."),
    ],
)
def test_refusals_say_what_would_be_right(sentence: str, advice: str) -> None:
    with pytest.raises(PromptError, match=advice.replace("?", r"\?")) as error:
        parse(sentence)
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)


@pytest.mark.parametrize("noun", [*PRIMITIVES, *OBJECTS])
def test_every_sentence_that_a_refusal_suggests_is_one(noun: str) -> None:
    for words in (
        f"a {noun} with",
        f"a red blue {noun}",
        f"{noun} next to",
        f"a {noun} with a hat",
    ):
        with pytest.raises(PromptError) as error:
            parse(words)
        for suggestion in re.findall(r'(?:try|such as) "([^"]+)"', str(error.value)):
            parse(suggestion)


def test_sentences_are_read_without_torch() -> None:
    code = (
        "import sys, dfast.world\n"
        "assert dfast.world.grammar.read('snowman').caption == 'a snowman with a black hat'\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert dfast.world.ProceduralScene and 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
