"""How the view of each camera reaches the prompt."""

from __future__ import annotations

import pytest
import torch
from tiny_models import (
    PLAIN,
    PROMPT,
    load_tiny,
    noise_like,
)
from torch import Tensor

from dfast.errors import PromptError
from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.views import VIEW_WORDS, view_index, view_weights


def test_views_are_given_in_the_words_of_dreamfusion() -> None:
    prior = load_tiny("sd15")
    cameras = orbit(4, elevation=70.0)
    cameras = CameraBatch(
        cameras.origin, cameras.rotation, cameras.fov, torch.tensor([0.0, 60.0, 180.0, 10.0]),
        torch.tensor([0.0, 0.0, 0.0, 80.0]), cameras.distance,
    )  # fmt: skip
    views = view_index(cameras.azimuth, cameras.elevation).tolist()
    assert views == [0, 1, 2, 3]
    noisy, t = noise_like(prior, 4), torch.full((4,), 500)
    texts = {}
    for how in ("words", "camera", "none"):
        condition = prior.encode_prompt(PROMPT, views=how)
        texts[how] = prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=torch.zeros(4, dtype=torch.bool)
        )[0]
    for i, view in enumerate(views):
        alone = prior.encode_prompt(f"{PROMPT}, {VIEW_WORDS[view]} view", views="none")
        predicted = prior.predict_noise(
            noisy[i : i + 1], t[:1], alone, cameras=None, textureless=PLAIN[:1]
        )[0, 0]
        torch.testing.assert_close(texts["words"][i], predicted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(texts["camera"][[0, 2, 3]], texts["words"][[0, 2, 3]])
    assert (texts["camera"][1] - texts["words"][1]).abs().max() > 1e-4  # between front and side
    assert (texts["none"] - texts["words"]).abs().max() > 1e-4


def test_embeddings_are_blended_by_view() -> None:
    prior = load_tiny("if-m")
    condition = prior.encode_prompt(PROMPT)
    seen: list[Tensor] = []
    prior.load()
    prior.unet.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    cameras = orbit(2, azimuth=30.0)
    prior.predict_noise(
        noise_like(prior), torch.tensor([1, 2]), condition, cameras=cameras, textureless=PLAIN
    )
    weights = view_weights(cameras.azimuth, cameras.elevation)
    wanted = torch.einsum("bv,vld->bld", weights, condition.tables["hidden"][1:5])
    torch.testing.assert_close(seen[0], wanted)


def test_a_prompt_that_would_lose_its_view_is_refused() -> None:
    with pytest.raises(PromptError, match=r"at most 77 tokens .* got"):
        load_tiny("sd15").encode_prompt("x" * 200)
