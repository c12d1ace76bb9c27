"""Write model folders with transformers and random weights, in the published layout.

Tiny ones have every feature on which the code depends: several text encoders, masks, chat
templates, packed latents, statistics of the VAE. Full ones have the published transformer and VAE,
and text encoders of which only the width is published.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from dfast._files import replacing
from dfast.errors import ConfigError
from dfast.priors.loading.catalog import CATALOG
from dfast.priors.loading.quiet import quiet
from dfast.testing.language_models import (
    gemma_tokenizer,
    language_model,
    qwen_tokenizer,
    t5gemma_config,
)
from dfast.testing.model_sizes import NetworkConfig, Networks, Size
from dfast.testing.random_models import materialize, randomize, text_encoder_of, tokenizers_of
from dfast.testing.transformer_sizes import PUBLISHED


@dataclass(frozen=True)
class Pipeline:
    """The parts of one pipeline."""

    pipeline: str
    transformer: str
    config: NetworkConfig
    text: Networks
    """of the text encoders; its own networks are not used"""
    vae: str = "AutoencoderKL"
    channels: int = 16
    """of the VAE"""
    scheduler: tuple[str, dict[str, Any]] = (
        "FlowMatchEulerDiscreteScheduler",
        {"shift": 3.0},
    )
    vae_config: NetworkConfig | None = None
    """Arguments of the VAE's class; None for a tiny one."""
    index: dict[str, int] = field(default_factory=dict)
    """Other entries of its `model_index.json`."""


def _text(*kinds: str, widths: tuple[int, ...] = (32,)) -> Networks:
    activations = {"clip-projected": "gelu", "t5": "gated-gelu"}
    return Networks({}, None, widths, kinds, tuple(activations.get(k, "") for k in kinds))


_SOLVER = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}

TINY = {
    "pixart": Pipeline(
        "PixArtSigmaPipeline",
        "PixArtTransformer2DModel",
        {
            "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 8,
            "num_layers": 2, "cross_attention_dim": 16, "sample_size": 8, "caption_channels": 32,
            "use_additional_conditions": False,
        },
        _text("t5"),
        channels=4,
        scheduler=("DPMSolverMultistepScheduler", {"beta_end": 0.02, "beta_start": 0.0001}),
    ),
    "sd3": Pipeline(
        "StableDiffusion3Pipeline",
        "SD3Transformer2DModel",
        {
            "sample_size": 8, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2,
            "joint_attention_dim": 72, "caption_projection_dim": 16, "pooled_projection_dim": 64,
            "pos_embed_max_size": 12, "dual_attention_layers": (0,), "qk_norm": "rms_norm",
        },
        _text("clip-projected", "clip-projected", "t5", widths=(24, 40, 72)),
    ),
    "sana": Pipeline(
        "SanaPipeline",
        "SanaTransformer2DModel",
        {
            "in_channels": 8, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": 8,
            "num_layers": 1, "num_cross_attention_heads": 2, "cross_attention_head_dim": 8,
            "cross_attention_dim": 16, "caption_channels": 32, "sample_size": 8,
            "timestep_scale": 0.5,
        },
        _text("gemma2"),
        vae="AutoencoderDC",
        channels=8,
        scheduler=("DPMSolverMultistepScheduler", _SOLVER),
    ),
    "lumina2": Pipeline(
        "Lumina2Pipeline",
        "Lumina2Transformer2DModel",
        {
            "sample_size": 8, "hidden_size": 24, "num_layers": 1, "num_refiner_layers": 1,
            "num_attention_heads": 3, "num_kv_heads": 1, "multiple_of": 8,
            "axes_dim_rope": (4, 2, 2), "axes_lens": (300, 32, 32), "cap_feat_dim": 32,
        },
        _text("gemma2"),
        scheduler=("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
    ),
    "z-image": Pipeline(
        "ZImagePipeline",
        "ZImageTransformer2DModel",
        {
            "dim": 32, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
            "cap_feat_dim": 32, "axes_dims": [8, 4, 4], "axes_lens": [1024, 64, 64],
        },
        _text("qwen3"),
    ),
    "flux2": Pipeline(
        "Flux2KleinPipeline",
        "Flux2Transformer2DModel",
        {
            "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": 48, "timestep_guidance_channels": 16,
            "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": False,
        },
        _text("qwen3-causal", widths=(16,)),
        vae="AutoencoderKLFlux2",
        channels=4,
        scheduler=("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
    ),
    "prx": Pipeline(
        "PRXPipeline",
        "PRXTransformer2DModel",
        {
            "context_in_dim": 32, "hidden_size": 32, "num_heads": 2, "depth": 1,
            "axes_dim": [8, 8],
        },
        _text("t5gemma"),
    ),
    "qwen-image": Pipeline(
        "QwenImagePipeline",
        "QwenImageTransformer2DModel",
        {
            "in_channels": 64, "out_channels": 16, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": 32, "axes_dims_rope": (4, 6, 6),
        },
        _text("qwen2.5-vl"),
        vae="AutoencoderKLQwenImage",
        scheduler=(
            "FlowMatchEulerDiscreteScheduler",
            {"use_dynamic_shifting": True, "max_image_seq_len": 8192, "max_shift": 0.9},
        ),
    ),
    "wan": Pipeline(
        "WanPipeline",
        "WanTransformer3DModel",
        {
            "num_attention_heads": 2, "attention_head_dim": 16, "text_dim": 32, "freq_dim": 16,
            "ffn_dim": 32, "num_layers": 1, "rope_max_seq_len": 32,
        },
        _text("umt5"),
        vae="AutoencoderKLWan",
        scheduler=("UniPCMultistepScheduler", _SOLVER),
    ),
}  # fmt: skip
"""By family."""


@torch.no_grad()
def write_transformer(
    name: str,
    folder: str | Path,
    *,
    size: Size = "tiny",
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Path:
    """Write a diffusers folder with random weights.

    Args:
        name: one of `TINY`, or the short name of a model in `transformer_sizes.PUBLISHED`.
        folder: where to write; files in an existing folder are replaced.
        size: "tiny", in float32, or "full", in float16, which a family alone does not tell.
        device: where the weights of full networks are drawn, one network at a time.
        seed: of the weights; equal seeds write equal bytes.

    Returns:
        The folder.

    Raises:
        ConfigError: if there is no such model of this size.
    """
    made, folder = pipeline_of(name, size), Path(folder)
    diffusers: Any = import_module("diffusers")
    index: dict[str, Any] = {"_class_name": made.pipeline, **made.index}
    with quiet():
        for name, build in builders(made).items():
            if size == "full" and name in ("transformer", "vae"):
                module = materialize(build, torch.device(device), torch.float16, seed)
            else:
                module = _tiny_module(build, seed)
            module.save_pretrained(folder / name, safe_serialization=True)
            if type(module).__name__ == "T5GemmaEncoder":  # published with that of both halves
                t5gemma_config(module.config).save_pretrained(folder / name)
            library = "diffusers" if name in ("transformer", "vae") else "transformers"
            index[name] = [library, type(module).__name__]
        for name, tokenizer in _tokenizers(made).items():
            tokenizer.save_pretrained(folder / name)
            index[name] = ["transformers", type(tokenizer).__name__]
        kind, options = made.scheduler
        getattr(diffusers, kind)(**options).save_pretrained(folder / "scheduler")
        index["scheduler"] = ["diffusers", kind]
    with replacing(folder / "model_index.json") as temporary:
        temporary.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return folder


def pipeline_of(name: str, size: Size) -> Pipeline:
    """Return the parts of a pipeline.

    Args:
        name: as for `write_transformer`.
        size: as for `write_transformer`.

    Raises:
        ConfigError: if there is no such model of this size.
    """
    if size not in ("full", "tiny"):
        raise ConfigError(f"size: expected 'full' or 'tiny', got {size!r}")
    known = [*PUBLISHED] if size == "full" else [*TINY, *PUBLISHED]
    if name not in known:
        raise ConfigError(f"name: expected one of {', '.join(known)}, got {name!r}")
    tiny = TINY[name if name in TINY else CATALOG[name].family]
    if size == "tiny":
        return tiny
    published = PUBLISHED[name]
    return replace(
        tiny,
        config=published.transformer,
        text=replace(tiny.text, text_widths=published.text_widths),
        vae_config=published.vae,
        index=published.index,
    )


def _tiny_module(build: Callable[[], Any], seed: int) -> Any:
    """Return a small network with random weights; its tables are those of its class."""
    module = build().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    randomize(module, generator)
    if hasattr(module, "bn"):
        module.bn.running_mean.normal_(generator=generator)
        module.bn.running_var.uniform_(0.5, 2.0, generator=generator)
    return module


def builders(made: Pipeline) -> dict[str, Callable[[], Any]]:
    """Return a constructor for each network, by the name of its folder."""
    diffusers: Any = import_module("diffusers")
    found: dict[str, Callable[[], Any]] = {
        "transformer": lambda: getattr(diffusers, made.transformer)(**made.config),
        "vae": lambda: getattr(diffusers, made.vae)(**_vae(made)),
    }
    for i, kind in enumerate(made.text.text_kinds):
        name = "text_encoder" if i == 0 else f"text_encoder_{i + 1}"
        found[name] = lambda i=i, kind=kind: (  # type: ignore[misc]
            language_model(kind, made.text.text_widths[i])
            if kind.startswith(("gemma", "qwen", "t5gemma", "umt5"))
            else text_encoder_of(made.text, i)
        )
    return found


def _vae(made: Pipeline) -> NetworkConfig:
    """Return the arguments of the VAE."""
    if made.vae_config is not None:
        return made.vae_config
    if made.vae == "AutoencoderDC":
        return {
            "latent_channels": made.channels, "attention_head_dim": 4, "scaling_factor": 0.41407,
            "encoder_block_types": "ResBlock", "decoder_block_types": "ResBlock",
            "encoder_block_out_channels": (8, 8, 16), "decoder_block_out_channels": (8, 8, 16),
            "encoder_layers_per_block": (1, 1, 1), "decoder_layers_per_block": (1, 1, 1),
            "encoder_qkv_multiscales": ((), (), ()), "decoder_qkv_multiscales": ((), (), ()),
        }  # fmt: skip
    if made.vae in ("AutoencoderKLWan", "AutoencoderKLQwenImage"):
        return {"base_dim": 4, "num_res_blocks": 1}
    common: NetworkConfig = {
        "latent_channels": made.channels,
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    if made.vae == "AutoencoderKLFlux2" or made.channels == 4:
        return common
    return common | {
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }


def _tokenizers(made: Pipeline) -> dict[str, Any]:
    """Return the tokenizers by the names of their folders."""
    kind = made.text.text_kinds[0]
    if kind in ("gemma2", "t5gemma"):
        return {"tokenizer": gemma_tokenizer()}
    if kind.startswith("qwen"):
        return {"tokenizer": qwen_tokenizer()}
    if kind == "umt5":
        return tokenizers_of(_text("t5"))
    return tokenizers_of(made.text)
