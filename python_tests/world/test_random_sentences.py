"""Random sentences: they read back to themselves and have the shares that they should."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from dfast.world.random_sentences import SHARES, SIZED, draw_sentence, draw_sentences
from dfast.world.reading import read
from dfast.world.sentence import SITUATIONS, Sentence

DRAWN = draw_sentences(3000, seed=7)


def test_every_sentence_reads_back_to_itself() -> None:
    wrong = {s.text(): read(s.text()) for s in DRAWN if read(s.text()) != (s, ())}
    assert wrong == {}


def test_shares() -> None:
    found = Counter(s.situation for s in DRAWN)
    assert set(found) == set(SHARES) == set(SITUATIONS)
    for kind, share in SHARES.items():
        assert found[kind] / len(DRAWN) == pytest.approx(share, abs=0.04)
    things = [thing for s in DRAWN for thing in s.things]
    assert sum(t.size is not None for t in things) / len(things) == pytest.approx(SIZED, abs=0.04)


def test_a_seed_gives_the_same_sentences_and_another_gives_others() -> None:
    assert draw_sentences(20, seed=7) == DRAWN[:20] and len(set(DRAWN)) == len(DRAWN)
    assert draw_sentences(20, seed=8) != DRAWN[:20]


@pytest.mark.parametrize("kind", SITUATIONS)
def test_one_kind(kind: str) -> None:
    random = Random(0)
    drawn: list[Sentence] = [draw_sentence(random, kind) for _ in range(20)]
    assert {s.situation for s in drawn} == {kind}
