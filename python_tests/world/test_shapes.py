"""The procedural world: sentences, solids, true views, training captions; the embedded prior."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import pi, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.errors import PromptError
from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.embedded import dataset
from dfast.priors.embedded.model import PAD, TEXT_LENGTH, UNKNOWN, build_tokenizer
from dfast.priors.embedded.prior import WEIGHTS, ShapesPrior, plain
from dfast.scene.cameras import CameraBatch, aimed
from dfast.scene.views import view_words
from dfast.world import Scene, catalogue, grammar, parse, tracer
from dfast.world.objects import OBJECTS, PRIMITIVES
from dfast.world.scenes import COLORS, MAX_PARTS, PALETTE, table_distance

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
EVERY = [*catalogue(), "an orange house with an orange roof", "a red cube next to a blue sphere"]
VOLUMES: dict[str, Callable[..., float]] = {
    "sphere": lambda a, b, c: 4 / 3 * pi * a * b * c,
    "cube": lambda a, b, c: 8 * a * b * c,
    "cylinder": lambda a, b, c: 2 * pi * a * a * c,
    "cone": lambda a, b, c: 2 / 3 * pi * c * (a * a + a * b + b * b),
    "torus": lambda a, b, c: 2 * pi**2 * a * b * b,
    "capsule": lambda a, b, c: 2 * pi * a * a * b + 4 / 3 * pi * a**3,
}


def uniform(n: int, seed: int = 0) -> Tensor:
    """[n, 3] in the cube [-1, 1]^3."""
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@cache
def geometries() -> dataset.Geometries:
    return dataset.Geometries(build_tokenizer(), torch.device("cpu"))


@cache
def prior() -> ShapesPrior:
    return ShapesPrior(torch.device("cpu"))


# --- sentences


@pytest.mark.parametrize(("said", "canonical"), SENTENCES.items())
def test_sentences_have_one_canonical_form(said: str, canonical: str) -> None:
    assert parse(said).caption == canonical


@pytest.mark.parametrize("caption", EVERY)
def test_canonical_captions_are_fixed_points(caption: str) -> None:
    scene = parse(caption)
    assert scene.caption == caption and len(scene.parts) <= MAX_PARTS
    assert [w for w in caption.split() if w in COLORS] == list(scene.slots)
    assert len(scene.part_colors) == len(scene.parts) and set(scene.part_colors) <= set(COLORS)


@pytest.mark.parametrize(
    ("said", "message"),
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
def test_other_sentences_are_refused_in_one_line(said: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as error:
        parse(said)
    assert str(error.value).startswith("prompt: ") and "\n" not in str(error.value)


def test_the_world_is_as_rich_as_it_says() -> None:
    assert len(COLORS) >= 12 and len(PRIMITIVES) >= 6 and len(OBJECTS) >= 8
    assert len(catalogue()) == len(set(catalogue())) >= 50
    fronts = {name for name, kind in OBJECTS.items() if kind.has_front}
    assert {"chair", "snowman", "house", "mug", "car", "duck"} <= fronts


# --- solids


@pytest.mark.parametrize("name", PRIMITIVES)
def test_volume_is_the_textbooks(name: str) -> None:
    n = 200_000
    inside = parse(name).occupancy(uniform(n)).float().mean().item()
    truth = VOLUMES[name](*PRIMITIVES[name].size) / 8
    assert abs(inside - truth) < 4 * sqrt(truth * (1 - truth) / n)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_distances_are_exact(name: str) -> None:
    x = uniform(2000).double().requires_grad_()
    distance, _ = parse(name).sdf(x)
    (slope,) = torch.autograd.grad(distance.sum(), x)
    # The distance along the slope leads to the surface: where it does, the distance is true.
    foot = x - distance[:, None] * slope
    torch.testing.assert_close(slope.norm(dim=-1), torch.ones_like(distance))
    assert parse(name).sdf(foot)[0].abs().max() < 1e-6


@pytest.mark.parametrize("caption", EVERY)
def test_objects_fit_the_sphere_and_touch_the_middle(caption: str) -> None:
    x = uniform(20_000)
    scene = parse(caption)
    inside = x[scene.occupancy(x)]
    assert len(inside) > 200 and inside.norm(dim=-1).max() < 1.0
    rim = F.normalize(x, dim=-1) * 1.0005
    assert scene.sdf(rim)[0].min() > 0
    assert torch.equal(scene.occupancy(x), scene.sdf(x)[0] <= 0)


def test_batched_distances_are_the_scenes_own() -> None:
    g, x = geometries(), uniform(300)
    distance, part = table_distance(g.table, x.expand(len(g.scenes), -1, -1))
    for row, scene in enumerate(g.scenes):
        own, nearest = scene.sdf(x)
        torch.testing.assert_close(distance[row], own, rtol=1e-5, atol=1e-6)
        assert (part[row] == nearest).float().mean() > 0.99  # ties may fall either way


def test_part_colors_follow_the_caption() -> None:
    scene = parse("a snowman with a purple hat")
    hat, belly = torch.tensor([[0.0, 0.0, 0.6]]), torch.tensor([[0.0, 0.0, -0.5]])
    assert scene.albedo(hat).tolist() == [pytest.approx(PALETTE["purple"])]
    assert scene.albedo(belly).tolist() == [pytest.approx(PALETTE["white"])]
    stack = parse("a green cone on top of a yellow cube")
    up = torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, -0.3]])
    assert stack.albedo(up).tolist() == [pytest.approx(PALETTE[c]) for c in ("green", "yellow")]


# --- rendered truth


def views(*azimuth: float, elevation: float = 20.0) -> CameraBatch:
    heading = torch.tensor(azimuth)
    fill = torch.ones_like(heading)
    return aimed(heading, elevation * fill, 3.0 * fill, 40.0 * fill)


@pytest.mark.parametrize("name", OBJECTS)
def test_only_objects_with_a_front_look_different_from_behind(name: str) -> None:
    front, back = tracer.render_scene(parse(name), views(0.0, 180.0), 48)
    pixels = ((front - back).abs().amax(0) > 0.2).sum()
    assert (pixels > 20) == OBJECTS[name].has_front


@pytest.mark.parametrize("caption", ["a red chair", "a torus on top of a cube", "a duck"])
def test_tracer_agrees_with_the_distance(caption: str) -> None:
    scene, camera, size = parse(caption), views(35.0), 40
    table = type(scene.table)(*(t[None] for t in scene.table))
    buffer = tracer.trace(table, camera, size)
    seen = (buffer.part[0] != tracer.EMPTY).flatten()
    origins, directions = camera.rays(size)
    t = torch.linspace(2.0, 4.0, 401)
    points = origins[:, None] + t[:, None] * directions[:, None]
    along = scene.sdf(points.view(-1, 3))[0].view(len(origins), -1)
    nearest = along.min(1).values
    assert seen[nearest < -0.005].all() and not seen[nearest > 0.01].any()
    # Clear of edges, the part and the normal are those of the first point inside.
    clear = seen & (nearest < -0.02)
    first = (along <= 0).int().argmax(1)
    x = points[torch.arange(len(first)), first][clear].requires_grad_()
    distance, part = scene.sdf(x)
    (slope,) = torch.autograd.grad(distance.sum(), x)
    assert (part == buffer.part.flatten()[clear]).float().mean() > 0.95
    normal = buffer.normal.view(-1, 3)[clear].float() / 127
    cosine = (normal * F.normalize(slope, dim=-1)).sum(-1)
    assert cosine.median() > 0.999 and (cosine > 0.95).float().mean() > 0.9


def test_left_and_right_as_seen_from_the_front() -> None:
    scene = parse("a red sphere next to a blue cube")
    front, back = tracer.render_scene(scene, views(0.0, 180.0), 32)
    red, blue = (torch.tensor(PALETTE[c])[:, None, None] for c in ("red", "blue"))
    for image, left, right in ((front, red, blue), (back, blue, red)):
        halves = image[..., :16], image[..., 16:]
        for half, color, other in zip(halves, (left, right), (right, left), strict=True):
            assert ((half - color).abs().amax(0) < 0.02).sum() > 20
            assert ((half - other).abs().amax(0) < 0.02).sum() == 0


def test_light_and_background() -> None:
    sphere, above = parse("a white sphere"), torch.tensor([[0.0, 0.0, 1.0]])
    image = tracer.render_scene(
        sphere, views(0.0, elevation=0.0), 32, light=above, ambient=0.2, background=(0.0, 0.5, 1.0)
    )[0]
    assert image[:, 0, 0].tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert image[0, 10, 16] > 0.5  # lit from above
    assert image[0, 22, 16] == pytest.approx(0.2 * PALETTE["white"][0], abs=1e-6)


# --- training captions


def decode(tokens: Tensor) -> str:
    tokenizer = build_tokenizer()
    return " ".join(w for w in tokenizer.convert_ids_to_tokens(tokens.tolist()) if w != PAD)


def nouns(scene: Scene) -> list[str]:
    """The word that each colour slot of a caption describes."""
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
    assert prior().tokenizer.get_vocab() == tokenizer.get_vocab()
    assert set(grammar.VOCABULARY) | {PAD, UNKNOWN} == set(tokenizer.get_vocab())
    for caption in EVERY:
        for text in (f"{caption} overhead view", plain(caption)):
            ids = tokenizer(text).input_ids
            assert len(ids) <= TEXT_LENGTH and tokenizer.unk_token_id not in ids, text


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
    told = dataset.Views(words=1.0, camera=0.0, empty_caption=0.0)
    batch = pool.batch(6, views=told, textureless=0.0, albedo_only=1.0)
    assert batch.image.shape == batch.rays.shape == (6, 3, 64, 64)
    assert batch.image.min() >= 0 and batch.image.max() <= 1
    assert not batch.camera.any() and not batch.rays.any()
    for row in range(6):
        caption, _, _ = decode(batch.tokens[row]).rpartition(" view")
        caption, _, word = caption.rpartition(" ")
        assert word == dataset.VIEW_WORDS[batch.view[row]]
        scene = parse(caption)
        assert scene.shape == geometries().scenes[batch.geometry[row]].shape
        shown = batch.image[row].flatten(1).T
        near = torch.cdist(shown, scene.colors).amin(1) < 1e-3
        assert near.sum() > 50  # albedo only: flat areas have exactly the parts' colours


def test_view_words_are_the_papers() -> None:
    azimuth = torch.arange(-180.0, 360.0, 7.0).repeat(5)
    elevation = torch.tensor([-30.0, 0.0, 45.0, 61.0, 88.0]).repeat_interleave(len(azimuth) // 5)
    index = dataset.view_index(azimuth, elevation)
    for a, e, i in zip(azimuth.tolist(), elevation.tolist(), index, strict=True):
        assert view_words(a, e) == f"{dataset.VIEW_WORDS[i]} view"


# --- the embedded prior


def test_weights_are_small_and_safe() -> None:
    files = [p for p in WEIGHTS.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".md", ".txt"}
    assert sum(p.stat().st_size for p in files) <= 15 * 2**20


def clean_estimate(caption: str, image: Tensor, camera: CameraBatch, t: int, w: float) -> Tensor:
    """What the prior takes for the clean image, [B, 3, H, W] in [0, 1]."""
    p = prior()
    alpha, sigma = (table[t] for table in p.noise_schedule(torch.device("cpu")))
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    noisy = alpha * (2 * image - 1) + sigma * noise
    both = p.predict_noise(
        noisy, torch.full((len(image),), t), p.encode_prompt(caption), cameras=camera,
        textureless=torch.zeros(len(image), dtype=torch.bool), conditions=("text", "negative"),
    )  # fmt: skip
    eps = classifier_free_guidance(*both, w)
    return ((noisy - sigma * eps) / alpha / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("caption", ["a red chair", "a green cone on top of a yellow cube"])
def test_prior_denoises_true_views(caption: str) -> None:
    camera = views(30.0, 150.0)
    image = tracer.render_scene(parse(caption), camera, 64, ambient=0.5)
    error = (clean_estimate(caption, image, camera, 300, 0.0) - image).square().mean((1, 2, 3))
    assert error.max() < 1e-3  # 30 dB


def test_prior_hears_caption_and_camera() -> None:
    """At t = 850 little of the image is left: the caption and the camera must say what it shows."""
    camera = views(20.0, 200.0)
    image = tracer.render_scene(parse("a red chair"), camera, 64, ambient=0.5)
    turned = views(110.0, 290.0)

    def error(caption: str, told: CameraBatch) -> float:
        return float((clean_estimate(caption, image, told, 850, 0.0) - image).square().mean())

    right = error("a red chair", camera)
    assert right < 0.6 * error("a blue chair", camera)
    assert right < 0.6 * error("a red cube", camera)
    assert right < 0.8 * error("a red chair", turned)
