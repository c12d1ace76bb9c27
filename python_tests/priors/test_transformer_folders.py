"""Priors of pipelines with a transformer: what is refused, their precision, what they cost."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import (
    PLAIN,
    PROMPT,
    TRANSFORMERS,
    copied,
    edit_json,
    folder,
    load_tiny,
    noise_like,
    pipeline,
)
from torch import Tensor

from dfast.config import Config, PriorConfig
from dfast.errors import DfastWarning, PriorError, PromptError
from dfast.priors import load_prior
from dfast.priors.loading import families
from dfast.priors.pipelines.conventions import CONVENTIONS
from dfast.runs.measurements import network_costs
from dfast.scene.cameras import orbit

CPU = torch.device("cpu")


def opened(family: str, **options: Any) -> Any:
    """The prior of a family at 64 pixels."""
    return load_tiny(family, **{"image_size": 64} | options)


@pytest.mark.parametrize(
    ("family", "file", "changes"),
    [
        ("flux2", "model_index.json", {"is_distilled": True}),
        ("flux2", "transformer/config.json", {"guidance_embeds": True}),
        ("sana", "transformer/config.json", {"guidance_embeds": True}),
    ],
)
def test_guidance_distilled_weights_are_refused(
    family: str, file: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    path = copied(family, tmp_path)
    edit_json(path / file, **changes)
    with pytest.raises(PriorError, match="expected weights with a true unconditional branch") as e:
        load_prior(str(path), CPU)
    assert "\n" not in str(e.value)


def test_names_that_tell_of_distillation_are_warned_of(tmp_path: Path) -> None:
    path = shutil.copytree(copied("z-image", tmp_path), tmp_path / "Z-Image-Turbo")
    with pytest.warns(DfastWarning, match=r"\(turbo\) says that its guidance was distilled"):
        load_prior(str(path), CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_prior(str(copied("z-image", tmp_path / "hyper")), CPU)  # only the last name counts


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "another pipeline": (
        "pixart", "model_index.json", {"_class_name": "PixArtAlphaPipeline"},
        "expected Stable Diffusion .* got a folder of PixArtAlphaPipeline with a PixArt",
    ),
    "two transformers": (
        "wan", "model_index.json", {"transformer_2": ["diffusers", "WanTransformer3DModel"]},
        "got a folder of WanPipeline with a WanTransformer3DModel",
    ),
    "another transformer": (
        "sd3", "transformer/config.json", {"_class_name": "FluxTransformer2DModel"},
        "got a folder of StableDiffusion3Pipeline with a FluxTransformer2DModel",
    ),
    "text width": (
        "sana", "text_encoder/config.json", {"hidden_size": 64},
        "text_encoder: expected hidden_size 32.* for this transformer, got 64",
    ),
    "an editor of images": (
        "qwen-image", "model_index.json", {"_class_name": "QwenImageEditPipeline"},
        "got a folder of QwenImageEditPipeline with a QwenImageTransformer2DModel",
    ),
    "layers of images": (
        "qwen-image", "transformer/config.json", {"use_layer3d_rope": True},
        "got a folder of QwenImagePipeline with a QwenImageTransformer2DModel",
    ),
    "text width of a model that sees": (
        "qwen-image", "text_encoder/config.json", {"text_config": {"hidden_size": 64}},
        "text_encoder: expected hidden_size 32.* for this transformer, got 64",
    ),
    "packed latents": (
        "qwen-image", "transformer/config.json", {"in_channels": 16},
        "vae: expected latent_channels 4 for this UNet, got 16",
    ),
    "another encoder": (
        "lumina2", "text_encoder/config.json", {"model_type": "qwen3"},
        "text_encoder: expected model_type 'gemma2' for this transformer, got 'qwen3'",
    ),
    "another scheduler": (
        "sd3", "scheduler/scheduler_config.json",
        {"_class_name": "DDIMScheduler", "beta_schedule": "linear"},
        "scheduler: expected one of a flow for this transformer, got one whose noise is defined",
    ),
    "a scheduler of flows": (
        "pixart", "scheduler/scheduler_config.json", {"use_flow_sigmas": True},
        "scheduler: expected one whose noise is defined by betas .* got one of a flow",
    ),
    "latents": (
        "z-image", "vae/config.json", {"latent_channels": 8}, "vae: expected latent_channels 16",
    ),
    "a patch of nothing": (
        "sd3", "transformer/config.json", {"patch_size": -2}, "patch_size: expected a positive",
    ),
    "a scale of time": (
        "sana", "transformer/config.json", {"timestep_scale": [1, 2]}, "one positive number",
    ),
    "layers": (
        "z-image", "transformer/config.json", {"n_layers": 100_000}, "n_layers: expected at most",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_folders_that_are_refused(what: str, tmp_path: Path) -> None:
    family, file, changes, message = REFUSED[what]
    path = copied(family, tmp_path)
    edit_json(path / file, **changes)
    with pytest.raises(PriorError, match=message) as caught:
        load_prior(str(path), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("sd3", {"image_size": 72}, "image_size: expected a multiple of 16, got 72"),
        ("sd3", {"attention_slicing": True}, "attention_slicing: expected false"),
        ("lumina2", {"compile": True}, "compile: expected false"),
        ("sana", {"vae_tiling": True}, "vae_tiling: expected false with an AutoencoderDC"),
    ],
)
def test_options_that_are_refused(family: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PriorError, match=message):
        load_tiny(family, **options)


def test_a_prompt_that_is_too_long_is_refused_with_its_template() -> None:
    with pytest.raises(PromptError, match="expected at most 512 tokens"):
        opened("z-image").check_text("chair " * 400, "")
    with pytest.raises(PromptError, match="expected at most 546 tokens"):  # 34 are not read
        opened("qwen-image").check_text("chair " * 400, "")


def test_the_instruction_of_sana_is_that_of_its_pipeline() -> None:
    import inspect

    from diffusers import SanaPipeline

    given = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"]
    assert CONVENTIONS["sana"].prefix == "\n".join(given.default)


def test_the_template_of_qwen_image_is_that_of_its_pipeline() -> None:
    (text,), pipe = CONVENTIONS["qwen-image"].text, pipeline("qwen-image")
    assert text.template == pipe.prompt_template_encode
    assert text.dropped == pipe.prompt_template_encode_start_idx


@pytest.mark.parametrize("family", ["sana", "z-image", "prx", "qwen-image"])
def test_half_precision_language_models_run_block_by_block(family: str) -> None:
    full, half = opened(family), opened(family, precision="bf16")
    wanted, got = (p.encode_prompt(PROMPT).tables["hidden"] for p in (full, half))
    assert half.dtype == torch.bfloat16
    assert (got - wanted).norm() / wanted.norm() < 2e-2


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_the_last_layer_runs_in_float32_beside_half_precision(family: str) -> None:
    prior = opened(family, precision="bf16", vae_precision="fp32")
    condition = prior.encode_prompt(PROMPT, views="none")
    noisy, t = noise_like(prior), torch.tensor([500, 20])
    got = prior.predict_noise(noisy, t, condition, cameras=None, textureless=PLAIN)
    wanted = opened(family).predict_noise(noisy, t, condition, cameras=None, textureless=PLAIN)
    kinds = {name: p.dtype for name, p in prior.unet.named_parameters()}
    assert set(kinds.values()) == {torch.bfloat16, torch.float32}
    if family == "wan":  # its class keeps some layers
        assert kinds["scale_shift_table"] == kinds["blocks.0.norm2.weight"] == torch.float32
    assert got.dtype == torch.float32 and (got - wanted).norm() / wanted.norm() < 5e-2


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_what_a_step_costs_is_known_where_it_can_be_called_without_weights(family: str) -> None:
    prior = opened(family)
    parts = prior.cost_parts()
    assert bool(parts) is prior.conventions.recorded is prior.cuda_graph_safe
    assert all(p.device.type == "meta" for part in parts.values() for p in part.parameters())
    if parts:
        costs = network_costs(prior, parts, Config.for_prior(family))
        assert all(cost.call.flops > 1e6 for cost in costs.values())


def test_every_row_of_the_table_is_tested_and_recognised() -> None:
    assert set(CONVENTIONS) == set(TRANSFORMERS) == set(families.TRANSFORMERS.values())
    for family, made in CONVENTIONS.items():
        assert families.TRANSFORMERS[made.transformer] == family


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("family", [f for f, made in CONVENTIONS.items() if made.recorded])
def test_predictions_are_recorded_in_a_cuda_graph(family: str) -> None:
    device = torch.device("cuda")
    options = PriorConfig(image_size=64, precision="fp32")
    prior: Any = load_prior(str(folder(family)), device, options=options)
    condition = prior.encode_prompt(PROMPT)
    noisy, t = noise_like(prior).to(device), torch.tensor([500, 20], device=device)
    cameras, plain = orbit(2).to(device), PLAIN.to(device)

    def predict() -> Tensor:
        found: Tensor = prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=plain, conditions=("text", "null")
        )
        return found

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        predict()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = predict()
    noisy.copy_(noise_like(prior, seed=7))
    t.fill_(300)
    graph.replay()
    torch.testing.assert_close(recorded, predict(), rtol=1e-4, atol=1e-4)
