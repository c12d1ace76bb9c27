"""MVDream's family: agreement with a network in plain torch, joint attention, cameras."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CPU, NEGATIVE, PROMPT, UNET
from tiny_multi_view import VIEWS, folder, reference, write
from torch import Tensor

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors import load_prior
from dfast.priors.base import Prior
from dfast.priors.pipelines import multi_view
from dfast.priors.pipelines.multi_view import camera_matrices
from dfast.priors.pipelines.probe import call_unet
from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.tree import map_tensors

T = torch.tensor([40] * VIEWS + [900] * VIEWS)


def noise(groups: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(groups * VIEWS, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def rings(elevation: float = 10.0) -> CameraBatch:
    """Two rings of four cameras."""
    return orbit(2 * VIEWS, elevation=elevation, azimuth=20.0, ring=VIEWS)


def predict(
    prior: Prior, noisy: Tensor, cameras: CameraBatch | None = None, **options: Any
) -> Tensor:
    condition = prior.encode_prompt(PROMPT, negative=NEGATIVE)
    return prior.predict_noise(
        noisy,
        T[: len(noisy)],
        condition,
        cameras=cameras or rings(),
        textureless=torch.zeros(len(noisy), dtype=torch.bool),
        **options,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_resolutions": [1]},
        {"num_head_channels": ..., "num_heads": 4, "num_res_blocks": 2},
        {"channel_mult": [1, 2, 2], "attention_resolutions": [4, 2]},
    ],
    ids=["as-published", "one-level", "heads", "three-levels"],
)
def test_the_noise_is_that_of_a_network_in_plain_torch(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    prior = load_prior(str(write(tmp_path / "mvdream", **changes)), CPU)
    got = predict(prior, noise(), conditions=("text", "negative"))
    hidden = prior.encode_prompt(PROMPT, negative=NEGATIVE).tables["hidden"]
    network = reference(**changes)
    for found, row in zip(got, (0, 5), strict=True):  # the prompt without an ending, the negative
        text = hidden[row].expand(2 * VIEWS, -1, -1)
        wanted = network(noise(), T, text, camera_matrices(rings()), VIEWS)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert (got[0] - got[1]).abs().max() > 1e-3


def test_views_of_a_group_know_each_other_and_no_others() -> None:
    prior, noisy, changed = load_prior(str(folder()), CPU), noise(), noise()
    changed[1] += 1.0
    moved = (predict(prior, changed) - predict(prior, noisy))[0].abs().amax((1, 2, 3))
    assert moved[:VIEWS].min() > 1e-3 and moved[VIEWS:].max() < 1e-5


def test_the_order_of_the_views_of_a_group_does_not_matter() -> None:
    prior, noisy = load_prior(str(folder()), CPU), noise()
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6, 7])
    seen = map_tensors(lambda v: v[order], rings())
    got = predict(prior, noisy[order], seen)[0]
    torch.testing.assert_close(got, predict(prior, noisy)[0][order], rtol=1e-4, atol=1e-5)
    across = torch.tensor([4, 1, 2, 3, 0, 5, 6, 7])  # the timesteps stay where they were
    seen = map_tensors(lambda v: v[across], rings())
    other = predict(prior, noisy[across], seen)[0]
    assert (other - predict(prior, noisy)[0][across])[1:4].abs().max() > 1e-3


def test_one_view_alone_is_ordinary_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_prior(str(folder()), CPU)
    monkeypatch.setattr(multi_view, "_join_views", lambda module, views: None)
    wanted = predict(plain, noise())
    monkeypatch.undo()
    single: Any = load_prior(str(folder()), CPU)
    single.joint_views = 1
    torch.testing.assert_close(predict(single, noise()), wanted, rtol=1e-5, atol=1e-5)
    assert (predict(load_prior(str(folder()), CPU), noise()) - wanted).abs().max() > 1e-3


def test_cameras_are_told_but_not_their_distance() -> None:
    prior, noisy = load_prior(str(folder()), CPU), noise()
    lower, farther = rings(), orbit(8, elevation=10.0, azimuth=20.0, ring=4, distance=5.0)
    one = predict(prior, noisy, lower)
    assert (predict(prior, noisy, rings(40.0)) - one).abs().max() > 1e-3
    torch.testing.assert_close(predict(prior, noisy, farther), one, rtol=1e-4, atol=1e-5)


def test_camera_matrices_are_those_of_mvdream() -> None:
    """A camera in front, and all others by MVDream's own way: OpenGL axes, then Blender's."""
    front = camera_matrices(orbit(1, elevation=0.0)).view(4, 4)
    known = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    torch.testing.assert_close(front, known)
    for azimuth, elevation in ((20.0, 15.0), (200.0, -30.0), (310.0, 60.0)):
        got = camera_matrices(orbit(1, elevation=elevation, azimuth=azimuth)).view(4, 4)
        turn, rise = math.radians(azimuth + 90.0), math.radians(elevation)  # its front is 90
        away = torch.tensor(
            [math.cos(rise) * math.sin(turn), math.sin(rise), math.cos(rise) * math.cos(turn)]
        )
        right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), away)
        right = right / right.norm()
        made = torch.eye(4)
        made[:3] = torch.stack([right, torch.linalg.cross(away, right), away, away], 1)
        to_blender = torch.tensor([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
        torch.testing.assert_close(got, to_blender @ made, rtol=1e-5, atol=1e-5)


def test_words_are_added_to_the_prompt_if_asked_for() -> None:
    prior = load_prior(str(folder()), CPU)
    both = [prior.encode_prompt(PROMPT, views=views) for views in ("camera", "words")]
    got = [
        prior.predict_noise(
            noise(), T, condition, cameras=rings(), textureless=torch.zeros(8, dtype=torch.bool)
        )
        for condition in both
    ]
    assert (got[0] - got[1]).abs().max() > 1e-4
    with pytest.raises(PriorError, match=r"expected guidance.view_conditioning 'camera' or 'wor"):
        prior.encode_prompt(PROMPT, views="none")


def test_tuned_networks_say_the_same(needs_native: None) -> None:
    from dfast.priors.fused.attention import RowAttention
    from dfast.priors.fused.tune import tune

    plain, tuned = (load_prior(str(folder()), CPU) for _ in range(2))
    tuned.load()
    assert tuned.network is not None
    joined = tune(tuned.network).get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1")
    assert isinstance(joined.processor, RowAttention)
    wanted, got = predict(plain, noise()), predict(tuned, noise())
    assert (got - wanted).norm() / wanted.norm() < 1e-5


def test_several_prompts_in_one_call() -> None:
    prior = load_prior(str(folder()), CPU)
    each = [prior.encode_prompt(prompt) for prompt in ("a red chair", "a blue mug")]
    dark = torch.zeros(8, dtype=torch.bool)
    joint = prior.predict_noise(
        noise(), T, prior.join_prompts(each), cameras=rings(), textureless=dark
    )[0]
    for i, condition in enumerate(each):
        own = slice(VIEWS * i, VIEWS * (i + 1))
        seen = map_tensors(lambda v, own=own: v[own], rings())
        alone = prior.predict_noise(
            noise()[own], T[own], condition, cameras=seen, textureless=dark[own]
        )[0]
        torch.testing.assert_close(joint[own], alone, rtol=1e-4, atol=1e-4)


def test_lora_files_find_their_layers(tmp_path: Path) -> None:
    """A file has the names of diffusers, the folder those of latent diffusion."""
    layer = "transformer_blocks.0.attn1.to_q"
    down, up = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) / 8
                for shape in ((2, 64), (64, 2)))  # fmt: skip
    stem, file = f"unet.mid_block.attentions.0.{layer}", tmp_path / "lora.safetensors"
    save_file({f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, file)
    path = Path(shutil.copytree(folder(), tmp_path / "merged"))
    tensors = load_file(path / UNET)
    tensors[f"middle_block.1.{layer}.weight"] += up @ down
    save_file(tensors, path / UNET)
    wanted = predict(load_prior(str(path), CPU), noise())
    got = predict(load_prior(str(folder()), CPU, options=PriorConfig(lora=(str(file),))), noise())
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert (got - predict(load_prior(str(folder()), CPU), noise())).abs().max() > 1e-4


def test_its_cost_is_estimated_without_memory() -> None:
    parts = load_prior(str(folder()), CPU).cost_parts()
    assert set(parts) == {"unet", "vae"}
    assert all(p.is_meta for p in parts["unet"].parameters())
    call_unet(parts["unet"], 2 * VIEWS, 8)


@pytest.mark.parametrize("cameras", [None, orbit(6)])
def test_groups_must_be_whole(cameras: CameraBatch | None) -> None:
    prior = load_prior(str(folder()), CPU)
    condition = prior.encode_prompt(PROMPT)
    with pytest.raises(PriorError, match=r"expected the cameras of a multiple of 4 views, got"):
        prior.predict_noise(
            torch.zeros(6, 4, 8, 8), torch.full((6,), 5), condition, cameras=cameras,
            textureless=torch.zeros(6, dtype=torch.bool),
        )  # fmt: skip
