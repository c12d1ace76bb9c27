"""Write model folders with random weights, in the layout of the published ones.

They replace downloads where only sizes matter: speed and memory at full size, and every code path
in tests at tiny size. The weights are such that activations stay finite in half precision; the
images mean nothing.
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
from dfast.priors.loading.quiet import quiet
from dfast.testing.model_sizes import Networks, Size, networks

WORDS = 77
"""Tokens of a prompt in every family."""


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
    """Write a diffusers folder with random weights.

    Args:
        family: one of `model_sizes.FAMILIES`.
        folder: where to write; files in an existing folder are replaced.
        size: "full" or "tiny".
        device: where the weights are drawn, one network at a time.
        dtype: of the weights, by default float16 at full size and float32 otherwise.
        variant: part of the weights' file names, such as "fp16".
        prediction: what the UNet predicts, "epsilon" or "v_prediction".
        seed: of the weights; equal seeds write equal bytes.

    Returns:
        The folder.

    Raises:
        ConfigError: if there is no such family or size.
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
        for name, tokenizer in tokenizers_of(made).items():
            tokenizer.save_pretrained(folder / name)
        scheduler_of(family, prediction).save_pretrained(folder / "scheduler")
    with replacing(folder / "model_index.json") as temporary:
        temporary.write_text(json.dumps(index_of(family, made), indent=2) + "\n", encoding="utf-8")
    return folder


def builders(made: Networks) -> dict[str, Callable[[], Any]]:
    """Return a constructor for each network with weights, by the name of its folder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    found: dict[str, Callable[[], Any]] = {"unet": partial(UNet2DConditionModel, **made.unet)}
    if made.vae is not None:
        found["vae"] = partial(AutoencoderKL, **made.vae)
    for i, name in enumerate(_numbered("text_encoder", made)):
        found[name] = partial(text_encoder_of, made, i)
    return found


def materialize(
    build: Callable[[], Any], device: torch.device, dtype: torch.dtype, seed: int = 0
) -> Any:
    """Return the module that `build` constructs, with random weights.

    Args:
        build: constructs the module; it is called on the meta device.
        device: where the weights are.
        dtype: of the weights.
        seed: of the weights.
    """
    with torch.device("meta"):
        module = build().to(dtype)
    module = module.to_empty(device=device).eval().requires_grad_(False)
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    generator = torch.Generator(device).manual_seed(seed)
    randomize(module, generator)
    for buffer in module.buffers():
        if buffer.is_floating_point():  # tables of positions, or statistics with a variance
            buffer.uniform_(0.5, 2.0, generator=generator)
        elif not buffer.ndim:  # a count
            buffer.zero_()
    return module


@torch.no_grad()
def write_tiny_vae(
    folder: str | Path,
    *,
    channels: int = 4,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **settings: Any,
) -> Path:
    """Write an AutoencoderTiny with random weights, by default of the published size.

    Args:
        folder: where to write.
        channels: of the latents.
        device: where the weights are drawn.
        dtype: of the weights.
        seed: of the weights.
        settings: other arguments of its class.

    Returns:
        The folder.
    """
    from diffusers import AutoencoderTiny

    build = partial(AutoencoderTiny, latent_channels=channels, **settings)
    with quiet():
        materialize(build, torch.device(device), dtype, seed).save_pretrained(folder)
    return Path(folder)


@torch.no_grad()
def randomize(module: nn.Module, generator: torch.Generator) -> None:
    """Set norms to the identity, biases to 0 and weights to normal, with variance 1 / fan-in."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            scale = parameter[0].numel() ** -0.5
            parameter.normal_(0.0, scale, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    for buffer in module.buffers():
        if buffer.ndim and not buffer.is_floating_point():  # positions
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))


def _numbered(name: str, made: Networks) -> list[str]:
    """Return the folder names of the text encoders or tokenizers."""
    return [name if i == 0 else f"{name}_{i + 1}" for i in range(len(made.text_kinds))]


def text_encoder_of(made: Networks, i: int) -> Any:
    """Return text encoder i of a family.

    It has two layers, because some pipelines use the last but one.
    """
    transformers: Any = import_module("transformers")  # its type stubs lack keyword arguments
    kind, width, activation = made.text_kinds[i], made.text_widths[i], made.text_activations[i]
    if kind == "t5":
        shape = {"d_model": width, "d_kv": 16, "d_ff": 64, "num_heads": 2, "num_layers": 1}
        config = transformers.T5Config(
            vocab_size=_t5_tokenizer().vocab_size,
            feed_forward_proj=activation,
            is_encoder_decoder=False,
            use_cache=False,
            **shape,
        )
        return transformers.T5EncoderModel(config)
    config = transformers.CLIPTextConfig(
        vocab_size=len(_clip_vocabulary()),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=WORDS,
        hidden_act=activation,
        projection_dim=width,
        pad_token_id=1,
        bos_token_id=_clip_vocabulary()["<|startoftext|>"],
        eos_token_id=_clip_vocabulary()["<|endoftext|>"],
    )
    projected = kind == "clip-projected"
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(
        config
    )


def tokenizers_of(made: Networks) -> dict[str, Any]:
    """Return the tokenizers by the names of their folders."""
    found = {}
    for i, name in enumerate(_numbered("tokenizer", made)):
        found[name] = _t5_tokenizer() if made.text_kinds[i] == "t5" else clip_tokenizer(i)
    return found


_PAIRS = tuple(product(ascii_lowercase, repeat=2))
"""Pairs of letters that are one token; otherwise the longest prompts of a run would not fit."""


def _clip_vocabulary() -> dict[str, int]:
    """Return a vocabulary of ASCII characters and pairs of letters, within words and at their ends.

    "!" is 0, with which the second encoder pads.
    """
    pieces = [*(chr(code) for code in range(33, 127)), *(a + b for a, b in _PAIRS)]
    words = [*pieces, *(f"{piece}</w>" for piece in pieces)]
    return {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def clip_tokenizer(i: int = 0) -> Any:
    """Return the tokenizer of text encoder i, which pads as that encoder does."""
    from transformers import CLIPTokenizer

    pad = "<|endoftext|>" if i == 0 else "!"
    merges: Any = [*((a, f"{b}</w>") for a, b in _PAIRS), *_PAIRS]
    return CLIPTokenizer(
        vocab=_clip_vocabulary(), merges=merges, pad_token=pad, model_max_length=WORDS
    )


def _t5_tokenizer() -> Any:
    """Return a tokenizer of single characters and pairs of letters."""
    transformers: Any = import_module("transformers")
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    return transformers.T5TokenizerFast(
        vocab=[*pieces, *((p, -3.0) for p in [*letters, *(a + b for a, b in _PAIRS)])],
        extra_ids=0,
        model_max_length=WORDS,
    )


def scheduler_of(family: str, prediction: str) -> Any:
    """Return the scheduler that the family is published with."""
    import diffusers

    if family.startswith("if"):
        return diffusers.DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            variance_type="learned_range",
            prediction_type=prediction,
            thresholding=True,
            dynamic_thresholding_ratio=0.95,
            sample_max_value=1.5,
        )
    betas: dict[str, Any] = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": prediction,
        "steps_offset": 1,
    }
    if family == "sdxl":
        return diffusers.EulerDiscreteScheduler(timestep_spacing="leading", **betas)
    return diffusers.PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, **betas)


def index_of(family: str, made: Networks) -> dict[str, Any]:
    """Return the content of `model_index.json`."""
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
    found["scheduler"] = ["diffusers", type(scheduler_of(family, "epsilon")).__name__]
    if family == "sdxl":
        return found | {"force_zeros_for_empty_prompt": True}
    absent: list[None] = [None, None]
    return found | {
        "safety_checker": absent,
        "feature_extractor": absent,
        "requires_safety_checker": False,
    }
