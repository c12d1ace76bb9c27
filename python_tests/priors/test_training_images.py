"""Training images of the world: what they show is what their captions say."""

from __future__ import annotations

import pytest
import torch
from training_pool import small_pool

from dfast.priors.embedded.training import situations
from dfast.priors.embedded.training.pool import Odds, Pool
from dfast.priors.embedded.training.situations import draw
from dfast.priors.embedded.training.things import WHITE, WORN_PARTS
from dfast.world.build import build_scene
from dfast.world.nouns import NOUNS
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.parts import ALL_COLORS
from dfast.world.random_sentences import SHARES
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES, WORN, Sentence, Thing

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.fixture
def pool() -> Pool:
    return small_pool()


def text_of(pool: Pool, tokens: torch.Tensor) -> str:
    names = {i: word for word, i in pool.captions.tokens.items()}
    return " ".join(names[int(t)] for t in tokens if t > 0)


def test_what_is_worn_fits_into_its_rows() -> None:
    assert max(len(worn.parts) for worn in ACCESSORIES.values()) <= WORN_PARTS


def test_captions_are_those_of_sentences(pool: Pool) -> None:
    every = torch.arange(len(pool))
    odds = Odds(view_words=0.0, empty_caption=0.0, textureless=0.0, patterned=0.5)
    batch = pool.batch(len(pool), odds=odds, chosen=every)
    s = pool.situations
    for b in range(len(pool)):
        made = []
        for i in range(2 if s.relation[b] >= 0 else 1):
            noun = pool.things.names[int(s.noun[b, i])]
            worn = WORN[int(s.worn[b, i])] if s.worn[b, i] >= 0 else None
            has_part = NOUNS[noun].part is not None or worn is not None
            patterned = batch.pattern[b, i] >= 0
            made.append(
                Thing(
                    noun,
                    ALL_COLORS[int(batch.colors[b, 2 * i])],
                    ALL_COLORS[int(batch.colors[b, 2 * i + 1])] if has_part else None,
                    list(SIZES)[int(s.size[b, i])] if s.size[b, i] >= 0 else None,
                    PATTERNS[int(batch.pattern[b, i])] if patterned else None,
                    ALL_COLORS[int(batch.second[b, i])] if patterned else None,
                    worn,
                )
            )
        relation = RELATIONS[int(s.relation[b])] if s.relation[b] >= 0 else None
        sentence = Sentence(tuple(made), relation, int(s.number[b]))
        said = [w for w in sentence.words() if w not in ("a", "an")]
        assert text_of(pool, batch.tokens[b]) == " ".join(said)


def test_images_show_the_colours_of_the_caption(pool: Pool) -> None:
    odds = Odds(textureless=0.0, albedo_only=1.0, patterned=0.0)
    batch = pool.batch(len(pool), odds=odds, chosen=torch.arange(len(pool)))
    slots, _ = pool.visible(batch.chosen)
    shown = (slots[:, 0] > 200).nonzero()[:, 0].tolist()
    assert len(shown) > 0.8 * len(pool)
    for b in shown:
        seen = batch.image[b].flatten(1).T
        color = pool.things.palette[batch.colors[b, 0]]
        assert float((seen - color).abs().amax(1).min()) < 0.02
    assert batch.image.shape[1:] == (3, 64, 64)
    assert float(batch.image.min()) >= 0 and float(batch.image.max()) <= 1


def test_textureless_images_are_white_and_say_so(pool: Pool) -> None:
    odds = Odds(view_words=0.0, empty_caption=0.0, textureless=1.0, camera=0.0)
    batch = pool.batch(8, odds=odds)
    assert (batch.colors == WHITE).all() and (batch.pattern < 0).all()
    for b in range(8):
        text = text_of(pool, batch.tokens[b])
        assert "plain" in text and not set(text.split()) & set(ALL_COLORS)
    assert not batch.camera.any() and not batch.rays.any()


def test_captions_of_textureless_images_may_name_colors_all_the_same(pool: Pool) -> None:
    odds = Odds(textureless=1.0, unseen=1.0, empty_caption=0.0)
    batch = pool.batch(32, odds=odds)
    assert (batch.colors == WHITE).all() and (batch.pattern < 0).all()
    for tokens in batch.tokens:
        text = text_of(pool, tokens)
        assert "plain" not in text and set(text.split()) & set(ALL_COLORS)


def test_held_out_pairs_never_train(pool: Pool) -> None:
    for held_out in (False, True):
        batch = pool.batch(64, odds=Odds(textureless=0.0), held_out=held_out)
        noun = pool.situations.noun[batch.chosen, 0]
        pairs = pool.things.held_out[noun, batch.colors[:, 0]]
        if held_out:
            has_one = pool.things.held_out[noun].any(1)
            assert torch.equal(pairs[has_one], torch.ones_like(pairs[has_one]))
        else:
            assert not pairs.any()


def test_a_situation_stands_like_its_sentence(pool: Pool) -> None:
    """Without random proportions the batched places are those of the exact scene."""
    patch = pytest.MonkeyPatch()
    patch.setattr(situations, "STRETCH", 0.0)
    patch.setattr(situations, "TAPER", 0.0)
    patch.setattr(situations, "SIZED", 0.0)
    generator = torch.Generator().manual_seed(0)
    things = pool.things
    for kind in SHARES:
        s = draw(things, kind, 2, generator)
        table = s.table(things)
        for b in range(2):
            names = [things.names[int(n)] for n in s.noun[b] if n >= 0]
            worn = [WORN[int(w)] if w >= 0 else None for w in s.worn[b]]
            made = tuple(
                Thing(n, "red", "blue", wears=w) for n, w in zip(names, worn, strict=False)
            )
            relation = RELATIONS[int(s.relation[b])] if s.relation[b] >= 0 else None
            scene = build_scene(Sentence(made, relation, int(s.number[b])))
            used = table.kind[b] >= 0
            assert int(used.sum()) == len(scene.parts)
            for got, want in ((table.offset, scene.table.offset), (table.scale, scene.table.scale)):
                assert torch.allclose(got[b][used], want, atol=0.06)
    patch.undo()
