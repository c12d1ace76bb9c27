"""Tensors of a weights file that the network has no place for: what each of them means.

Dropping one in silence answers with another model than the one that was saved. A tensor that
changes what the others mean (a scale, an adapter) is refused by name; so is one inside a layer of
the network, which its configuration leaves out. A tensor that is known to be unread (a VAE's
decoder, a counter) is passed over. Any other stands beside the network, in a module that nothing
calls: most are remains of a training, so they are named in a warning and do not end the run.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from typing import NamedTuple

from dfast.errors import PriorError
from dfast.priors.loading.folder import Folder, Weights, shown


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
        r"(^|\.)(\w*_)?w?(scales?|scb|cb|absmax|amax|zeros?|zero_points?|qzeros|qweight|qdata|"
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

_PREDICTIONS = {
    "v_pred": ("prediction_type", "v_prediction"),
    "ztsnr": ("rescale_betas_zero_snr", True),
    "edm_mean": ("prediction_type", "edm"),
    "edm_vpred.sigma_max": ("prediction_type", "edm"),
}
"""Tensors that only mark what a network predicts, and what the scheduler must then say."""

_INPUTS = ("add_embedding", "class_embedding", "encoder_hid_proj", "position_net", "quant_conv")
"""Modules of UNets and VAEs that exist only if their configuration says so."""

_COUNTERS = (
    r"(^|\.)(position_ids|num_batches_tracked|n_averaged|(ema_|optimization_|global_)?(step|decay)|"
    r"num_updates|epoch|v_pred|ztsnr)$"
)
_UNREAD_TEXT = (
    r"^(text_model\.)?(text_projection\.|logit_scale$|vision_model\.|visual_projection\.|"
    r"lm_head\.|decoder\.|encoder\.embed_tokens\.)"
)
_UNREAD = {
    "unet": re.compile(_COUNTERS),
    "vae": re.compile(rf"{_COUNTERS}|^(decoder|post_quant_conv|loss)\."),
    "text_encoder": re.compile(f"{_COUNTERS}|{_UNREAD_TEXT}"),
    "text_encoder_2": re.compile(f"{_COUNTERS}|{_UNREAD_TEXT}"),
}
"""Names of tensors that are known to be unread, by part."""

_WRAPPERS = {
    "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module",
}  # fmt: skip
"""Segments that torch.compile, FSDP, checkpoint wrappers and DataParallel put into names."""
_HOLDERS = {"base_model", "model", "unet", "vae", "text_encoder", "text_encoder_2"}
"""Leading segments, of programs that save an object which holds the network."""


def unwrapped(key: str) -> str:
    """Return the name of a tensor without what wrappers of its network put into it.

    Args:
        key: name in a file.
    """
    path = [segment for segment in key.split(".") if segment not in _WRAPPERS]
    while len(path) > 1 and path[0] in _HOLDERS:
        del path[0]
    return ".".join(path)


def is_unread(part: str, key: str) -> bool:
    """Return whether a tensor is known to be none that dfast needs.

    Args:
        part: of the folder, such as "vae".
        key: its name without wrappers.
    """
    return _UNREAD[part].search(key) is not None


def check_names(folder: Folder, part: str, weights: Weights) -> None:
    """Check by names alone that no tensor changes what the others mean.

    Names of published networks match no pattern of `FOREIGN`.

    Args:
        folder: the pipeline folder.
        part: of the folder.
        weights: its files.

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
    for path, header in weights.headers.items():
        _check_prediction(folder, part, header.tensors)
        if marks := [key for key in header.metadata if "quantiz" in key.lower()]:
            raise _refusal(folder, part, marks, "quantised weights", f"{_PLAIN} ({path.name})")
        for pattern, what, help in FOREIGN:
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


def assign(
    folder: Folder,
    part: str,
    weights: Weights,
    expected: Iterable[str],
    rename: Callable[[str], str] = lambda key: key,
) -> tuple[dict[str, str], list[str]]:
    """Return (the name in the network by the name in the files, the names that have no place).

    Args:
        folder: the pipeline folder.
        part: of the folder.
        weights: its files.
        expected: names in the network.
        rename: from names in files without wrappers to names in the network.

    Raises:
        PriorError: if two tensors have the same place.
    """
    expected = set(expected)
    places: dict[str, str] = {}
    taken: dict[str, str] = {}  # the other way round
    rest: list[str] = []
    for header in weights.headers.values():
        for key in header.tensors:
            target = rename(key)
            target = target if target in expected else rename(unwrapped(key))
            if target not in expected:
                rest.append(key)
                continue
            if target in taken:
                raise folder.twice_error(part, target, taken[target], key)
            places[key], taken[target] = target, key
    return places, rest


def check_leftovers(
    folder: Folder, part: str, keys: Iterable[str], expected: Iterable[str]
) -> None:
    """Refuse or name in a warning what a network had no place for; see the head of this module.

    Args:
        folder: the pipeline folder.
        part: of the folder.
        keys: names of the tensors.
        expected: names in the network.

    Raises:
        PriorError: for tensors inside a layer of the network.
    """
    names = {key: unwrapped(key) for key in keys}
    rest = [key for key, name in names.items() if not is_unread(part, name)]
    modules = {_module(name) for name in expected} | set(_INPUTS)
    if inside := [key for key in rest if _module(names[key]) in modules]:
        raise folder.error(
            f"{part}: its weights have {_some(inside)}, for which the network of its config.json "
            "has no place, and which would change it; take both files from the same model"
        )
    if rest:
        warnings.warn(
            f"prior {folder.name!r}: {part} has tensors that dfast does not know and leaves out: "
            f"{_some(rest)}",
            stacklevel=2,
        )


def _module(name: str) -> str:
    """Return the top-level module of a tensor; text encoders are saved with and without a base."""
    return name.removeprefix("text_model.").split(".")[0]


def _refusal(folder: Folder, part: str, keys: list[str], what: str, help: str) -> PriorError:
    return folder.error(f"{part}: expected plain weights, got {what}: {_some(keys)}; {help}")


def _some(keys: list[str]) -> str:
    """Return up to three names, and how many more there are."""
    first = ", ".join(shown(key)[:120] for key in sorted(keys)[:3])
    return f"{first} and {len(keys) - 3} more" if len(keys) > 3 else first


def renamed(weights: Weights) -> Mapping[str, str]:
    """Return the names without wrappers of those tensors whose names have some."""
    keys = [key for header in weights.headers.values() for key in header.tensors]
    return {key: name for key in keys if (name := unwrapped(key)) != key}
