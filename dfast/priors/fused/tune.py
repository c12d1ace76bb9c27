"""The same diffusion model in fewer kernels: faster from the first call, with nothing to compile.

`tune` changes the class of some modules of a diffusers UNet or VAE in place. What they compute
stays what diffusers computes, up to rounding; weights stay where they are. What changes:

- group normalisation, the activation behind it and what is added before it are one op;
- a convolution's bias is added by whoever reads or merges its result next;
- attention reads its queries, keys and values out of one product; above the head sizes that fused
  attention kernels are made for it is two products and a softmax;
- a 1x1 convolution is a matrix product, and the gate of a feed-forward layer one op.

Modules are recognised by their exact class and left alone where something about them is unusual.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import (
    Attention,
)
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from dfast.priors.fused.attention import _fuse_attention, _known_attention
from dfast.priors.fused.blocks import (
    FusedGEGLU,
    FusedGroupNorm,
    FusedResnet,
    FusedTransformer,
    _fuse_resnet,
    _known_resnet,
    activation_of,
)


def tune(module: nn.Module) -> nn.Module:
    """Make `module` faster in place, and return it.

    module: a UNet2DConditionModel, an AutoencoderKL or its encoder, or any part of them, in eval
    mode, its parameters frozen, where and in the precision in which it will run; best in
    channels-last memory. Gradients flow to its inputs. Weights loaded or moved later are not seen.

    Raises ValueError when it trains.
    """
    if module.training or any(p.requires_grad for p in module.parameters()):
        raise ValueError("module must be in eval mode with frozen parameters, got one that trains")
    for part in list(module.modules()):
        if type(part) is nn.GroupNorm and part.affine:
            part.__class__ = FusedGroupNorm
    for part in list(module.modules()):
        if type(part) is ResnetBlock2D and _known_resnet(part):
            _fuse_resnet(part)
        elif type(part) is Transformer2DModel and part.is_input_continuous:
            part.__class__ = FusedTransformer
        elif type(part) is Attention and _known_attention(part):
            _fuse_attention(part)
        elif type(part) is GEGLU:
            part.__class__ = FusedGEGLU
        _join_last_activation(part)
    _act_once(module)
    return module


def _join_last_activation(part: Any) -> None:
    """A model's last normalisation takes over the activation behind it."""
    last, act = getattr(part, "conv_norm_out", None), getattr(part, "conv_act", None)
    if type(last) is FusedGroupNorm and act is not None and (kind := activation_of(act)):
        last.activation = kind
        part.conv_act = nn.Identity()


def _act_once(unet: Any) -> None:
    """The time embedding's activation, the same before each of its products, taken once."""
    blocks = [m for m in unet.modules() if hasattr(m, "time_emb_proj")]
    if not hasattr(unet, "time_embed_act") or unet.time_embed_act is not None or not blocks:
        return
    kinds = {activation_of(b.nonlinearity) for b in blocks if type(b) is FusedResnet}
    whole = all(type(b) is FusedResnet and not b.skip_time_act for b in blocks)
    if whole and len(kinds) == 1 and not _others_hear_time(unet):
        unet.time_embed_act = blocks[0].nonlinearity
        for block in blocks:
            block.skip_time_act = True


def _others_hear_time(unet: nn.Module) -> bool:
    return any(
        type(m) is ResnetBlockCondNorm2D or getattr(m, "spatial_norm", None) is not None
        for m in unet.modules()
    )
