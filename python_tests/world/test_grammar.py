"""The sentences of the procedural world."""

from __future__ import annotations

import pytest
from procedural import CAPTIONS

from dfast.errors import PromptError
from dfast.world import catalogue, parse
from dfast.world.objects import OBJECTS, PRIMITIVES
from dfast.world.scenes import COLORS, MAX_PARTS

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
