"""Model folders with random weights, in the layout of the published ones.

They stand in for downloads where only sizes matter: speed and memory at full size, and every code
path in tests at tiny size. Norms pass through, biases are 0 and weights are scaled by their fan-in,
so activations stay finite in half precision; the pictures mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from torch import nn

from dfast._files import replacing
from dfast.priors.loading._quiet import quiet
from dfast.testing.model_sizes import Networks, Size, networks

WORDS = 77
"""Tokens of a sentence in every family."""


@torch.no_grad()
def write(
    family: str,
    folder: str | Path,
    *,
    size: Size = "full",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    variant: str | None = None,
    prediction: str = "epsilon",
    seed: int = 0,
) -> Path:
    """Write a diffusers folder of `family` (see `model_sizes.FAMILIES`); returns its path.

    dtype: of the weights; None is float16 at full size and float32 else. variant: part of the
    weights' names, such as "fp16". prediction: "epsilon" or "v_prediction". device: where the
    weights are drawn, one part at a time. An existing folder is written over. Raises ConfigError.
    """
    made = networks(family, size)
    folder, device = Path(folder), torch.device(device)
    dtype = dtype or (torch.float16 if size == "full" else torch.float32)
    with quiet():
        for name, build in builders(made).items():
            module = materialize(build, device, dtype, seed)
            options: dict[str, Any] = {"variant": variant} if variant else {}
            module.save_pretrained(folder / name, safe_serialization=True, **options)
            del module
        for name, tokenizer in _tokenizers(made).items():
            tokenizer.save_pretrained(folder / name)
        _scheduler(family, prediction).save_pretrained(folder / "scheduler")
    with replacing(folder / "model_index.json") as temporary:
        temporary.write_text(json.dumps(_index(family, made), indent=2) + "\n", encoding="utf-8")
    return folder


def builders(made: Networks) -> dict[str, Callable[[], Any]]:
    """A constructor for each part with weights, by the name of its folder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    found: dict[str, Callable[[], Any]] = {"unet": partial(UNet2DConditionModel, **made.unet)}
    if made.vae is not None:
        found["vae"] = partial(AutoencoderKL, **made.vae)
    for i, name in enumerate(_numbered("text_encoder", made)):
        found[name] = partial(_text_encoder, made, i)
    return found


def materialize(
    build: Callable[[], Any], device: torch.device, dtype: torch.dtype, seed: int = 0
) -> Any:
    """The module that `build` makes, with random weights on `device`."""
    with torch.device("meta"):
        module = build().to(dtype)
    module = module.to_empty(device=device).eval().requires_grad_(False)
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    randomize(module, torch.Generator(device).manual_seed(seed))
    return module


@torch.no_grad()
def randomize(module: nn.Module, generator: torch.Generator) -> None:
    """Norms pass through, biases are 0, weights are normal with variance 1 / fan-in."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            scale = parameter[0].numel() ** -0.5
            parameter.normal_(0.0, scale, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    for buffer in module.buffers():
        if not buffer.is_floating_point():  # positions
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))


def _numbered(name: str, made: Networks) -> list[str]:
    return [name if i == 0 else f"{name}_{i + 1}" for i in range(len(made.text_kinds))]


def _text_encoder(made: Networks, i: int) -> Any:
    """Two layers of the right width: some callers want the last but one's output."""
    transformers: Any = import_module("transformers")  # its stubs do not know keyword settings
    kind, width, activation = made.text_kinds[i], made.text_widths[i], made.text_activations[i]
    if kind == "t5":
        shape = {"d_model": width, "d_kv": 16, "d_ff": 64, "num_heads": 2, "num_layers": 1}
        config = transformers.T5Config(
            vocab_size=_t5_tokenizer().vocab_size, feed_forward_proj=activation,
            is_encoder_decoder=False, use_cache=False, **shape,
        )  # fmt: skip
        return transformers.T5EncoderModel(config)
    config = transformers.CLIPTextConfig(
        vocab_size=len(_clip_vocabulary()), hidden_size=width, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=WORDS,
        hidden_act=activation, projection_dim=width, pad_token_id=1,
        bos_token_id=_clip_vocabulary()["<|startoftext|>"],
        eos_token_id=_clip_vocabulary()["<|endoftext|>"],
    )  # fmt: skip
    projected = kind == "clip-projected"
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(
        config
    )


def _tokenizers(made: Networks) -> dict[str, Any]:
    found = {}
    for i, name in enumerate(_numbered("tokenizer", made)):
        found[name] = _t5_tokenizer() if made.text_kinds[i] == "t5" else _clip_tokenizer(i)
    return found


_PAIRS = tuple(product(ascii_lowercase, repeat=2))
"""Of letters that are one token, without which the words of a run are too many."""


def _clip_vocabulary() -> dict[str, int]:
    """Every ASCII character, and pair of letters, within a word and at its end; the second family
    pads with "!", 0.
    """
    pieces = [*(chr(code) for code in range(33, 127)), *(a + b for a, b in _PAIRS)]
    words = [*pieces, *(f"{piece}</w>" for piece in pieces)]
    return {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def _clip_tokenizer(i: int) -> Any:
    from transformers import CLIPTokenizer

    pad = "<|endoftext|>" if i == 0 else "!"
    merges: Any = [*((a, f"{b}</w>") for a, b in _PAIRS), *_PAIRS]
    return CLIPTokenizer(
        vocab=_clip_vocabulary(), merges=merges, pad_token=pad, model_max_length=WORDS
    )


def _t5_tokenizer() -> Any:
    """Single characters and pairs of letters."""
    transformers: Any = import_module("transformers")
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    return transformers.T5TokenizerFast(
        vocab=[*pieces, *((p, -3.0) for p in [*letters, *(a + b for a, b in _PAIRS)])],
        extra_ids=0,
        model_max_length=WORDS,
    )


def _scheduler(family: str, prediction: str) -> Any:
    import diffusers

    if family.startswith("if"):
        return diffusers.DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", variance_type="learned_range",
            prediction_type=prediction, thresholding=True, dynamic_thresholding_ratio=0.95,
            sample_max_value=1.5,
        )  # fmt: skip
    betas: dict[str, Any] = {
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
        "prediction_type": prediction, "steps_offset": 1,
    }  # fmt: skip
    if family == "sdxl":
        return diffusers.EulerDiscreteScheduler(timestep_spacing="leading", **betas)
    return diffusers.PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, **betas)


def _index(family: str, made: Networks) -> dict[str, Any]:
    """What `model_index.json` says."""
    import diffusers

    pipeline = {"sdxl": "StableDiffusionXLPipeline"}.get(family, "StableDiffusionPipeline")
    if family.startswith("if"):
        pipeline = "IFPipeline"
    models = {
        "clip": ("CLIPTextModel", "CLIPTokenizer"),
        "clip-projected": ("CLIPTextModelWithProjection", "CLIPTokenizer"),
        "t5": ("T5EncoderModel", "T5TokenizerFast"),
    }
    found: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    found["unet"] = ["diffusers", "UNet2DConditionModel"]
    if made.vae is not None:
        found["vae"] = ["diffusers", "AutoencoderKL"]
    encoders, tokenizers = _numbered("text_encoder", made), _numbered("tokenizer", made)
    for kind, encoder, tokenizer in zip(made.text_kinds, encoders, tokenizers, strict=True):
        found[encoder], found[tokenizer] = (["transformers", name] for name in models[kind])
    found["scheduler"] = ["diffusers", type(_scheduler(family, "epsilon")).__name__]
    if family == "sdxl":
        return found | {"force_zeros_for_empty_prompt": True}
    absent: list[None] = [None, None]
    return found | {
        "safety_checker": absent, "feature_extractor": absent, "requires_safety_checker": False
    }  # fmt: skip
