"""Sentences of two things: what each becomes, and where it stands."""

from __future__ import annotations

import math

import pytest
import torch

import dfast
from dfast.errors import PromptError
from dfast.mesh.density_grid import grid_points
from dfast.world.build import build_scene
from dfast.world.reading import read
from dfast.world.scenes import ProceduralScene

pytestmark = pytest.mark.usefixtures("needs_native")


def parse(text: str) -> ProceduralScene:
    """Return the true scene of a sentence."""
    return build_scene(read(text).sentence)


def boxes(layout: dfast.Layout) -> list[tuple[list[float], list[float]]]:
    """Return the lowest and highest corner of each true thing in its place."""
    found = []
    for part in layout.parts:
        grid = grid_points(48)
        inside = grid[parse(part.prompt).occupancy(grid)] * part.size
        low, high = inside.amin(0).tolist(), inside.amax(0).tolist()
        ends = [[a + b for a, b in zip(part.position, end, strict=True)] for end in (low, high)]
        found.append((ends[0], ends[1]))
    return found


def test_things_that_are_known_stand_where_the_relation_says() -> None:
    axis = {"next to": 1, "in front of": 0, "behind": 0, "on top of": 2}
    for relation, along in axis.items():
        layout = dfast.layout_of(f"a red chair {relation} a blue table")
        assert layout.whole == 0.5
        assert [part.prompt for part in layout.parts] == ["a red chair", "a blue table"]
        (low, high), (low2, high2) = boxes(layout)
        first_is_low = relation in ("next to", "behind")  # left is towards -y
        gap = (low2[along] - high[along]) if first_is_low else (low[along] - high2[along])
        assert -0.05 < gap < 0.12
        if along < 2:
            assert low[2] == pytest.approx(low2[2], abs=0.05)  # on one floor
        for part in layout.parts:
            assert math.hypot(*part.position) + part.size <= 1.0


@pytest.mark.parametrize("sentence", ["a red cube next to a torus", "a cone on a green cylinder"])
def test_solids_stand_where_the_embedded_prior_has_them(sentence: str) -> None:
    layout, true = dfast.layout_of(sentence), parse(sentence)
    assert layout.whole == 0.5 and layout.prompt == sentence
    grid = grid_points(48)
    inside = true.occupancy(grid)
    # Its spheres lie in that of all.
    fit = math.hypot(*layout.parts[0].position) / math.hypot(*true.placements[0].offset)
    assert 0.85 < fit <= 1.0
    each = [
        parse(part.prompt).occupancy((fit * grid - grid.new_tensor(part.position)) / part.size)
        for part in layout.parts
    ]
    found = torch.stack(each).any(0)
    assert float((found & inside).sum() / (found | inside).sum()) > 0.98


def test_things_that_nobody_knows_are_cubes() -> None:
    layout = dfast.layout_of("  A glorb   beside a fire flirb. ", prior="sd15")
    assert layout.prompt == "A glorb beside a fire flirb" and layout.whole == 0.5
    glorb, flirb = layout.parts
    assert (glorb.name, flirb.name) == ("glorb", "flirb")
    assert glorb.prompt == "A glorb" and flirb.prompt == "a fire flirb"
    assert glorb.size == flirb.size > 0.4 and glorb.position[1] == -flirb.position[1] < 0


def test_names_are_nouns() -> None:
    names = [part.name for part in dfast.layout_of("a cube on a blue cube").parts]
    assert names == ["cube", "cube 2"]
    names = [p.name for p in dfast.layout_of("a snowman with a red hat behind a tree").parts]
    assert names == ["snowman", "tree"]


def test_the_state_of_torch_does_not_matter() -> None:
    expected = dfast.layout_of("a red chair next to a blue table")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        assert dfast.layout_of("a red chair next to a blue table") == expected
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("a red chair", "parts: expected two things with on top of, on, next to,"),
        ("a cube on a cube on a cube", "parts: expected two things with"),
        ("on a cube", "parts: expected two things with"),
        (5, "parts: expected a sentence of two things, got 5"),
        ("a glorb next to a cube", 'prompt: cannot read "a glorb": the word "glorb" is not known'),
    ],
)
def test_other_sentences_are_refused(sentence: str, message: str) -> None:
    with pytest.raises(PromptError) as error:
        dfast.layout_of(sentence)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
