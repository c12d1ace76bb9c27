"""Run a diffusion model in fewer kernels: faster from the first call, with nothing to compile.

`tune` changes the class of some modules of a diffusers UNet or VAE in place. Their results are
those of diffusers up to rounding, and weights stay where they are. What changes:

- group normalisation, the activation after it and the addition before it are one op;
- a convolution's bias is added by the operation that reads its result;
- attention computes queries, keys and values in one matrix product; for heads too large for flash
  attention it is two products and a softmax, in chunks where the scores are many;
- a 1x1 convolution is a matrix product, and the gate of a feed-forward layer one op.

Modules are recognised by their exact class, and left as they are if a setting is not supported.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from dfast.priors.fused.attention import can_fuse_attention, fuse_attention
from dfast.priors.fused.blocks import (
    FusedGEGLU,
    FusedGroupNorm,
    FusedResnet,
    FusedTransformer,
    activation_name,
    can_fuse_resnet,
    fuse_resnet,
)


def tune(module: nn.Module) -> nn.Module:
    """Make a network faster in place. Gradients flow to its inputs only.

    Args:
        module: a UNet2DConditionModel, an AutoencoderKL or AutoencoderKLFlux2 or its encoder, or
            any part of them, in eval mode with frozen parameters, on the device and in the
            precision in which it will run; best in channels-last memory. Weights must not be loaded
            or moved afterwards.

    Returns:
        The module.

    Raises:
        ValueError: if it is in training mode or has parameters that need gradients.
    """
    if module.training or any(p.requires_grad for p in module.parameters()):
        raise ValueError("module must be in eval mode with frozen parameters, got one that trains")
    for part in list(module.modules()):
        if type(part) is nn.GroupNorm and part.affine:
            part.__class__ = FusedGroupNorm
    for part in list(module.modules()):
        if type(part) is ResnetBlock2D and can_fuse_resnet(part):
            fuse_resnet(part)
        elif type(part) is Transformer2DModel and part.is_input_continuous:
            part.__class__ = FusedTransformer
        elif type(part) is Attention and can_fuse_attention(part):
            fuse_attention(part)
        elif type(part) is GEGLU:
            part.__class__ = FusedGEGLU
        _fuse_last_activation(part)
    _share_time_activation(module)
    return module


def _fuse_last_activation(part: Any) -> None:
    """Fuse a model's last normalisation with the activation after it."""
    last, act = getattr(part, "conv_norm_out", None), getattr(part, "conv_act", None)
    if type(last) is FusedGroupNorm and act is not None and (kind := activation_name(act)):
        last.activation = kind
        part.conv_act = nn.Identity()


def _share_time_activation(unet: Any) -> None:
    """Activate the time embedding once, not in every block that projects it."""
    blocks = [m for m in unet.modules() if hasattr(m, "time_emb_proj")]
    if not hasattr(unet, "time_embed_act") or unet.time_embed_act is not None or not blocks:
        return
    kinds = {activation_name(b.nonlinearity) for b in blocks if type(b) is FusedResnet}
    all_fused = all(type(b) is FusedResnet and not b.skip_time_act for b in blocks)
    if all_fused and len(kinds) == 1 and not _others_use_time_embedding(unet):
        unet.time_embed_act = blocks[0].nonlinearity
        for block in blocks:
            block.skip_time_act = True


def _others_use_time_embedding(unet: nn.Module) -> bool:
    """Return whether layers other than ResNet blocks read the time embedding."""
    return any(
        type(m) is ResnetBlockCondNorm2D or getattr(m, "spatial_norm", None) is not None
        for m in unet.modules()
    )
