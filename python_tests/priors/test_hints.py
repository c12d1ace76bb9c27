"""Paths that are no pipeline folder: what each is, and what to name instead."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hub_folders import snapshot
from safetensors.torch import save_file
from tiny_models import CPU, UNET, copied, folder

from dfast.errors import PriorError
from dfast.priors import family_of, load_prior

pytestmark = pytest.mark.usefixtures("isolated")


def _weights(path: Path, *names: str) -> Path:
    """Write a file with tensors of these names, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.ones(2) for name in names}, path)
    return path


def _cached(path: Path) -> Path:
    return snapshot("someone/else", folder("sd15")).parent.parent


def _cache_without_pipeline(path: Path) -> Path:
    (path / "models--someone--else" / "snapshots").mkdir(parents=True)
    return path / "models--someone--else"


def _lora(path: Path) -> Path:
    return _weights(path / "lora/pytorch_lora_weights.safetensors", "unet.a.lora_A.weight").parent


def _cached_lora(path: Path) -> Path:
    return snapshot("someone/else", _lora(path)).parent.parent


def _pickled_lora(path: Path) -> Path:
    (path / "pytorch_lora_weights.bin").write_bytes(b"")
    return path


def _peft(path: Path) -> Path:
    (path / "adapter_config.json").write_text("{}")
    return path


def _lone_unet(path: Path) -> Path:
    return Path(shutil.copytree(folder("sd15") / "unet", path / "my-unet"))


def _lone_vae(path: Path) -> Path:
    return Path(shutil.copytree(folder("sd15") / "vae", path / "vae"))


def _encoder(path: Path) -> Path:
    return Path(shutil.copytree(folder("sd15") / "text_encoder", path / "text"))


def _part(path: Path) -> Path:
    return copied("sd15", path) / "unet"


def _training(path: Path) -> Path:
    return Path(shutil.copytree(folder("sd15") / "unet", path / "checkpoint-500/unet")).parent


def _no_index(path: Path) -> Path:
    where = copied("sd15", path)
    (where / "model_index.json").unlink()
    return where


def _above(path: Path) -> Path:
    copied("sd15", path)
    return path


def _one_file(path: Path) -> Path:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    return _weights(path / "x/sd.safetensors", name, "first_stage_model.a").parent


def _run(path: Path) -> Path:
    for name in ("run.json", "config.toml"):
        (path / name).write_text("{}")
    return path


FOLDERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a model in the hub's cache": (_cached, r"hub's cache: name someone/else, or .*snapshots/0000"),
    "its snapshots": (lambda p: _cached(p) / "snapshots", r"hub's cache: name .*snapshots/0000"),
    "the hub's cache": (lambda p: _cached(p).parent, r"one of its models, such as someone/else"),
    "a cache without files": (_cache_without_pipeline, "without a snapshot: fetch someone/else"),
    "a LoRA in the hub's cache": (_cached_lora, "in the snapshot of someone/else .* a LoRA"),
    "a pickled LoRA": (_pickled_lora, r"its pytorch_lora_weights\.bin is a LoRA"),
    "a LoRA": (_lora, r"a LoRA, which only changes another model: .*fuse_lora"),
    "a LoRA of PEFT": (_peft, "it is a LoRA"),
    "a UNet alone": (_lone_unet, "it is a UNet alone: load it as the unet of the pipeline"),
    "a VAE alone": (_lone_vae, r"it is one network \(AutoencoderKL\), not a pipeline"),
    "a text encoder": (_encoder, r"it is one network \(CLIPTextModel\)"),
    "a part of a pipeline": (
        _part,
        r"part of a pipeline \(UNet2DConditionModel\): name .*sd15",
    ),
    "a training's checkpoint": (_training, "it has a unet and is no whole pipeline"),
    "a pipeline without index": (_no_index, r"copy model_index\.json of the original into it"),
    "the folder above": (_above, r"without one; name .*/sd15$"),
    "a checkpoint in one file": (_one_file, r"its sd\.safetensors is a checkpoint in one file"),
    "a run": (_run, "it is a run of dfast"),
    "nothing": (lambda p: p, r"without one$"),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_folders_that_are_no_pipeline(what: str, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    make, message = FOLDERS[what]
    path = make(tmp_path / "place")
    for ask in (lambda: load_prior(str(path), CPU), lambda: family_of(str(path))):
        with pytest.raises(PriorError, match=message) as caught:
            ask()
        assert "expected a diffusers folder with model_index.json" in str(caught.value)
        assert "\n" not in str(caught.value)


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a checkpoint": (
        lambda p: _weights(p / "a.safetensors", "model.diffusion_model.out.2.weight"),
        "a checkpoint in one file: convert it once with StableDiffusionPipeline.from_single_file",
    ),
    "a pickle": (lambda p: _touched(p / "a.ckpt"), "from_single_file.*a pickle"),
    "a LoRA": (lambda p: _weights(p / "a.safetensors", "lora_unet_a.lora_up.weight"), "a LoRA"),
    "a UNet": (lambda p: _lone_unet(p) / Path(UNET).name, "a UNet alone"),
    "a VAE": (lambda p: _lone_vae(p) / Path(UNET).name, "a VAE alone"),
    "a textual inversion": (lambda p: _weights(p / "a.safetensors", "<cat>"), "textual inversion"),
    "a quantised model": (lambda p: _touched(p / "a.gguf"), "quantised"),
    "a transformer": (
        lambda p: _weights(p / "a.safetensors", "transformer_blocks.0.a"), "a transformer"
    ),
    "an index": (lambda p: copied("sd15", p) / "model_index.json", "the pipeline .*: name that"),
    "a pipeline's weights": (lambda p: copied("sd15", p) / UNET, "the pipeline .*: name that"),
    "text": (lambda p: _touched(p / "notes.txt"), "convert it once"),
}  # fmt: skip


def _touched(path: Path) -> Path:
    path.write_text("")
    return path


@pytest.mark.parametrize("what", FILES)
def test_files_that_are_no_pipeline(what: str, tmp_path: Path) -> None:
    make, message = FILES[what]
    with pytest.raises(PriorError, match=f"got the file .*{message}") as caught:
        load_prior(str(make(tmp_path)), CPU)
    assert "\n" not in str(caught.value)


def test_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("loop", "nowhere"):
        with pytest.raises(PriorError, match="got the broken link"):
            load_prior(str(tmp_path / name), CPU)
    (tmp_path / "good").symlink_to(copied("sd15", tmp_path))
    assert load_prior(str(tmp_path / "good"), CPU).name == os.path.realpath(tmp_path / "sd15")


def test_hints_read_no_odd_configuration(tmp_path: Path) -> None:
    for content in ("[]", "{", json.dumps({"architectures": "x", "_class_name": None})):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(PriorError, match=r"without one$"):
            load_prior(str(tmp_path), CPU)
