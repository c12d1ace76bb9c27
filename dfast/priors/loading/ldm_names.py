"""Names of a UNet's layers in the code of latent diffusion, and those of diffusers.

Stable Diffusion was written in that code, and so were SDXL and MVDream: files of LoRAs and weights
in its layout are still published.
"""

from __future__ import annotations

from typing import Any

LDM_INSIDE = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "op": "conv",
}
"""Names inside a block, and those of diffusers where they differ; "conv" stays."""
_AROUND = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "camera_embed.0": "class_embedding.linear_1",
    "camera_embed.2": "class_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
"""Layers outside the blocks; an embedding of cameras is MVDream's."""


def ldm_blocks(unet: Any) -> dict[str, str]:
    """Return the names in diffusers of a UNet's blocks, by those of latent diffusion.

    There all blocks on the way down are counted, from 1, the changes of resolution among them, and
    so are those on the way up, from 0, where a change of resolution belongs to the block before it.

    Args:
        unet: a `UNet2DConditionModel`; any other network has no such blocks.
    """
    if not hasattr(unet, "down_blocks"):
        return {}
    found = {
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
    }
    for here, there, number in (("down", "input", 1), ("up", "output", 0)):
        for i, block in enumerate(getattr(unet, f"{here}_blocks")):
            own = f"{here}_blocks.{i}"
            for j in range(len(block.resnets)):
                found[f"{there}_blocks.{number}.0"] = f"{own}.resnets.{j}"
                found[f"{there}_blocks.{number}.1"] = f"{own}.attentions.{j}"
                number += 1
            if getattr(block, "downsamplers", None):
                found[f"{there}_blocks.{number}.0"] = f"{own}.downsamplers.0"
                number += 1
            if getattr(block, "upsamplers", None):
                last = 2 if getattr(block, "attentions", None) else 1
                found[f"{there}_blocks.{number - 1}.{last}"] = f"{own}.upsamplers.0"
    return found


def ldm_name(key: str, blocks: dict[str, str]) -> str:
    """Return the name in diffusers of a tensor of latent diffusion; any other name stays.

    Args:
        key: name of the tensor.
        blocks: of its network, see `ldm_blocks`.
    """
    layer, _, leaf = key.rpartition(".")
    if layer in _AROUND:
        return f"{_AROUND[layer]}.{leaf}"
    path = layer.split(".")
    block = ".".join(path[: 2 if path[0] == "middle_block" else 3])
    inside = layer[len(block) + 1 :]
    if block not in blocks:
        return key
    return ".".join([blocks[block], LDM_INSIDE.get(inside, inside), leaf])
