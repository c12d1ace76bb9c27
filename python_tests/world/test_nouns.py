"""Every thing of the world is sound: size, parts, colours, where others stand on it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dfast.world.build import outermost
from dfast.world.nouns import CATEGORIES, NOUNS
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.nouns.classics import SOLIDS
from dfast.world.parts import ALL_COLORS, KINDS, NOUN_PARTS, PALETTE
from dfast.world.scenes import part_table, table_distance
from dfast.world.sentence import CONTAINERS, SHELTERS


def test_a_word_means_one_thing() -> None:
    words = Counter(word for group in CATEGORIES.values() for word in group)
    assert len(NOUNS) >= 400 and set(words.values()) == {1}
    parts = {noun.part[0] for noun in NOUNS.values() if noun.part}
    assert all(word.isalpha() and word.islower() for word in (*NOUNS, *parts))
    assert not set(NOUNS) & set(ALL_COLORS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_things_have_parts_of_the_right_kind_and_colour(category: str) -> None:
    for word, noun in CATEGORIES[category].items():
        assert 1 <= len(noun.parts) <= NOUN_PARTS, word
        slots = {p.color for p in noun.parts if isinstance(p.color, int)}
        assert slots == ({0} if noun.part is None else {0, 1}), word
        fixed = {p.color for p in noun.parts if isinstance(p.color, str)}
        assert fixed <= set(PALETTE) and noun.color in PALETTE, word
        assert all(p.kind in KINDS and min(p.size[:2]) >= 0 for p in noun.parts), word
        assert noun.part is None or noun.part[1] in PALETTE, word


@pytest.mark.parametrize("category", CATEGORIES)
def test_things_fit_the_sphere_and_can_carry_others(category: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 4000, 3, generator=generator) * 2.2 - 1.1
    for word, noun in CATEGORIES[category].items():
        table = type(t := part_table(noun.parts, len(noun.parts)))(*(v[None] for v in t))
        inside = x[0][table_distance(table, x)[0][0] <= 0]
        assert len(inside) > 5 and float(inside.norm(dim=-1).max()) < 0.99, word
        if noun.seat is not None and word not in SOLIDS:
            column = torch.tensor([[[0.0, 0.0, noun.seat - 0.03 * k] for k in range(1, 6)]])
            assert bool((table_distance(table, column)[0] < 0.02).any()), word
        if noun.head is not None:
            assert noun.head[3] > 0.05 and sum(v * v for v in noun.head[:3]) < 1.0, word


def test_outermost_points_are_the_extremes() -> None:
    points = outermost(NOUNS["cube"].parts)
    assert torch.allclose(points.amax(0), torch.full((3,), 0.5), atol=0.03)
    assert torch.allclose(points.amin(0), torch.full((3,), -0.5), atol=0.03)


def test_lists_name_things() -> None:
    assert set(SHELTERS) <= set(NOUNS)
    assert all(NOUNS[word].seat is not None for word in CONTAINERS)
    assert all(p.color == 1 for noun in ACCESSORIES.values() for p in noun.parts)
