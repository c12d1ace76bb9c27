"""Folders of MVDream: their settings and sizes, downloads, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_folders import FakeHub
from safetensors.torch import load_file, save_file
from tiny_models import CPU, PROMPT, UNET, edit_json
from tiny_multi_view import VIEWS, folder

from dfast.config import Config
from dfast.errors import PriorError
from dfast.priors import family_of, load_prior
from dfast.priors.loading.catalog import CATALOG
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.networks import build_unet
from dfast.priors.pipelines.multi_view import unet_config
from dfast.testing.model_sizes import PARAMETERS


def test_a_folder_is_recognised_and_brings_settings() -> None:
    assert family_of(str(folder())) == CATALOG["mvdream"].family == "mvdream"
    prior = load_prior(str(folder()), CPU)
    assert (prior.joint_views, prior.image_size, prior.latent_size) == (VIEWS, 64, 8)
    camera = Config.for_prior("mvdream").camera
    assert camera.ring == VIEWS and camera.views % VIEWS == 0


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda path: edit_json(path / "unet/config.json", **changes)


def _as_pickles(path: Path) -> None:
    (path / UNET).rename(path / "unet/diffusion_pytorch_model.bin")


def _without_cameras(path: Path) -> None:
    tensors = load_file(path / UNET)
    save_file({k: v for k, v in tensors.items() if not k.startswith("camera_embed")}, path / UNET)


def _with_projection(path: Path) -> None:
    _config(_class_name="UNet2DConditionModel")(path)
    edit_json(path / "model_index.json", camera_proj=["mvdream", "CameraMatrixEmbedding"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_config(ip_dim=16), "which takes text alone, got ImageDream, which takes an image"),
        (_config(camera_dim=...), "camera_dim: expected 16, got None"),
        (_config(camera_dim=12), "camera_dim: expected 16, got 12"),
        (_config(transformer_depth=2), "transformer_depth: expected 1, got 2"),
        (_config(use_scale_shift_norm=True), "use_scale_shift_norm: expected False, got True"),
        (_config(num_head_channels=24), "num_head_channels: expected a divisor of the channels 32"),
        (_config(num_res_blocks=[1, 1]), "num_res_blocks: expected one positive number"),
        (_config(model_channels=...), "model_channels: expected a positive number, got None"),
        (_config(context_dim=64), r"text_encoder: expected hidden_size 64.* for this UNet, got 32"),
        (_config(_class_name="MultiViewUNetWithDepth"), "expected Stable Diffusion 1.x, .*MVDream"),
        (_with_projection, "got a part camera_proj of their own"),
        (_as_pickles, "has only pickled weights, which dfast never reads"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_folders_of_other_models_are_refused_in_one_line(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(folder(), tmp_path / "mvdream"))
    damage(path)
    with pytest.raises(PriorError, match=message) as caught:
        load_prior(str(path), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_cameras, r"class_embedding.linear_1.weight: expected \(128, 16\), got nothing"),
        (_config(model_channels=64), "does not fit its config.json"),
    ],
)
def test_weights_of_other_models_are_refused_in_one_line(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(folder(), tmp_path / "mvdream"))
    damage(path)
    prior = load_prior(str(path), CPU)
    with pytest.raises(PriorError, match=message) as caught:
        prior.load()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("isolated")
def test_code_beside_the_weights_is_neither_fetched_nor_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeHub(monkeypatch, folder())
    prior = load_prior("mvdream", CPU, download=True)
    prior.encode_prompt(PROMPT)
    prior.load()
    assert (folder() / "unet/mv_unet.py").is_file() and UNET in fake.fetched
    assert not [name for name in fake.fetched if name.endswith(".py")]


@pytest.mark.usefixtures("isolated")
def test_imagedream_is_refused_before_its_weights_are_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(folder(), tmp_path / "imagedream"))
    edit_json(source / "unet/config.json", ip_dim=16)
    fake = FakeHub(monkeypatch, source)
    with pytest.raises(PriorError, match="got ImageDream, which takes an image"):
        load_prior("a/b", CPU, download=True)
    assert fake.fetched and not [name for name in fake.fetched if name.endswith(".safetensors")]


def test_its_full_size_is_that_of_stable_diffusion_with_cameras(tmp_path: Path) -> None:
    """The published settings give the UNet of 2.1, and an MLP of 16, 1280 and 1280."""
    published = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320,
        "attention_resolutions": [4, 2, 1], "num_res_blocks": 2, "channel_mult": [1, 2, 4, 4],
        "num_head_channels": 64, "transformer_depth": 1, "context_dim": 1024, "camera_dim": 16,
    }  # fmt: skip
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text(json.dumps(published))
    at = Folder(tmp_path, "full")
    unet = build_unet(at, torch.float32, unet_config(at))
    cameras = 17 * 1280 + 1281 * 1280
    assert sum(p.numel() for p in unet.parameters()) == PARAMETERS["sd21"] + cameras
    heads = [a.heads for n, a in unet.named_modules() if n.endswith("attn1")]
    assert set(heads) == {5, 10, 20}
