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

from dfast.priors.loading.ldm_names import LDM_INSIDE, ldm_blocks
from dfast.priors.loading.leftovers import some
from dfast.priors.loading.lora_files import LoraFile, LoraLayer, lora_error
from dfast.priors.loading.networks import Float32
from dfast.priors.loading.weights import is_finite


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
    blocks = {_plain(own): new for own, new in ldm_blocks(network).items()} if match else {}
    if match is None or match[1] not in blocks:
        return _plain(name)
    inside = {_plain(own): new for own, new in LDM_INSIDE.items()}.get(match[2], match[2])
    return _plain(f"{blocks[match[1]]}.{inside}")
