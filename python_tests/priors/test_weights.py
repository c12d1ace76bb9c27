"""Which files of a folder hold its weights, in one piece, in shards or in half precision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import (
    CPU,
    UNET,
    change_weights,
    copied,
    expected_prediction,
    folder,
    predict_once,
)

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors import load_prior
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.weight_files import select_weight_files
from dfast.testing import random_models

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.mark.parametrize(
    ("names", "half", "wanted"),
    [
        (["m.safetensors", "m.fp16.safetensors"], True, ["m.fp16.safetensors"]),
        (["m.safetensors", "m.fp16.safetensors"], False, ["m.safetensors"]),
        (["m.safetensors", "m.bin"], True, ["m.safetensors"]),
        (["m.fp16.safetensors"], False, ["m.fp16.safetensors"]),
        (["m.safetensors.aria2", "xm.safetensors"], True, []),
        (["m.non_ema.safetensors", "m.safetensors.aria2"], True, ["m.non_ema.safetensors"]),
        (["m.non_ema.safetensors", "m.bf16.safetensors"], True, []),
        (["m.bf16.safetensors", "m.safetensors"], True, ["m.safetensors"]),
        (["m.bf16.safetensors", "m.fp16.safetensors"], False, ["m.fp16.safetensors"]),
        (["m.safetensors.index.json", "m.fp16.safetensors"], False, ["m.fp16.safetensors"]),
        (
            ["m-00001-of-00002.bf16.safetensors", "m-00002-of-00002.bf16.safetensors",
             "m.safetensors.index.bf16.json"],
            False,
            ["m-00001-of-00002.bf16.safetensors", "m-00002-of-00002.bf16.safetensors",
             "m.safetensors.index.bf16.json"],
        ),
        (["m.bin"], True, []),
        (
            ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors",
             "m.safetensors.index.json", "m-00001-of-00002.bin"],
            True,
            ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors",
             "m.safetensors.index.json"],
        ),
        (
            ["m.fp16-00001-of-00001.safetensors", "m.safetensors.index.fp16.json", "m.safetensors"],
            True,
            ["m.fp16-00001-of-00001.safetensors", "m.safetensors.index.fp16.json"],
        ),
    ],
)  # fmt: skip
def test_which_files_hold_the_weights(names: list[str], half: bool, wanted: list[str]) -> None:
    assert select_weight_files(names, "m", half=half) == wanted


def test_shards(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    path = copied("sd15", tmp_path)
    unet = UNet2DConditionModel.from_pretrained(path / "unet")
    (path / UNET).unlink()
    unet.save_pretrained(path / "unet", max_shard_size="100KB")
    assert len(Folder(path, "x").weights("unet").files) > 1
    stale = path / UNET.replace(".safe", "-00009-of-00009.safe")
    shutil.copy(folder("sd15") / UNET, stale)  # of another making: it is not in the index
    change_weights(stale, torch.zeros_like)
    assert torch.equal(predict_once(load_prior(str(path), CPU)), expected_prediction("sd15"))
    next((path / "unet").glob("*-00002-of-*")).unlink()
    with pytest.raises(PriorError, match=r"incomplete, .*-00002-of-\d+.safetensors is missing"):
        load_prior(str(path), CPU)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "if-m"])
def test_the_half_variant_is_found(family: str, tmp_path: Path) -> None:
    path = random_models.write(
        family, tmp_path / family, size="tiny", dtype=torch.float16, variant="fp16"
    )
    prior: Any = load_prior(str(path), CPU)
    assert prior.folder.weights("unet", half=False).half
    prior.encode_prompt("a red chair")
    prior.load()
    assert {p.dtype for p in prior.unet.parameters()} == {torch.float32}  # on a CPU
    half: Any = load_prior(str(path), CPU, options=PriorConfig(precision="fp16"))
    half.encode_prompt("a red chair")
    half.load()
    last = half.unet.conv_out.layer.weight
    assert {p.dtype for p in half.unet.parameters() if p is not last} >= {torch.float16}
    assert last.dtype == torch.float32


def rename_variant(path: Path, parts: tuple[str, ...], variant: str) -> None:
    """Give the weights of parts the name of a variant."""
    for part in parts:
        (file,) = (path / part).glob("*.safetensors")
        file.rename(file.with_suffix(f".{variant}.safetensors"))


PARTS = ("unet", "vae", "text_encoder")


@pytest.mark.parametrize("variant", ["bf16", "non_ema", "fp32", "fp8_e4m3fn", "ema.step-500"])
def test_the_only_variant_is_taken(variant: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    rename_variant(path, PARTS, variant)
    prior: Any = load_prior(str(path), CPU)
    assert prior.folder.weights("text_encoder").variant == variant
    torch.testing.assert_close(
        predict_once(prior), expected_prediction("sd15"), rtol=1e-5, atol=1e-6
    )
    assert not prior.folder.weights("unet").half


@pytest.mark.parametrize("part", PARTS)
def test_several_variants_are_listed(part: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    (file,) = (path / part).glob("*.safetensors")
    for variant in ("bf16", "non_ema"):
        shutil.copy(file, file.with_suffix(f".{variant}.safetensors"))
    (path / part / f"{file.stem}.bin").write_bytes(b"")
    file.unlink()
    with pytest.raises(PriorError, match=rf"{part} has weights only as variants, bf16, non_ema"):
        predict_once(load_prior(str(path), CPU))


@pytest.mark.parametrize("variant", [None, "fp16", "bf16"])
@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_shards_of_variants(part: str, variant: str | None, tmp_path: Path) -> None:
    import diffusers
    import transformers

    path = copied("sd15", tmp_path)
    kinds: dict[str, Any] = {
        "unet": diffusers.UNet2DConditionModel, "text_encoder": transformers.CLIPTextModel
    }  # fmt: skip
    model = kinds[part].from_pretrained(path / part)
    next((path / part).glob("*.safetensors")).unlink()
    model.save_pretrained(path / part, max_shard_size="50KB", variant=variant)
    found = Folder(path, "x").weights(part)
    assert len(found.files) > 1 and found.variant == (variant or "")
    got = predict_once(load_prior(str(path), CPU))
    torch.testing.assert_close(got, expected_prediction("sd15"), rtol=1e-5, atol=1e-6)
    for index in (path / part).glob("*.index*.json"):
        index.unlink()
    predict_once(load_prior(str(path), CPU))  # shards are numbered, and tell what is missing
    found.files[1].unlink()
    with pytest.raises(PriorError, match=r"incomplete, .*-00002-of-\d+\S*\.safetensors is missing"):
        predict_once(load_prior(str(path), CPU, options=PriorConfig()))


def test_weights_of_another_name_are_listed(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    (path / UNET).rename(path / "unet/my_finetune.safetensors")
    (path / "unet/diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(PriorError, match=r"is missing \(it has my_finetune\.safetensors\)"):
        load_prior(str(path), CPU)
