"""Tensors, files and settings that tell by their names that a part's weights are not plain.

Scales of quantised weights, adapters and other networks saved into one file change what the other
tensors mean. dfast applies none of them, so each is refused with what helps. Names of published
networks match none of these, which a test checks.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

from dfast.errors import PriorError
from dfast.priors.loading.folder import Folder, Weights
from dfast.priors.loading.leftovers import is_unread, some, unwrapped


class Kind(NamedTuple):
    """Tensors that change what the rest of a file means."""

    pattern: re.Pattern[str]
    """found in the names"""
    what: str
    """they are"""
    help: str
    """how to save a model without them"""


def _kind(pattern: str, what: str, help: str) -> Kind:
    return Kind(re.compile(pattern), what, help)


_MERGE = (
    "merge them before saving (fuse_lora() and unload_lora_weights() of the pipeline, "
    "merge_and_unload() of PEFT)"
)
_PLAIN = "save the model in float16, bfloat16 or float32"
_CONVERT = "convert it once with from_single_file(file).save_pretrained(folder)"

FOREIGN = (
    _kind(
        r"(^|[._])([a-z]*lora|dora|[a-z]?oft|hada|lokr|vera|ia3|loha)([._]|$)|(^|\.)(base_layer|"
        r"modules_to_save|original_module|magnitude_vector|diff_b|fourierft_\w+|shira_\w+|hra_\w+|"
        r"road_\w+|c3a_\w+|miss_\w+|bone_\w+|trainable_tokens_\w+|prompt_encoder)(\.|$)",
        "adapter layers (LoRA, PEFT)",
        _MERGE,
    ),
    _kind(
        r"(^|\.)(?!scale_shift_table$)(\w*_)?w?(scales?|scb|cb|absmax|amax|zeros?|zero_points?|qzeros|qweight|qdata|"
        r"qscales?|quant_map|quant_state|g_idx|codebooks?)(_\w+)?(\.|$)|(^|[._])(scaled_fp8|"
        r"comfy_quant|nested_absmax|nested_quant_map|weight_format|weight_packed|weight_shape|"
        r"smooth_factor|bitsandbytes__\w+|_packed_params|_quantizer)(\.|$)|weight\._(data|scale)",
        "quantised weights or their scales",
        _PLAIN,
    ),
    _kind(
        r"to_[kvq]_ip(\.|_)|(^|\.)(ip_adapter|image_proj|image_proj_model|image_projection_layers|"
        r"adapter_modules)(\.|$)",
        "an IP-Adapter",
        "call unload_ip_adapter() of the pipeline before saving",
    ),
    _kind(
        r"(^|\.)(motion_modules?|temporal_transformer|temp_attentions|temp_convs|transformer_in|"
        r"temporal_\w+|time_mixer|time_stack|time_pos_embed)(\.|$)",
        "motion modules of a video model",
        "save the UNet of the image model",
    ),
    _kind(
        r"(^|\.)(controlnet\w*|control_model|control_add|input_hint_block|t2i_adapter|adapter|"
        r"adapters)(\.|$)",
        "layers of a ControlNet or T2I-Adapter",
        "save the UNet without them",
    ),
    _kind(
        r"(^|\.)(string_to_param|string_to_token|emb_params|clip_[lg]|learned_embeds)(\.|$)|^<.+>$",
        "tokens of a textual inversion",
        "dfast has no place for learned tokens",
    ),
    _kind(
        r"(^|\.)(diffusion_model|first_stage_model|cond_stage_model|conditioner|input_blocks|"
        r"output_blocks|middle_block|resblocks)\.",
        "the layout of a checkpoint in one file",
        _CONVERT,
    ),
)
"""The first whose pattern is found names a tensor."""

LORA_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "pytorch_lora_weights.safetensors",
)
"""Files of adapters; loaders disagree on whether they are applied."""

_QUANTISER_FILES = (
    "quantization_map.json", "quanto_qmap.json", "quantize_config.json", "quant_config.json",
    "hf_quant_config.json", "quantization_config.json",
)  # fmt: skip

_PREDICTIONS = {
    "v_pred": ("prediction_type", "v_prediction"),
    "ztsnr": ("rescale_betas_zero_snr", True),
    "edm_mean": ("prediction_type", "edm"),
    "edm_vpred.sigma_max": ("prediction_type", "edm"),
}
"""Tensors that only mark what a network predicts, and what the scheduler must then say."""


def check_names(folder: Folder, part: str, weights: Weights, *, ldm: bool = False) -> None:
    """Check by names alone that no tensor changes what the others mean.

    Args:
        folder: the pipeline folder.
        part: of the folder.
        weights: its files.
        ldm: whether the part is published with the names of latent diffusion.

    Raises:
        PriorError: if one does, or if the configuration or metadata say that weights are quantised.
    """
    config = folder.config(part)
    for key in ("quantization_config", "compression_config"):
        if config.get(key) is not None:
            found = config[key]
            method = found.get("quant_method") if isinstance(found, dict) else None
            raise folder.error(
                f"{part}: expected plain weights, got quantised ones ({key} of its config.json"
                f"{f', {method}' if method else ''}); {_PLAIN}"
            )
    for file in folder.names(part):
        if file in LORA_FILES:
            raise folder.error(
                f"{part}: expected plain weights, got an adapter beside them ({file}); {_MERGE}"
            )
        if file in _QUANTISER_FILES:
            raise folder.error(
                f"{part}: expected plain weights, got quantised ones ({file}); {_PLAIN}"
            )
    for path, header in weights.headers.items():
        _check_prediction(folder, part, header.tensors)
        if marks := [key for key in header.metadata if "quantiz" in key.lower()]:
            raise _refusal(folder, part, marks, "quantised weights", f"{_PLAIN} ({path.name})")
        for pattern, what, help in FOREIGN[:-1] if ldm else FOREIGN:
            names = [key for key in header.tensors if pattern.search(key.lower())]
            if names := [key for key in names if not is_unread(part, unwrapped(key))]:
                raise _refusal(folder, part, names, what, help)


def _check_prediction(folder: Folder, part: str, names: Container[str]) -> None:
    """Raise PriorError if a mark among the tensors contradicts the scheduler's configuration."""
    if not (folder.has("scheduler") and any(mark in names for mark in _PREDICTIONS)):
        return
    config = folder.read("scheduler", "scheduler_config.json")
    for mark, (key, value) in _PREDICTIONS.items():
        if mark in names and config.get(key) != value:
            raise folder.error(
                f"{part}: its tensor {mark} says that it was trained with {key} {value!r}, but "
                f"scheduler_config.json has {config.get(key)!r}; correct that file"
            )


def _refusal(folder: Folder, part: str, keys: list[str], what: str, help: str) -> PriorError:
    return folder.error(f"{part}: expected plain weights, got {what}: {some(keys)}; {help}")
