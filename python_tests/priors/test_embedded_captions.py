"""The captions of the embedded prior are those that it was trained on."""

from __future__ import annotations

import pytest
import torch
from training_pool import sentence_of, small_pool

from dfast.priors.embedded.prior import caption, textureless
from dfast.priors.embedded.training.pool import Odds
from dfast.scene.views import VIEW_WORDS, view_index, view_words
from dfast.world.reading import read
from dfast.world.sentence import vocabulary

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.mark.parametrize("white", [False, True])
def test_captions_are_those_of_training_images(white: bool) -> None:
    pool = small_pool()
    odds = Odds(view_words=1.0, empty_caption=0.0, textureless=float(white), patterned=0.5)
    batch = pool.batch(len(pool), odds=odds, chosen=torch.arange(len(pool)))
    names = {i: word for word, i in pool.captions.tokens.items()}
    for b in range(len(pool)):
        trained = " ".join(names[int(t)] for t in batch.tokens[b] if t > 0)
        sentence = sentence_of(pool, batch, b)
        said = caption(textureless(sentence) if white else sentence)
        assert trained == f"{said} {VIEW_WORDS[batch.view[b]]} view"


@pytest.mark.parametrize(
    ("text", "said", "white"),
    [
        ("a chair", "brown chair", "plain chair"),
        ("an orange house", "orange house with red roof", "plain house with plain roof"),
        ("two corgis in red hats", "two brown dog with red hat", "two plain dog with plain hat"),
        ("a big white dotted ball", "big white and black dotted sphere", "big plain sphere"),
        ("a cat on a sofa", "orange cat on top of red sofa", "plain cat on top of plain sofa"),
        ("scissors", "red scissors", "plain scissors"),
    ],
)
def test_captions_have_no_articles_and_no_plurals(text: str, said: str, white: str) -> None:
    sentence = read(text).sentence
    assert (caption(sentence), caption(textureless(sentence))) == (said, white)
    assert {*said.split(), *white.split()} <= set(vocabulary())


def test_view_words_are_the_papers() -> None:
    azimuth = torch.arange(-180.0, 360.0, 7.0).repeat(5)
    elevation = torch.tensor([-30.0, 0.0, 45.0, 61.0, 88.0]).repeat_interleave(len(azimuth) // 5)
    index = view_index(azimuth, elevation)
    for a, e, i in zip(azimuth.tolist(), elevation.tolist(), index, strict=True):
        assert view_words(a, e) == f"{VIEW_WORDS[i]} view"
