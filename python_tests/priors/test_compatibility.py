"""Parts that do not belong together, and settings that make no sense: refused by what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, copied, folder

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors import load_prior

CPU = torch.device("cpu")
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def swap(part: str, family: str, source: str | None = None) -> Callable[[Path], None]:
    """Replace a part by that of another family."""

    def change(path: Path) -> None:
        shutil.rmtree(path / part)
        shutil.copytree(folder(family) / (source or part), path / part)

    return change


def slow_tokenizer(*names: str) -> Callable[[Path], None]:
    """Without tokenizer.json, as many published folders are: its vocabulary in files of `names`."""

    def change(path: Path) -> None:
        file = path / "tokenizer/tokenizer.json"
        for name in names:
            vocabulary = json.loads(file.read_text())["model"]["vocab"]
            (path / "tokenizer" / name).write_text(json.dumps(vocabulary))
        file.unlink()
        edit("text_encoder/config.json", vocab_size=50)(path)

    return change


def tensors(name: str, change: Callable[[str, torch.Tensor], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        made = {k: change(k, v).contiguous() for k, v in load_file(path / name).items()}
        save_file(made, path / name, metadata={"format": "pt"})

    return spoil


MIXED: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "text width": (
        "sd15", edit("text_encoder/config.json", hidden_size=64),
        r"': text_encoder: expected hidden_size 32 for this UNet, got 64$",
    ),
    "unet width": (
        "sd15", edit("unet/config.json", cross_attention_dim=[64, 64]),
        "text_encoder: expected hidden_size 64 for this UNet, got 32",
    ),
    "a second encoder": (
        "sdxl", swap("text_encoder_2", "sdxl", "text_encoder"),
        r"text_encoder \+ text_encoder_2: expected hidden_size 96 for this UNet, got 32 \+ 32",
    ),
    "pooled width": (
        "sdxl", edit("text_encoder_2/config.json", projection_dim=32),
        "text_encoder_2: expected projection_dim 64 for this UNet, got 32",
    ),
    "T5 width": (
        "if-m", edit("text_encoder/config.json", d_model=64),
        "text_encoder: expected d_model 32 for this UNet, got 64",
    ),
    "T5 in Stable Diffusion": (
        "sd15", swap("text_encoder", "if-m"),
        "text_encoder: expected model_type 'clip_text_model' for this UNet, got 't5'",
    ),
    "CLIP in DeepFloyd": (
        "if-m", swap("text_encoder", "sd15"),
        "text_encoder: expected model_type 't5' for this UNet, got 'clip_text_model'",
    ),
    "T5's tokenizer": (
        "sd15", swap("tokenizer", "if-m"),
        "tokenizer: expected model 'BPE' for this text encoder, got 'Unigram'",
    ),
    "CLIP's tokenizer": (
        "if-m", swap("tokenizer", "sd15"),
        "tokenizer: expected model 'Unigram' for this text encoder, got 'BPE'",
    ),
    "a tokenizer's pieces": (
        "sd15", slow_tokenizer("spiece.model"),
        r"tokenizer: expected files vocab\.json and merges\.txt .*, got spiece\.model",
    ),
    "vocabulary": (
        "sd15", edit("text_encoder/config.json", vocab_size=50),
        "text_encoder: expected vocab_size of at least 1542 for this tokenizer, got 50",
    ),
    "vocabulary of T5": (
        "if-m", edit("text_encoder/config.json", vocab_size=50),
        "text_encoder: expected vocab_size of at least 774 for this tokenizer, got 50",
    ),
    "vocabulary of an old tokenizer": (
        "sd15", slow_tokenizer("vocab.json", "merges.txt"),
        "text_encoder: expected vocab_size of at least 1542 for this tokenizer, got 50",
    ),
    "positions": (
        "sd15", edit("text_encoder/config.json", max_position_embeddings=40),
        "expected max_position_embeddings of at least 77 .*, got 40",
    ),
    "latents": (
        "sd15", edit("vae/config.json", latent_channels=16),
        "vae: expected latent_channels 4 for this UNet, got 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MIXED)
def test_parts_of_different_families_are_refused_on_opening(what: str, tmp_path: Path) -> None:
    family, spoil, message = MIXED[what]
    path = copied(family, tmp_path)
    spoil(path)
    with pytest.raises(PriorError, match=message) as caught:
        load_prior(str(path), CPU)
    assert "\n" not in str(caught.value)


def test_what_a_configuration_does_not_say_is_not_held_against_it(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    config = json.loads((path / "text_encoder/config.json").read_text())
    del config["model_type"], config["max_position_embeddings"]
    (path / "text_encoder/config.json").write_text(json.dumps(config))
    load_prior(str(path), CPU).encode_prompt("a red chair")


UNSOUND: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "size": ("sd15", "unet", {"sample_size": [8, "x"]}, r"positive number, got \[8, 'x'\]"),
    "no size": ("sd15", "unet", {"sample_size": ["x"]}, r"positive number, got \['x'\]"),
    "text width": ("sd15", "text_encoder", {"hidden_size": "x"}, "a positive number, got 'x'"),
    "shift": ("sd15", "vae", {"shift_factor": "x"}, "a finite number, got 'x'"),
    "mean": ("sd15", "vae", {"latents_mean": "x", "latents_std": "y"}, "finite number, got 'x'"),
    "spread": ("sd15", "vae", {"latents_std": "y", "latents_mean": 0.0}, "number, got 'y'"),
    "two means": (
        "sd15", "vae", {"latents_mean": [0.0, 0.0], "latents_std": [1.0] * 4},
        r"4 numbers, got \[0\.0, 0\.0\]",
    ),
    "no spread": (
        "sd15", "vae", {"latents_std": [0.0] * 4, "latents_mean": [0.0] * 4},
        r"a positive number, got \[0\.0",
    ),
    "scale": ("sd15", "vae", {"scaling_factor": [1, 2]}, r"one positive number, got \[1, 2\]"),
    "blocks": ("sd15", "vae", {"down_block_types": []}, r"a list of 4, got \[\]"),
    "colours": ("sd15", "vae", {"in_channels": 4}, "3, got 4"),
    "added": ("sdxl", "unet", {"addition_time_embed_dim": None}, "a positive number, got None"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNSOUND)
def test_invalid_settings_are_refused_on_opening(what: str, tmp_path: Path) -> None:
    family, part, changes, message = UNSOUND[what]
    path = copied(family, tmp_path)
    edit(f"{part}/config.json", **changes)(path)
    key = next(iter(changes))
    with pytest.raises(
        PriorError, match=rf"{part}/config\.json is damaged \({key}: expected .*{message}"
    ):
        load_prior(str(path), CPU)


LATE: dict[str, tuple[Callable[[Path], None], str]] = {
    "unet without blocks": (
        edit("unet/config.json", down_block_types=[]),
        r"unet/config\.json is damaged \(.*down_block_types",
    ),
    "quantised encoder": (
        tensors(TEXT, lambda k, v: v.to(torch.int8) if v.ndim > 1 else v),
        rf"{TEXT} is quantised, \S+weight: expected floating point, got int8",
    ),
    "another shape": (
        tensors(TEXT, lambda k, v: v[:-1] if "fc1.weight" in k else v),
        r"text_encoder does not fit its config\.json, \S+fc1\.weight: expected \(64, 32\), "
        r"got \(63, 32\)",
    ),
    "another vocabulary": (
        edit("text_encoder/config.json", vocab_size=2000),
        r"does not fit its config\.json, \S+: expected \(2000, 32\), got \(1542, 32\)",
    ),
    "heads": (
        edit("text_encoder/config.json", num_attention_heads="x"),
        r"text_encoder/config\.json is damaged \(.*num_attention_heads.* expected int, got str "
        r"\(value: 'x'\)",
    ),
}


@pytest.mark.parametrize("what", LATE)
def test_weights_that_do_not_fit_are_named(what: str, tmp_path: Path) -> None:
    spoil, message = LATE[what]
    path = copied("sd15", tmp_path)
    spoil(path)
    prior: Any = load_prior(str(path), CPU)
    with pytest.raises(PriorError, match=message) as caught:
        prior.encode_prompt("a red chair")
        prior.load()
    assert "\n" not in str(caught.value)


def test_positions_of_older_files_are_no_quantised_weights(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(load_file(path / TEXT) | positions, path / TEXT, metadata={"format": "pt"})
    load_prior(str(path), CPU).encode_prompt("a red chair")


@pytest.mark.parametrize(
    ("file", "precision", "setting"),
    [(UNET, "precision", "precision"), (VAE, "vae_precision", "vae_precision")],
)
def test_weights_that_overflow_when_they_are_cast(
    file: str, precision: str, setting: str, tmp_path: Path
) -> None:
    path = copied("sd15", tmp_path)
    tensors(file, lambda k, v: v + 1e5 if k == "conv_in.weight" or "er.conv_in.w" in k else v)(path)
    made: Any = load_prior(str(path), CPU, options=PriorConfig(**{precision: "fp16"}))
    with pytest.raises(
        PriorError, match=rf'conv_in\.weight overflows float16; set prior\.{setting} = "fp32"'
    ):
        made.load()
    options: Any = {precision: "bf16"}
    made = load_prior(str(path), CPU, options=PriorConfig(**options))
    made.load()


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_that_make_no_sense(family: str) -> None:
    prior: Any = load_prior(str(folder(family)), CPU)
    with pytest.raises(PriorError, match="views: expected one of camera, words, none, got 'foo'"):
        prior.encode_prompt("a red chair", views="foo")
    noisy = torch.zeros(1, prior.unet_config["in_channels"], 8, 8)
    for conditions, got in ((), r"\(\)"), (("bogus",), r"\('bogus',\)"), (("text", "x"), "'x'"):
        with pytest.raises(
            PriorError, match=rf"conditions: expected some of text, .*, got .*{got}"
        ):
            prior.predict_noise(
                noisy, torch.tensor([500]), prior.encode_prompt("a red chair", views="none"),
                cameras=None, textureless=torch.tensor([False]), conditions=conditions,
            )  # fmt: skip
