"""Tiny random model folders for tests, each written once a session, and what tests do with them."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dfast.config import PriorConfig
from dfast.priors import load_prior
from dfast.priors.loading.quiet import quiet
from dfast.testing import random_models, random_transformers

PREDICTIONS = {"sd15": "epsilon", "sd21": "v_prediction", "sdxl": "epsilon", "if-m": "epsilon"}
FAMILIES = tuple(PREDICTIONS)
TRANSFORMERS = tuple(random_transformers.TINY)
LATENT = ("sd15", "sd21", "sdxl")
UNET = "unet/diffusion_pytorch_model.safetensors"
_ROOT = tempfile.TemporaryDirectory(prefix="dfast-tiny-")

CPU = torch.device("cpu")
PROMPT, NEGATIVE = "a red chair", "an ugly thing"
PLAIN = torch.zeros(2, dtype=torch.bool)
"""`textureless` of two views that show colours."""


@functools.cache
def folder(family: str) -> Path:
    """Return the folder of a family, which tests must not change."""
    if family in TRANSFORMERS:
        return random_transformers.write_transformer(family, Path(_ROOT.name) / family, seed=1)
    return random_models.write(
        family, Path(_ROOT.name) / family, size="tiny", prediction=PREDICTIONS[family], seed=1
    )


def write_tiny(path: Path, channels: int = 4, **settings: Any) -> Path:
    """Write a small AutoencoderTiny of random weights, with the published one's conventions."""
    blocks: dict[str, Any] = {
        f"{half}_block_out_channels": (8, 8, 8, 8) for half in ("encoder", "decoder")
    }
    blocks |= {f"num_{half}_blocks": (1, 1, 1, 1) for half in ("encoder", "decoder")}
    return random_models.write_tiny_vae(path, channels=channels, seed=3, **(blocks | settings))


def copied(family: str, to: Path) -> Path:
    """Return a copy of the folder of a family, in `to`, which a test may change."""
    return Path(shutil.copytree(folder(family), to / family))


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; `...` removes one."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def truncate(path: Path) -> None:
    """Remove the last bytes of a file."""
    path.write_bytes(path.read_bytes()[:-100])


def change_weights(path: Path, change: Callable[[Tensor], Tensor]) -> None:
    """Apply `change` to every tensor of a safetensors file."""
    save_file({k: change(v).contiguous() for k, v in load_file(path).items()}, path)


def load_tiny(family: str, **options: Any) -> Any:
    """Return the prior of a family on the CPU, with options of `PriorConfig`."""
    return load_prior(str(folder(family)), CPU, options=PriorConfig(**options))


def pipeline(family: str) -> Any:
    """Return diffusers' own pipeline of the same folder."""
    import diffusers

    name = {"sdxl": "StableDiffusionXLPipeline", "if-m": "IFPipeline"}
    name |= {family: made.pipeline for family, made in random_transformers.TINY.items()}
    cls = getattr(diffusers, name.get(family, "StableDiffusionPipeline"))
    parts: dict[str, Any] = {}
    if family == "wan":  # diffusers reads it with a package that tests do without
        part = folder(family) / "transformer"
        config = json.loads((part / "config.json").read_text())
        parts["transformer"] = diffusers.WanTransformer3DModel.from_config(config).eval()
        weights = load_file(part / "diffusion_pytorch_model.safetensors")
        parts["transformer"].load_state_dict(weights)
    with quiet():
        made = cls.from_pretrained(folder(family), **parts)
    made.set_progress_bar_config(disable=True)
    return made


def noise_like(prior: Any, batch: int = 2, seed: int = 0) -> Tensor:
    """Return noise [B, C, h, w] of the shape of what the model diffuses."""
    config, latent = prior.unet_config, prior.family in TRANSFORMERS
    side = prior.latent_size if latent else config["sample_size"]
    shape = (batch, prior.latents.channels if latent else config["in_channels"], side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predict_once(prior: Any) -> Tensor:
    """Return the prediction for one fixed input, [1, 1, 4, 8, 8]."""
    condition = prior.encode_prompt("a red chair", views="none")
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return prior.predict_noise(
        x, torch.tensor([500]), condition, cameras=None, textureless=torch.tensor([False])
    )


@functools.cache
def expected_prediction(family: str) -> Tensor:
    """Return `predict_once` of the folder that tests must not change."""
    return predict_once(load_prior(str(folder(family)), CPU))


def image_gradient(prior: Any, image: Tensor, toward: Tensor) -> Tensor:
    """Return the gradient at `image` of the product of its latents with `toward`."""
    x = image.clone().requires_grad_(True)
    return torch.autograd.grad((prior.encode_images(x) * toward).sum(), x)[0]
