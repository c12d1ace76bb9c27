"""Sentences become scenes: places, sizes, counts, what is worn, patterns, captions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfast.world.build import build_scene
from dfast.world.nouns import NOUNS
from dfast.world.parts import PALETTE
from dfast.world.scenes import ProceduralScene
from dfast.world.sentence import RELATIONS, WORN, Sentence, Thing, vocabulary

RED, BLUE = (torch.tensor(PALETTE[c]) for c in ("red", "blue"))


def points(scene: ProceduralScene, count: int = 60_000) -> tuple[Tensor, Tensor]:
    """Return random points inside a scene, and their albedo."""
    x = torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    inside = x[scene.occupancy(x)]
    return inside, scene.albedo(inside)


def of_color(scene: ProceduralScene, color: Tensor) -> Tensor:
    """Return the points inside a scene that have a colour."""
    x, albedo = points(scene)
    return x[(albedo - color).abs().amax(1) < 0.01]


def related(relation: str, first: str = "cube", second: str = "sphere") -> tuple[Tensor, Tensor]:
    """Return the points of a red thing and of a blue one in a relation."""
    scene = build_scene(Sentence((Thing(first, "red"), Thing(second, "blue")), relation))
    return of_color(scene, RED), of_color(scene, BLUE)


def test_first_things_stand_where_the_relation_says() -> None:
    a, b = related("on top of")
    assert a[:, 2].min() > b[:, 2].max() - 0.1
    a, b = related("next to")
    assert a[:, 1].max() < b[:, 1].min() + 0.01  # on the left, seen from the front
    assert abs(float(a[:, 2].min() - b[:, 2].min())) < 0.06
    a, b = related("in front of")
    assert a[:, 0].min() > b[:, 0].max() - 0.01
    a, b = related("behind")
    assert a[:, 0].max() < b[:, 0].min() + 0.01
    a, b = related("under", second="table")
    assert a[:, 2].max() < b[:, 2].max() and len(a) < len(b) * 3
    a, b = related("inside", first="sphere", second="bowl")
    assert a[:, 2].mean() > b[:, 2].min() and float(a[:, :2].norm(dim=1).max()) < 0.7


@pytest.mark.parametrize("relation", [None, *RELATIONS])
def test_scenes_fill_the_sphere(relation: str | None) -> None:
    second = {"under": "table", "inside": "bowl"}.get(relation or "", "mug")
    things = (Thing("duck", "red"), Thing(second, "blue"))
    x, _ = points(build_scene(Sentence(things[: 2 if relation else 1], relation)))
    assert 0.75 < float(x.norm(dim=1).max()) < 1.0


@pytest.mark.parametrize(
    ("size", "axis", "longer"),
    [("tall", 2, True), ("short", 2, False), ("wide", 1, True), ("thin", 1, False),
     ("long", 0, True)],
)  # fmt: skip
def test_sizes_change_the_shape(size: str, axis: int, longer: bool) -> None:
    extents = []
    for word in (None, size):
        x, _ = points(build_scene(Sentence((Thing("cube", "red", size=word),))))
        extent = x.amax(0) - x.amin(0)
        extents.append(float(extent[axis] / extent[(axis + 1) % 3]))
    assert (extents[1] > 1.3 * extents[0]) if longer else (extents[1] < 0.75 * extents[0])


def test_small_and_big_are_relative() -> None:
    things = (Thing("cube", "red", size="small"), Thing("cube", "blue", size="big"))
    scene = build_scene(Sentence(things, "next to"))
    assert len(of_color(scene, RED)) < 0.25 * len(of_color(scene, BLUE))
    alone = build_scene(Sentence((Thing("cube", "red", size="small"),)))
    assert float(points(alone)[0].norm(dim=1).max()) < 0.6


@pytest.mark.parametrize("count", [2, 3])
def test_counts_stand_side_by_side(count: int) -> None:
    x, _ = points(build_scene(Sentence((Thing("sphere", "red"),), count=count)))
    taken = torch.histc(x[:, 1], 200, -1, 1) > 0
    rises = int((taken[1:] & ~taken[:-1]).sum())
    assert rises == count


def test_a_hat_sits_on_the_head() -> None:
    scene = build_scene(Sentence((Thing("dog", "red", "blue", wears="hat"),)))
    hat, rest = of_color(scene, BLUE), of_color(scene, RED)
    assert len(hat) and hat[:, 2].min() > rest[:, 2].mean()
    assert scene.slots == ("red", "blue")


@pytest.mark.parametrize("size", [None, "tall", "big", "small"])
def test_what_is_worn_stays_within_the_sphere(size: str | None) -> None:
    for noun, kind in NOUNS.items():
        if kind.head is not None and kind.part is None:
            for wears in WORN:
                thing = Thing(noun, "red", "blue", size, wears=wears)
                x, _ = points(build_scene(Sentence((thing,))), 8000)
                assert float(x.norm(dim=1).max()) < 1.0, (noun, wears)


def test_every_one_of_several_wears_its_hat() -> None:
    things = Thing("dog", "red", "blue", wears="hat"), Thing("cat", "green", "pink", wears="crown")
    for sentence in (Sentence(things[:1], count=3), Sentence(things, "next to")):
        scene = build_scene(sentence)
        hats = of_color(scene, BLUE)
        assert len(hats) and float(points(scene)[0].norm(dim=1).max()) < 1.0
    taken = torch.histc(of_color(build_scene(Sentence(things[:1], count=3)), BLUE)[:, 1], 60, -1, 1)
    assert int((taken[1:].gt(0) & taken[:-1].eq(0)).sum()) == 3


@pytest.mark.parametrize("pattern", ["striped", "dotted", "checkered"])
def test_patterns_show_both_colours(pattern: str) -> None:
    thing = Thing("cube", "red", pattern=pattern, second="blue")
    scene = build_scene(Sentence((thing,)))
    x = torch.rand(4000, 3, generator=torch.Generator().manual_seed(2)) - 0.5
    x[:, 0] = 0.5  # the front of the cube
    share = float((scene.albedo(x) - BLUE).abs().amax(1).lt(0.01).float().mean())
    assert 0.2 < share < 0.8
    assert {tuple(c) for c in scene.albedo(x).tolist()} == {
        tuple(RED.tolist()),
        tuple(BLUE.tolist()),
    }


def test_captions_state_every_colour_in_known_words() -> None:
    first = Thing(
        "dog", "brown", "red", size="tall", pattern="striped", second="white", wears="hat"
    )
    sentence = Sentence((first, Thing("house", "orange", "red")), "on top of")
    words = sentence.words()
    assert " ".join(words) == (
        "a tall brown and white striped dog with a red hat "
        "on top of an orange house with a red roof"
    )
    assert {w for w in words if w not in ("a", "an")} <= set(vocabulary())
    assert " ".join(Sentence((Thing("sailboat", "blue", "red"),), count=2).words()) == (
        "two blue sailboat with red sails"
    )
