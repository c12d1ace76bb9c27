"""Tensors of a weights file that the network has no place for: refused, named or passed over."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    CPU,
    TRANSFORMERS,
    UNET,
    copied,
    edit_json,
    expected_prediction,
    folder,
    predict_once,
)
from torch import Tensor

from dfast.errors import PriorError
from dfast.priors import load_prior
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.foreign import FOREIGN
from dfast.priors.loading.leftovers import unwrapped
from dfast.testing import model_sizes, random_models

pytestmark = pytest.mark.usefixtures("isolated")

VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def change(file: Path, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Replace the tensors of a file by what `edit` makes of them."""
    made = edit(load_file(file))
    save_file({k: v.contiguous() for k, v in made.items()}, file, metadata={"format": "pt"})


def use_all(path: Path) -> Tensor:
    """Return a prediction, after the encoder of images is loaded too."""
    prior: Any = load_prior(str(path), CPU)
    prior.load()
    return predict_once(prior)


BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
LAYER = "encoder.layers.0.self_attn.q_proj"

REFUSED: dict[str, tuple[str, str, str]] = {
    "scales of float8": (UNET, f"{BLOCK}.to_q.weight_scale", "quantised weights or their scales"),
    "scales of ComfyUI": (UNET, f"{BLOCK}.to_q.scale_weight", "quantised weights"),
    "mark of ComfyUI": (UNET, "scaled_fp8", "quantised weights"),
    "marks of ComfyUI": (UNET, f"{BLOCK}.to_q.comfy_quant", "quantised weights"),
    "inverse scales": (TEXT, f"{LAYER}.weight_scale_inv", "quantised weights"),
    "scales of inputs": (TEXT, f"{LAYER}.input_scale", "quantised weights"),
    "scales of int8": (UNET, f"{BLOCK}.to_q.SCB", "quantised weights"),
    "scales of nf4": (UNET, f"{BLOCK}.to_q.weight.absmax", "quantised weights"),
    "state of nf4": (
        UNET, f"{BLOCK}.to_q.weight.quant_state.bitsandbytes__nf4", "quantised weights"
    ),
    "GPTQ": (TEXT, f"{LAYER}.qzeros", "quantised weights"),
    "group index": (TEXT, f"{LAYER}.g_idx", "quantised weights"),
    "quanto": (UNET, f"{BLOCK}.to_q.weight._scale", "quantised weights"),
    "a scale in a VAE": (VAE, "encoder.conv_in.weight_scale", "quantised weights"),
    "LoRA of 2023": (UNET, f"{BLOCK}.processor.to_q_lora.down.weight", "adapter layers"),
    "LoRA of PEFT": (UNET, f"{BLOCK}.to_q.lora_A.default.weight", "adapter layers"),
    "LoRA in the text": (TEXT, f"text_model.{LAYER}.lora_linear_layer.up.weight", "adapter"),
    "LoRA of scripts": (UNET, "lora_unet_down_blocks_0.alpha", "adapter layers"),
    "DoRA": (UNET, f"{BLOCK}.to_q.lora_magnitude_vector.default.weight", "adapter layers"),
    "LoHa": (UNET, f"{BLOCK}.to_q.hada_w1_a", "adapter layers"),
    "OFT": (UNET, f"{BLOCK}.to_q.oft_R.default.weight", "adapter layers"),
    "wrapped LoRA": (UNET, f"base_model.model.{BLOCK}.to_q.lora_B.x.weight", "adapter layers"),
    "IP-Adapter": (UNET, f"{BLOCK}.processor.to_k_ip.0.weight", "an IP-Adapter"),
    "motion": (UNET, "down_blocks.0.motion_modules.0.proj_in.weight", "motion modules"),
    "control": (UNET, "controlnet_cond_embedding.conv_in.weight", "a ControlNet"),
    "textual inversion": (TEXT, "<a-cat>", "tokens of a textual inversion"),
    "one file's layout": (UNET, "model.diffusion_model.out.2.weight", "a checkpoint in one file"),
    "an input": (UNET, "add_embedding.linear_1.weight", "has no place"),
    "a class input": (UNET, "class_embedding.weight", "has no place"),
    "a layer more": (UNET, "up_blocks.9.resnets.0.conv1.weight", "has no place"),
    "a part of a layer": (UNET, f"{BLOCK}.to_q.surprise", "has no place"),
    "a bias in a VAE": (VAE, "encoder.conv_in.extra", "has no place"),
    "a layer of text": (TEXT, "encoder.layers.9.layer_norm1.weight", "has no place"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_changes_the_meaning_of_the_rest_is_refused_by_name(what: str, tmp_path: Path) -> None:
    file, key, message = REFUSED[what]
    path = copied("sd15", tmp_path)
    change(path / file, lambda tensors: tensors | {key: torch.ones(2)})
    with pytest.raises(PriorError, match=message) as caught:
        use_all(path)
    assert key in str(caught.value) and "\n" not in str(caught.value)


QUIET = {
    UNET: ["num_batches_tracked", "n_averaged", "global_step", "ema_decay"],
    VAE: ["decoder.x.weight", "decoder.x.weight_scale", "post_quant_conv.y", "loss.logvar"],
    TEXT: [
        "text_projection.weight", "logit_scale", "vision_model.embeddings.class_embedding",
        "text_model.embeddings.position_ids", "visual_projection.weight",
    ],
}  # fmt: skip


@pytest.mark.parametrize("file", QUIET)
def test_what_is_known_to_be_unread_stays_quiet(file: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    change(path / file, lambda tensors: tensors | {key: torch.ones(2) for key in QUIET[file]})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        got = use_all(path)
    assert torch.equal(got, expected_prediction("sd15"))


@pytest.mark.parametrize("file", [UNET, VAE, TEXT])
def test_what_is_not_known_is_named_in_a_warning(file: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    change(path / file, lambda tensors: tensors | {f"remains.{i}": torch.ones(2) for i in range(5)})
    with pytest.warns(UserWarning, match=r"leaves out: remains\.0, .* and 2 more$"):
        got = use_all(path)
    assert torch.equal(got, expected_prediction("sd15"))


def _peft(tensors: dict[str, Tensor], end: str) -> dict[str, Tensor]:
    """Return tensors as PEFT saves them, with a LoRA at layers whose name has that end."""
    made = {}
    for key, value in tensors.items():
        base = key.removesuffix(".weight")
        if base.endswith(end) and key != base:
            made[f"{base}.base_layer.weight"] = value
            made[f"{base}.lora_A.default.weight"] = torch.ones(4, value.shape[1])
            made[f"{base}.lora_B.default.weight"] = torch.ones(value.shape[0], 4)
        else:
            made[key] = value
    return made


@pytest.mark.parametrize(("file", "end"), [(UNET, "to_q"), (TEXT, "q_proj")])
def test_networks_wrapped_by_peft(file: str, end: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    change(path / file, lambda tensors: _peft(tensors, end))
    with pytest.raises(PriorError, match=r"adapter layers \(LoRA, PEFT\).*merge"):
        use_all(path)


WRAPPED: dict[str, Callable[[str], str]] = {
    "compiled": lambda key: f"_orig_mod.{key}",
    "compiled blocks": lambda key: key.replace(".0.", ".0._orig_mod.", 1),
    "on several devices": lambda key: f"module.{key}",
    "both": lambda key: f"module._orig_mod.{key}",
    "sharded": lambda key: f"_fsdp_wrapped_module.{key}",
    "of a trainer": lambda key: f"model.{key}",
    "of PEFT": lambda key: f"base_model.model.{key}",
}


@pytest.mark.parametrize(
    ("how", "file"),
    [*((how, UNET) for how in WRAPPED), ("both", VAE), ("both", TEXT), ("of a trainer", TEXT)],
)
def test_names_of_wrappers_are_taken_off(how: str, file: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    change(path / file, lambda tensors: {WRAPPED[how](k): v for k, v in tensors.items()})
    torch.testing.assert_close(use_all(path), expected_prediction("sd15"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "name"), [(UNET, "conv_in.bias"), (TEXT, "final_layer_norm.bias")]
)
def test_two_tensors_of_one_name(file: str, name: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    change(path / file, lambda tensors: tensors | {f"module.{name}": torch.ones(2)})
    with pytest.raises(PriorError, match=rf"one tensor {name}, got two, .*module\.{name}"):
        use_all(path)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes"}, r"quantization_config.*, bitsan"),
        ("compression_config", {}, "compression_config of its config.json"),
    ],
)
def test_quantisation_in_a_configuration(
    part: str, key: str, value: Any, message: str, tmp_path: Path
) -> None:
    path = copied("sd15", tmp_path)
    edit_json(path / part / "config.json", **{key: value})
    with pytest.raises(PriorError, match=rf"{part}: expected plain weights, .*{message}"):
        load_prior(str(path), CPU)


def test_quantisation_in_metadata(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    save_file(load_file(path / UNET), path / UNET, metadata={"_quantization_metadata": "{}"})
    with pytest.raises(PriorError, match="quantised weights: _quantization_metadata"):
        load_prior(str(path), CPU)


def test_an_adapter_beside_the_weights(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    (path / "text_encoder/adapter_config.json").write_text("{}")
    with pytest.raises(PriorError, match=r"text_encoder: .*an adapter beside them"):
        load_prior(str(path), CPU)


@pytest.mark.parametrize(
    ("mark", "key", "value"),
    [("v_pred", "prediction_type", "v_prediction"), ("ztsnr", "rescale_betas_zero_snr", True)],
)
def test_marks_of_another_prediction(mark: str, key: str, value: Any, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    change(path / UNET, lambda tensors: tensors | {mark: torch.zeros(0)})
    with pytest.raises(PriorError, match=f"its tensor {mark} says .* {key} {value!r}, but"):
        load_prior(str(path), CPU)
    edit_json(path / "scheduler/scheduler_config.json", **{key: value})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        use_all(path)


def test_a_lora_beside_the_pipeline_is_named(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    save_file({"unet.a.lora_A.weight": torch.ones(1)}, path / "pytorch_lora_weights.safetensors")
    with pytest.warns(
        UserWarning, match=r"pytorch_lora_weights\.safetensors is not applied unless"
    ):
        load_prior(str(path), CPU)


def test_a_map_of_quantised_layers_beside_the_weights(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    (path / "unet/quanto_qmap.json").write_text("{}")
    with pytest.raises(PriorError, match=r"unet: .*got quantised ones \(quanto_qmap\.json\)"):
        load_prior(str(path), CPU)


def test_a_unet_that_takes_images_too(tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    edit_json(path / "unet/config.json", encoder_hid_dim_type="ip_image_proj", encoder_hid_dim=32)
    with pytest.raises(PriorError, match=r"takes text alone, .*unload_ip_adapter"):
        load_prior(str(path), CPU)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64])
def test_plain_weights_of_other_types(dtype: torch.dtype, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    change(path / UNET, lambda tensors: {k: v.to(dtype) for k, v in tensors.items()})
    wanted = expected_prediction("sd15")
    error = float((use_all(path) - wanted).norm() / wanted.norm())
    assert error < {torch.float64: 1e-6}.get(dtype, 0.5)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_names_of_transformers_mean_nothing_else(family: str) -> None:
    parts = Folder(folder(family), family)
    for part in ("transformer", "vae", "text_encoder"):
        for header in parts.weights(part).headers.values():
            names = [unwrapped(name) for name in header.tensors]
            assert not [n for n in names for kind in FOREIGN if kind.pattern.search(n.lower())]


def test_a_scale_beside_a_transformer_is_still_one_of_quantised_weights(tmp_path: Path) -> None:
    path = copied("pixart", tmp_path)
    file = path / "transformer/diffusion_pytorch_model.safetensors"
    change(file, lambda tensors: tensors | {"proj_out.scale_weight": torch.ones(1)})
    with pytest.raises(PriorError, match="transformer: expected plain weights, got quantised"):
        load_prior(str(path), CPU)


@pytest.mark.parametrize("family", model_sizes.FAMILIES)
def test_names_of_the_published_networks_mean_nothing_else(family: str) -> None:
    for size in ("tiny", "full"):
        for build in random_models.builders(model_sizes.networks(family, size)).values():
            with torch.device("meta"):
                names = list(build().state_dict())
            assert names == [unwrapped(name) for name in names]
            assert not [n for n in names for kind in FOREIGN if kind.pattern.search(n.lower())]
