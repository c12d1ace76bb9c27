"""Merge LoRA files into networks: W + strength (alpha / r) B A, in float32, before it is rounded.

A layer of the file without a place in the network is refused: left out, it would answer with
another model than the one that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfast.priors.loading.leftovers import some
from dfast.priors.loading.lora_files import LoraFile, LoraLayer, lora_error
from dfast.priors.loading.networks import Float32
from dfast.priors.loading.weights import is_finite

_SGM_INSIDE = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
    "op": "conv",
}
"""Names inside a block in the layout of SDXL's own code, and those of diffusers."""


def merge_lora(network: nn.Module, files: Sequence[LoraFile], part: str) -> None:
    """Add to the weights of a network what LoRA files change in it.

    Args:
        network: with weights in floating point, on its device.
        files: applied one after the other.
        part: of each file that belongs to the network, see `LoraFile.parts`.

    Raises:
        PriorError: if a layer has no place or another shape, or a number is not finite.
    """
    if not any(part in file.parts for file in files):
        return
    places = _places(network)
    for file in files:
        layers = file.parts.get(part, ())
        names = [_own_name(network, layer.name) for layer in layers]
        if lost := [n for n in names if n not in places]:
            raise lora_error(
                file.path, f"it changes {some(lost)}, which this {type(network).__name__} lacks"
            )
        _merge(file, {places[n]: layer for n, layer in zip(names, layers, strict=True)})


@torch.no_grad()
def _merge(file: LoraFile, layers: dict[nn.Module, LoraLayer]) -> None:
    """Add to each module what its layer of the file says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file.path, framework="pt") as tensors:
            for module, layer in layers.items():
                weight: Any = module.weight
                down, up = (tensors.get_tensor(key).to(weight.device) for key in layer[1:3])
                weight.copy_(_merged(file, layer, weight, down, up))
    except (SafetensorError, OSError) as error:
        raise lora_error(file.path, f"cannot be read ({error})") from error


def _merged(file: LoraFile, layer: LoraLayer, weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """Return W + strength (alpha / r) B A in the type of W."""
    outputs, inputs = weight.shape[0], weight[0].numel()
    if down[0].numel() != inputs or up.flatten(1).shape != (outputs, len(down)):
        shapes = f"{list(up.shape)} x {list(down.shape)}"
        raise lora_error(file.path, f"{layer.down}: expected {list(weight.shape)}, got {shapes}")
    change = up.float().flatten(1) @ down.float().flatten(1)
    merged = (weight.float() + file.strength * layer.scale * change.view(weight.shape)).to(weight)
    if not is_finite(merged):
        raise lora_error(file.path, f"{layer.down}: expected finite numbers, got others")
    return merged


def _places(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that a LoRA can change, by their names with underscores."""
    found: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            above, _, last = name.rpartition(".")
            wrapped = last == "layer" and isinstance(network.get_submodule(above), Float32)
            found[_plain(above if wrapped else name)] = module
    return found


def _plain(name: str) -> str:
    """Return the name of a module as it is compared: text encoders are with and without a base."""
    return name.replace(".", "_").removeprefix("text_model_")


def _own_name(network: Any, name: str) -> str:
    """Return the name in a network of a layer that a file names, perhaps in SDXL's own layout."""
    match = re.fullmatch(r"((?:input|output)_blocks_\d+_\d+|middle_block_\d+)_(\w+)", name)
    blocks = _sgm_blocks(network) if match else {}
    if match is None or match[1] not in blocks:
        return _plain(name)
    return f"{blocks[match[1]]}_{_SGM_INSIDE.get(match[2], match[2])}"


def _sgm_blocks(unet: Any) -> dict[str, str]:
    """Return the names in diffusers of a UNet's blocks, by those of SDXL's own code.

    There all blocks on the way down are counted, from 1, the changes of resolution among them, and
    so are those on the way up, from 0, where a change of resolution belongs to the block before it.
    """
    if not hasattr(unet, "down_blocks"):
        return {}
    found = {
        "middle_block_0": "mid_block_resnets_0",
        "middle_block_1": "mid_block_attentions_0",
        "middle_block_2": "mid_block_resnets_1",
    }
    count = 1
    for i, block in enumerate(unet.down_blocks):
        for j in range(len(block.resnets)):
            found[f"input_blocks_{count}_0"] = f"down_blocks_{i}_resnets_{j}"
            found[f"input_blocks_{count}_1"] = f"down_blocks_{i}_attentions_{j}"
            count += 1
        if getattr(block, "downsamplers", None):
            found[f"input_blocks_{count}_0"] = f"down_blocks_{i}_downsamplers_0"
            count += 1
    count = 0
    for i, block in enumerate(unet.up_blocks):
        for j in range(len(block.resnets)):
            found[f"output_blocks_{count}_0"] = f"up_blocks_{i}_resnets_{j}"
            found[f"output_blocks_{count}_1"] = f"up_blocks_{i}_attentions_{j}"
            count += 1
        if getattr(block, "upsamplers", None):
            last = 2 if getattr(block, "attentions", None) else 1
            found[f"output_blocks_{count - 1}_{last}"] = f"up_blocks_{i}_upsamplers_0"
    return found
