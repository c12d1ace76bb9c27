"""Rivals of sentences by name, and those that differ in shape."""

from __future__ import annotations

import pytest

from dfast.evaluation.rivals import geometry, name_of, rivals
from dfast.evaluation.truths import ground_truth
from dfast.world.reading import read


def names(text: str) -> dict[str, set[str]]:
    """Return the names of the rivals of a sentence by attribute."""
    found = rivals(geometry(read(text).sentence))
    return {attribute: {name_of(other) for other in others} for attribute, others in found.items()}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a red and white striped cat", "cat"),
        ("a big cat with a blue hat", "cat with hat"),
        ("three tall lamps", "3 tall lamp"),
        ("a big cat on top of a small table", "big cat on top of small table"),
    ],
)
def test_a_name_leaves_out_what_does_not_change_the_shape(text: str, name: str) -> None:
    assert name_of(geometry(read(text).sentence)) == name


def test_rivals_of_one_thing() -> None:
    assert names("a red house with a blue roof") == {}
    assert names("a small red cat") == {}  # large or small alone is how near the camera is
    assert names("a tall lamp") == {"size": {"lamp", "short lamp"}}
    assert names("a cat with a hat") == {"worn": {"cat", "cat with crown"}}


def test_rivals_of_several() -> None:
    assert names("two lamps") == {"count": {"lamp", "3 lamp"}}
    assert names("two red cats") == {"count": {"cat", "3 cat"}}
    assert names("three thin lamps") == {
        "count": {"thin lamp", "2 thin lamp"},
        "size": {"3 lamp", "3 wide lamp"},
    }


def test_rivals_of_two_things() -> None:
    found = names("a big cat under a table")
    assert found["size"] == {"cat under table", "small cat under table"}
    assert found["things"] == {"2 cat", "2 table"}
    assert "big cat next to table" in found["relation"]
    assert "table next to big cat" in found["relation"]
    assert "table under big cat" not in found["relation"]  # nothing is under a cat
    assert "big cat inside table" not in found["relation"]


@pytest.mark.usefixtures("needs_native")
def test_rivals_that_are_the_same_shape_turned_are_none() -> None:
    truth = ground_truth("a red cube next to a blue sphere")
    assert set(truth.rivals["relation"]) == {"cube on top of sphere", "sphere on top of cube"}
    assert truth.is_shape("sphere next to cube") and not truth.is_shape("cube")
    twins = ground_truth("a red sphere next to a blue sphere")
    assert set(twins.rivals["relation"]) == {"sphere on top of sphere"}


def test_what_has_a_front() -> None:
    fronts = {
        "a red cat": True,
        "a red sphere": False,
        "two red spheres": False,
        "two red cats": True,
        "a red cube on top of a blue sphere": False,
        "a red cat on top of a blue sphere": True,
        "a red cube next to a blue cube": True,  # the red one is on the left
        "a red cube in front of a blue sphere": True,
        "a red cube next to a red cube": False,
    }
    assert {text: ground_truth(text).has_front for text in fronts} == fronts
