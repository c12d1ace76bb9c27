"""The embedded prior's training data: captions, colours, views."""

from __future__ import annotations

import torch
from procedural import CAPTIONS, geometries
from torch import Tensor

from dfast.priors.embedded import dataset
from dfast.priors.embedded.model import PAD, TEXT_LENGTH, UNKNOWN, build_tokenizer
from dfast.priors.embedded.prior import ShapesPrior, plain
from dfast.scene.views import VIEW_WORDS, view_index, view_words
from dfast.world import ProceduralScene, grammar, parse
from dfast.world.parts import COLORS


def decode(tokens: Tensor) -> str:
    """Return the caption of tokens [T], padding removed."""
    tokenizer = build_tokenizer()
    return " ".join(w for w in tokenizer.convert_ids_to_tokens(tokens.tolist()) if w != PAD)


def nouns(scene: ProceduralScene) -> list[str]:
    """Return the word that each colour slot of a caption describes."""
    words = scene.caption.split()
    return [words[i + 1] for i, w in enumerate(words) if w in COLORS]


def test_caption_tokens_say_the_drawn_colors() -> None:
    g = geometries()
    generator = torch.Generator().manual_seed(3)
    index = torch.arange(len(g.scenes)).repeat(4)
    colors = g.draw_colors(index, False, generator)
    albedo = g.part_colors(index, colors)
    for row, tokens in enumerate(g.caption_tokens(index, colors)):
        origin, caption = g.scenes[index[row]], decode(tokens)
        scene = parse(caption)
        assert scene.caption == caption and scene.parts == origin.parts
        drawn = [COLORS[c] for c in colors[row, : len(scene.slots)]]
        assert list(scene.slots) == drawn
        torch.testing.assert_close(albedo[row, : len(scene.parts)], scene.colors)


def test_training_never_draws_held_out_colors() -> None:
    g = geometries()
    generator = torch.Generator().manual_seed(4)
    index = torch.arange(len(g.scenes)).repeat(200)
    seen: dict[bool, set[tuple[str, str]]] = {}
    for held_out in (False, True):
        colors = g.draw_colors(index, held_out, generator).tolist()
        seen[held_out] = {
            (noun, COLORS[color])
            for row, scene in enumerate(index.tolist())
            for noun, color in zip(nouns(g.scenes[scene]), colors[row], strict=False)
        }
    named = {(n if n != "hat" else "snowman", c) for n, c in seen[False]}
    assert not named & grammar.HELD_OUT
    everything = {(n, c) for g_ in g.scenes for n in nouns(g_) for c in COLORS}
    assert len(seen[False]) == len(everything) - len(grammar.HELD_OUT)
    assert {(n if n != "hat" else "snowman", c) for n, c in seen[True]} >= grammar.HELD_OUT


def test_tokenizer_knows_every_caption_and_is_the_shipped_one() -> None:
    tokenizer = build_tokenizer()
    prior = ShapesPrior(torch.device("cpu"))
    assert prior.tokenizer.vocabulary == tokenizer.get_vocab()
    assert set(grammar.VOCABULARY) | {PAD, UNKNOWN} == set(tokenizer.get_vocab())
    for caption in CAPTIONS:
        for text in (f"{caption} overhead view", plain(caption)):
            ids = tokenizer(text).input_ids
            assert len(ids) <= TEXT_LENGTH and tokenizer.unk_token_id not in ids, text
            assert prior.tokenizer([text])[0].tolist() == ids + [0] * (TEXT_LENGTH - len(ids))


def test_textureless_captions_are_those_of_training() -> None:
    g = geometries()
    index = torch.arange(len(g.scenes))
    white = torch.full((len(index), dataset.SLOTS), g.textureless)
    for scene, tokens in zip(g.scenes, g.caption_tokens(index, white), strict=True):
        assert decode(tokens) == plain(scene.caption)
    assert plain("a snowman with an orange hat") == "a snowman with a plain hat"
    assert (g.part_colors(index, white) == 1).all()


def test_a_batch_shows_what_its_caption_says() -> None:
    pool = dataset.Pool(geometries(), 3, 5, chunk=3)
    views = dataset.Views(words=1.0, camera=0.0, empty_caption=0.0)
    batch = pool.batch(6, views=views, textureless=0.0, albedo_only=1.0)
    assert batch.image.shape == batch.rays.shape == (6, 3, 64, 64)
    assert batch.image.min() >= 0 and batch.image.max() <= 1
    assert not batch.camera.any() and not batch.rays.any()
    for row in range(6):
        caption, _, _ = decode(batch.tokens[row]).rpartition(" view")
        caption, _, word = caption.rpartition(" ")
        assert word == VIEW_WORDS[batch.view[row]]
        scene = parse(caption)
        assert scene.shape == geometries().scenes[batch.geometry[row]].shape
        shown = batch.image[row].flatten(1).T
        near = torch.cdist(shown, scene.colors).amin(1) < 1e-3
        assert near.sum() > 50  # albedo only: flat areas have exactly the parts' colours


def test_view_words_are_the_papers() -> None:
    azimuth = torch.arange(-180.0, 360.0, 7.0).repeat(5)
    elevation = torch.tensor([-30.0, 0.0, 45.0, 61.0, 88.0]).repeat_interleave(len(azimuth) // 5)
    index = view_index(azimuth, elevation)
    for a, e, i in zip(azimuth.tolist(), elevation.tolist(), index, strict=True):
        assert view_words(a, e) == f"{VIEW_WORDS[i]} view"
