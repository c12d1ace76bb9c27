"""Folders that are incomplete, damaged or of another family, and when each is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CPU, UNET, change_weights, copied, edit_json, folder, predict_once, truncate

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors import load_prior

pytestmark = pytest.mark.usefixtures("isolated")


def _no_index(path: Path) -> None:
    (path / "model_index.json").unlink()


def _pickled(path: Path) -> None:
    (path / UNET).rename(path / UNET.replace("safetensors", "bin"))


def _foreign_pipeline(path: Path) -> None:
    edit_json(path / "model_index.json", _class_name="FluxPipeline", unet=...)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (_no_index, "expected a diffusers folder with model_index.json"),
    "pickles": (_pickled, r"only pickled weights, which dfast never reads .*save_pretrained"),
    "no unet": (lambda p: shutil.rmtree(p / "unet"), r"incomplete, .*/unet is missing"),
    "no vae": (lambda p: shutil.rmtree(p / "vae"), r"incomplete, .*/vae is missing"),
    "no scheduler": (lambda p: shutil.rmtree(p / "scheduler"), r"incomplete, .*/scheduler"),
    "no weights": (lambda p: (p / UNET).unlink(), r"incomplete, .*\.safetensors is missing"),
    "cut": (lambda p: truncate(p / UNET), r"damaged \(\d+ bytes where its header says \d+\)"),
    "empty": (lambda p: (p / UNET).write_bytes(b""), r"damaged \(no safetensors header\)"),
    "noise": (lambda p: (p / UNET).write_bytes(b"\xff" * 999), r"damaged \(no safetensors"),
    "bad json": (
        lambda p: (p / "unet/config.json").write_text("{"),
        r"unet/config\.json is damaged",
    ),
    "json list": (
        lambda p: (p / "model_index.json").write_text("[]"),
        "expected a JSON object, got list",
    ),
    "other pipeline": (_foreign_pipeline, r"expected Stable Diffusion .* a folder of FluxPipeline"),
    "inpainting": (
        lambda p: edit_json(p / "unet/config.json", in_channels=9),
        "StableDiffusionPipeline with a UNet of 9 to 4 channels",
    ),
    "guidance distilled": (
        lambda p: edit_json(p / "unet/config.json", time_cond_proj_dim=256),
        "expected Stable Diffusion",
    ),
    "other network": (
        lambda p: edit_json(p / "unet/config.json", _class_name="UNet2DModel"),
        "expected Stable Diffusion",
    ),
    "foreign scheduler": (
        lambda p: edit_json(
            p / "scheduler/scheduler_config.json",
            _class_name="FlowMatchEulerDiscreteScheduler",
            beta_schedule=...,
        ),
        "scheduler: expected one whose noise is defined by betas for this unet, got one of a flow",
    ),
    "betas beyond one": (
        lambda p: edit_json(p / "scheduler/scheduler_config.json", beta_end=3.0),
        "expected a noise schedule with betas in",
    ),
    "other vae": (
        lambda p: edit_json(p / "vae/config.json", _class_name="VQModel"),
        "expected a VAE of AutoencoderKL, .*, got VQModel",
    ),
    "vae without levels": (
        lambda p: edit_json(p / "vae/config.json", block_out_channels=None),
        "block_out_channels: expected a list, got None",
    ),
    "scale": (
        lambda p: edit_json(p / "vae/config.json", scaling_factor=float("nan")),
        "scaling_factor: expected a positive number, got nan",
    ),
    "size": (
        lambda p: edit_json(p / "unet/config.json", sample_size="big"),
        "sample_size: expected a positive number, got 'big'",
    ),
    "header of words": (
        lambda p: (p / UNET).write_bytes(
            (48).to_bytes(8, "little") + b'{"a":{"data_offsets":["x","y"],"shape":[]}}     '
        ),
        r"damaged \(no safetensors",
    ),
    "index of nothing": (
        lambda p: (
            (p / UNET).rename(p / UNET.replace(".safe", "-00001-of-00001.safe")),
            (p / f"{UNET}.index.json").write_text('{"weight_map": ["a"]}'),
        ),
        "it lists no files of this folder",
    ),
    "bad tokenizer": (
        lambda p: (p / "tokenizer/tokenizer.json").write_text("{"),
        r"tokenizer/tokenizer\.json is damaged",
    ),
    "schedule": (
        lambda p: edit_json(p / "scheduler/scheduler_config.json", prediction_type="flow"),
        "expected a prediction_type",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_folders_that_are_refused_on_opening(what: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    spoil, message = BROKEN[what]
    spoil(path)
    with pytest.raises(PriorError, match=message) as caught:
        load_prior(str(path), CPU)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


LATE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another model's weights": (
        lambda p: shutil.copy(folder("sdxl") / UNET, p / UNET),
        r"unet does not fit its config\.json, .*: expected \(.*\), got",
    ),
    "no tokenizer": (lambda p: shutil.rmtree(p / "tokenizer"), r"incomplete, .*/tokenizer is"),
    "no encoder": (lambda p: shutil.rmtree(p / "text_encoder"), r"incomplete, .*/text_encoder"),
    "no vocabulary": (
        lambda p: (p / "tokenizer/tokenizer.json").unlink(),
        r"incomplete, .*tokenizer/tokenizer\.json is missing",
    ),
    "half a vocabulary": (
        lambda p: (p / "tokenizer/tokenizer.json").rename(p / "tokenizer/vocab.json"),
        r"incomplete, .*tokenizer/merges\.txt is missing",
    ),
    "no tokenizer settings": (
        lambda p: (p / "tokenizer/tokenizer_config.json").unlink(),
        r"incomplete, .*tokenizer/tokenizer_config\.json is missing",
    ),
    "no encoder settings": (
        lambda p: (p / "text_encoder/config.json").unlink(),
        r"incomplete, .*text_encoder/config\.json is missing",
    ),
    "empty encoder": (
        lambda p: (p / "text_encoder/model.safetensors").write_bytes(b""),
        r"model\.safetensors is damaged \(no safetensors header\)",
    ),
    "encoder of NaN": (
        lambda p: change_weights(p / "text_encoder/model.safetensors", lambda v: v * float("nan")),
        "expected finite numbers from the text encoder",
    ),
    "NaN": (
        lambda p: change_weights(p / UNET, lambda v: v * float("nan")),
        r"is damaged \(\S+ holds inf or NaN\)",
    ),
    "quantised": (
        lambda p: change_weights(p / UNET, lambda v: v.to(torch.int8)),
        "is quantised, .*: expected floating point, got int8",
    ),
    "foreign configuration": (
        lambda p: edit_json(p / "unet/config.json", down_block_types=["Nonsense"]),
        r"unet/config\.json is damaged",
    ),
    "another encoder's weights": (
        lambda p: shutil.copy(
            folder("if-m") / "text_encoder/model.safetensors", p / "text_encoder"
        ),
        "text_encoder is damaged",
    ),
}


@pytest.mark.parametrize("what", LATE)
def test_folders_that_fail_when_they_are_read(what: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    spoil, message = LATE[what]
    spoil(path)
    prior = load_prior(str(path), CPU)
    with pytest.raises(PriorError, match=message) as caught:
        predict_once(prior)
    assert "\n" not in str(caught.value)


def test_eight_bits_need_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    prior: Any = load_prior(str(folder("if-m")), CPU, options=PriorConfig(text_encoder="8bit"))
    with pytest.raises(PriorError, match=r"prior\.text_encoder: '8bit' expects a CUDA device"):
        prior.encode_prompt("a red chair")


def test_sentencepiece_files_need_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfast.priors.loading import text_encoders

    path = copied("if-m", tmp_path)
    (path / "tokenizer" / "tokenizer.json").rename(path / "tokenizer" / "spiece.model")
    monkeypatch.setattr(text_encoders.metadata, "distributions", lambda: [])
    with pytest.raises(PriorError, match="needs `pip install sentencepiece protobuf`"):
        load_prior(str(path), CPU).encode_prompt("a red chair")
