"""LoRA files: the network computes W + strength (alpha / r) B A, whoever wrote the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    CPU,
    NEGATIVE,
    PLAIN,
    PROMPT,
    TRANSFORMERS,
    UNET,
    copied,
    folder,
    load_tiny,
    noise_like,
)
from torch import Tensor

import dfast
from dfast.config import PriorConfig
from dfast.errors import ConfigError, PriorError
from dfast.priors import load_prior
from dfast.priors.loading.lora_files import DENOISER, open_lora

RANK = 2
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1."
LAYERS = (f"{ATTENTION}to_q", f"{ATTENTION}to_out.0", "down_blocks.0.attentions.0.proj_in")
"""Linear layers and, in Stable Diffusion 1.5, a convolution of 1 x 1."""

Style = Callable[[dict[str, tuple[Tensor, Tensor]], float, Path], Path]
"""Writes B and A of each layer of the UNet, with an alpha, into a file."""


def matrices(weights: dict[str, Tensor], names: tuple[str, ...], seed: int = 0) -> Any:
    """Return (B, A) of layers, in the shapes of their weights."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    found = {}
    for name in names:
        weight = weights[f"{name}.weight"]
        ones = (1,) * (weight.ndim - 2)
        found[name] = draw(len(weight), RANK, *ones), draw(RANK, *weight.shape[1:])
    return found


def kohya(layers: Any, alpha: float, path: Path, prefix: str = "lora_unet_") -> Path:
    """Write names with underscores, and alpha as tensors."""
    state = {}
    for name, (up, down) in layers.items():
        stem = prefix + name.replace(".", "_")
        state |= {f"{stem}.lora_up.weight": up.clone(), f"{stem}.lora_down.weight": down}
        state[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(state, path)
    return path


def diffusers(layers: Any, alpha: float, path: Path) -> Path:
    """Write dotted names, and PEFT's configuration into the metadata."""
    state = {}
    for name, (up, down) in layers.items():
        state |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
    about = {"unet.r": RANK, "unet.lora_alpha": alpha, "unet.use_dora": False}
    save_file(state, path, {"format": "pt", "lora_adapter_metadata": json.dumps(about)})
    return path


def peft(layers: Any, alpha: float, path: Path) -> Path:
    """Write a folder as PEFT does, with its configuration beside the weights."""
    where = path.with_suffix("")
    where.mkdir()
    state = {}
    for name, (up, down) in layers.items():
        stem = f"base_model.model.{name}"
        state |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    save_file(state, where / "adapter_model.safetensors")
    (where / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": alpha}))
    return where


def merged_prediction(family: str, layers: Any, factor: float, tmp_path: Path) -> Tensor:
    """Return what a folder predicts in whose UNet the matrices were added by hand."""
    made = copied(family, tmp_path / "merged")
    state = load_file(made / UNET)
    for name, (up, down) in layers.items():
        weight = state[f"{name}.weight"]
        change = (up.flatten(1).double() @ down.flatten(1).double()).view(weight.shape)
        state[f"{name}.weight"] = (weight.double() + factor * change).float()
    save_file(state, made / UNET)
    return predict(load_prior(str(made), CPU))


def predict(prior: Any) -> Tensor:
    condition = prior.encode_prompt(PROMPT, views="none", negative=NEGATIVE)
    return prior.predict_noise(
        noise_like(prior), torch.tensor([200, 700]), condition, cameras=None, textureless=PLAIN,
        conditions=("text", "negative"),
    )  # fmt: skip


@pytest.mark.parametrize("family", ["sd15", "sd21", "if-m"])
@pytest.mark.parametrize("style", [kohya, diffusers, peft])
def test_the_network_is_that_with_the_sum_of_the_weights(
    family: str, style: Style, tmp_path: Path
) -> None:
    names = LAYERS if family != "if-m" else ("down_blocks.1.attentions.0.add_k_proj", "conv_out")
    layers = matrices(load_file(folder(family) / UNET), names)
    path = style(layers, 6.0, tmp_path / "style.safetensors")
    prior = load_tiny(family, lora=(f"{path}:0.5",))
    found, plain = predict(prior), predict(load_tiny(family))
    expected = merged_prediction(family, layers, 0.5 * 6.0 / RANK, tmp_path)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float((found - plain).abs().max()) > 1e-2
    (said,) = prior.lora
    assert "scale 1.5 = strength 0.5 x alpha / rank 3" in said and f"{len(names)} layers of" in said


def test_files_add_up_and_a_strength_of_zero_is_none(tmp_path: Path) -> None:
    weights = load_file(folder("sd15") / UNET)
    first = kohya(matrices(weights, LAYERS[:1]), 2.0, tmp_path / "a.safetensors")
    second = diffusers(matrices(weights, LAYERS[1:], 1), 4.0, tmp_path / "b.safetensors")
    both = predict(load_tiny("sd15", lora=(str(first), f"{second}:0.25")))
    layers = matrices(weights, LAYERS[:1])
    layers |= {k: (0.5 * b, a) for k, (b, a) in matrices(weights, LAYERS[1:], 1).items()}
    torch.testing.assert_close(
        both, merged_prediction("sd15", layers, 1.0, tmp_path), rtol=1e-4, atol=1e-5
    )
    none = load_tiny("sd15", lora=(f"{first}:0",))
    assert torch.equal(predict(none), predict(load_tiny("sd15")))


def test_layers_in_the_layout_of_sdxl(tmp_path: Path) -> None:
    """kohya-ss names the blocks of SDXL by its own code: the tiny one has one block a level."""
    names = {
        "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k":
            "input_blocks_3_1_transformer_blocks_1_attn2_to_k",
        "down_blocks.0.downsamplers.0.conv": "input_blocks_2_0_op",
        "mid_block.resnets.1.time_emb_proj": "middle_block_2_emb_layers_1",
        "mid_block.attentions.0.proj_in": "middle_block_1_proj_in",
        "up_blocks.0.attentions.1.proj_out": "output_blocks_1_1_proj_out",
        "up_blocks.0.upsamplers.0.conv": "output_blocks_1_2_conv",
        "up_blocks.1.resnets.1.conv_shortcut": "output_blocks_3_0_skip_connection",
    }  # fmt: skip
    layers = matrices(load_file(folder("sdxl") / UNET), tuple(names))
    path = kohya({names[k]: v for k, v in layers.items()}, 1.0, tmp_path / "xl.safetensors")
    found = predict(load_tiny("sdxl", lora=(str(path),)))
    expected = merged_prediction("sdxl", layers, 1.0 / RANK, tmp_path)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_transformers_are_changed_too(family: str, tmp_path: Path) -> None:
    prior = load_tiny(family)
    prior.load()
    state = prior.network.state_dict()
    name = next(n for n in state if n.endswith(("to_q.weight", "img_qkv_proj.weight")))
    layers = matrices(state, (name.removesuffix(".weight"),))
    ((layer, (up, down)),) = layers.items()
    stem, path = f"transformer.{layer}", tmp_path / "t.safetensors"
    tensors = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 8})})
    changed = load_tiny(family, lora=(str(path),))
    changed.load()
    expected = state[name] + 4.0 * up @ down
    torch.testing.assert_close(changed.network.state_dict()[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("style", ["kohya", "diffusers"])
@pytest.mark.parametrize(("family", "part"), [("sd15", ""), ("sdxl", "_2")])
def test_text_encoders_are_changed_and_their_cache_knows(
    style: str, family: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "cache"))
    where = f"text_encoder{part}/model.safetensors"
    state = load_file(folder(family) / where)
    name = next(k for k in state if k.endswith("layers.0.self_attn.q_proj.weight"))
    bare = name.removesuffix(".weight").removeprefix("text_model.")
    path = tmp_path / "t.safetensors"
    ((up, down),) = matrices(state, (name.removesuffix(".weight"),)).values()
    if style == "kohya":
        prefix = "lora_te2_text_model_" if part else "lora_te_text_model_"
        kohya({bare: (up, down)}, 10.0, path, prefix)
    else:
        stem = f"text_encoder{part}.text_model.{bare}"
        tensors = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
        about = {f"text_encoder{part}.lora_alpha": 10.0}
        save_file(tensors, path, {"lora_adapter_metadata": json.dumps(about)})
    plain = load_tiny(family).encode_prompt(PROMPT).tables["hidden"]
    found = load_tiny(family, lora=(str(path),)).encode_prompt(PROMPT).tables["hidden"]
    assert float((found - plain).abs().max()) > 1e-3
    made = copied(family, tmp_path)
    state[name] = state[name] + 5.0 * up @ down
    save_file(state, made / where, {"format": "pt"})
    expected = load_prior(str(made), CPU).encode_prompt(PROMPT).tables["hidden"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def one_layer() -> dict[str, Tensor]:
    """Return a file of one layer, without alpha."""
    return {
        "unet.a.to_q.lora_A.weight": torch.ones(4, 3),
        "unet.a.to_q.lora_B.weight": torch.ones(5, 4),
    }


@pytest.mark.parametrize(
    ("about", "scale", "source"),
    [
        (None, 1.0, "no alpha is stated: taken as the rank"),
        ({"unet.r": 4, "unet.lora_alpha": 16}, 4.0, "alpha of its configuration"),
        ({"r": 4, "lora_alpha": 2}, 0.5, "alpha of its configuration"),
        ({"unet.lora_alpha": 16, "unet.use_rslora": True}, 8.0, "alpha of its configuration"),
        ({"unet.lora_alpha": 16, "unet.alpha_pattern": {"to_q": 1}}, 0.25, "alpha of its"),
        ({"unet.lora_alpha": 16, "unet.alpha_pattern": {"o_q": 1}}, 4.0, "alpha of its"),
        ({"unet.r": 8, "unet.rank_pattern": {"a.to_q": 4}, "unet.lora_alpha": 2}, 0.5, "alpha of"),
        ({"text_encoder.lora_alpha": 16}, 1.0, "no alpha is stated"),
    ],
)
def test_alpha_as_peft_states_it(about: Any, scale: float, source: str, tmp_path: Path) -> None:
    metadata = {"lora_adapter_metadata": json.dumps(about)} if about else None
    save_file(one_layer(), tmp_path / "a.safetensors", metadata)
    made = open_lora(f"{tmp_path}/a.safetensors")
    (layer,) = made.parts[DENOISER]
    assert layer.scale == scale and source in str(made) and made.strength == 1.0


def test_alpha_as_kohya_states_it(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(one_layer(), path, {"ss_network_alpha": "1.0"})
    assert open_lora(str(path)).parts[DENOISER][0].scale == 0.25
    save_file(
        one_layer() | {"unet.a.to_q.alpha": torch.tensor(2.0)}, path, {"ss_network_alpha": "1"}
    )
    assert open_lora(str(path)).parts[DENOISER][0].scale == 0.5


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("unet.a.attn1.processor.to_q_lora", "a_attn1_to_q"),
        ("unet.a.attn1.processor.to_out_lora", "a_attn1_to_out_0"),
        ("unet.a.attn1.to_k.lora", "a_attn1_to_k"),
    ],
)
def test_names_of_2023(stem: str, name: str, tmp_path: Path) -> None:
    state = {f"{stem}.down.weight": torch.ones(2, 3), f"{stem}.up.weight": torch.ones(3, 2)}
    save_file(state, tmp_path / "a.safetensors")
    assert open_lora(f"{tmp_path}/a.safetensors").parts[DENOISER][0].name == name


ONE, TWO = torch.ones(1), torch.ones(2, 2)
BROKEN: dict[str, tuple[dict[str, Tensor], dict[str, Any], str]] = {
    "DoRA": ({**one_layer(), "unet.a.to_q.lora_magnitude_vector": ONE}, {}, r"got unet\.a\.to_q"),
    "LoHa": ({"lora_unet_a.hada_w1_a": TWO}, {}, "other kinds of adapters"),
    "half": ({"lora_unet_a.lora_down.weight": TWO}, {}, "incomplete, lora_unet_a"),
    "ranks": (
        {"lora_unet_a.lora_down.weight": torch.ones(3, 2), "lora_unet_a.lora_up.weight": TWO}, {},
        r"lora_up\.weight: expected \[out, 3\], got \[2, 2\]",
    ),
    "stated rank": (one_layer(), {"unet.r": 8, "unet.lora_alpha": 8}, "rank 8 is stated"),
    "alpha": (one_layer(), {"unet.lora_alpha": "much"}, "its configuration does not fit"),
    "no number": ({**one_layer(), "unet.a.to_q.alpha": ONE * torch.nan}, {}, "a finite number"),
    "DoRA by its configuration": (one_layer(), {"unet.use_dora": True}, "got DoRA"),
    "nothing": ({}, {}, "expected the matrices of a LoRA, got none"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_files_that_are_refused(what: str, tmp_path: Path) -> None:
    state, about, message = BROKEN[what]
    metadata = {"lora_adapter_metadata": json.dumps(about)} if about else None
    save_file(state, tmp_path / "a.safetensors", metadata)
    with pytest.raises(PriorError, match=message) as caught:
        load_tiny("sd15", lora=(f"{tmp_path}/a.safetensors",))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("prior.lora: ")


def test_files_that_do_not_fit_the_network(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    kohya({"down_blocks.9.to_q": (TWO, TWO)}, 1.0, path)
    with pytest.raises(PriorError, match="changes down_blocks_9_to_q, which this UNet2D"):
        load_tiny("sd15", lora=(str(path),)).load()
    kohya({LAYERS[0]: (TWO, TWO)}, 1.0, path)
    with pytest.raises(PriorError, match=r"expected \[16, 16\], got \[2, 2\] x \[2, 2\]"):
        load_tiny("sd15", lora=(str(path),)).load()
    layers = matrices(load_file(folder("sd15") / UNET), LAYERS[:1])
    kohya({k: (b * torch.inf, a) for k, (b, a) in layers.items()}, 1.0, path)
    with pytest.raises(PriorError, match="expected finite numbers"):
        load_tiny("sd15", lora=(str(path),)).load()
    kohya({"a": (TWO, TWO)}, 1.0, path, "lora_te2_")
    with pytest.raises(PriorError, match="changes the text_encoder_2, which"):
        load_tiny("sd15", lora=(str(path),))


def test_paths_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"lora: '/.*none\.safetensors': expected a safetensors"):
        load_tiny("sd15", lora=(str(tmp_path / "none.safetensors"),))
    with pytest.raises(PriorError, match="expected one of pytorch_lora_weights"):
        load_tiny("sd15", lora=(str(tmp_path),))
    (tmp_path / "a.bin").write_bytes(b"\x80\x04pickle, which is never read")
    with pytest.raises(PriorError, match="expected safetensors, whose loading runs no code"):
        load_tiny("sd15", lora=(str(tmp_path / "a.bin"),))
    with pytest.raises(PriorError, match=r"prior\.lora: expected none with the embedded"):
        load_prior("shapes", CPU, options=PriorConfig(lora=("a.safetensors",)))
    for text in ("", ":0.5", "a:nan", "a:101"):
        with pytest.raises(ConfigError, match=r"prior\.lora"):
            PriorConfig(lora=(text,))


@pytest.mark.usefixtures("needs_native")
def test_a_run_states_and_records_the_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfast.cli.main import main

    monkeypatch.chdir(tmp_path)
    layers = matrices(load_file(folder("sd15") / UNET), LAYERS)
    kohya(layers, 1.0, tmp_path / "style.safetensors")
    line = ["train", "a ball", "--prior", str(folder("sd15")), "--lora", "style.safetensors:0.5"]
    settings = {
        "field.grid.levels": 3, "field.grid.log2_entries": 10, "field.hidden": 8,
        "occupancy.resolution": 16, "march.step_size": 0.1, "camera.resolution": "[[0.0, 8]]",
    }  # fmt: skip
    line += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    assert main([*line, "--out", "run", "--steps", "1", "--device", "cpu", "--no-export"]) == 0
    said = "3 layers of the denoiser, scale 0.25 = strength 0.5 x alpha / rank 0.5"
    assert said in capsys.readouterr().err
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(about["lora"]) == 1 and said in about["lora"][0]
    config = dfast.load(tmp_path / "run").config
    assert config.prior.lora == (f"{tmp_path}/style.safetensors:0.5",)
