"""Run a diffusion model in fewer kernels: faster from the first call, with nothing to compile.

`tune` changes the class of some modules of a diffusers UNet or VAE in place. Their results are
those of diffusers up to rounding, and weights stay where they are. What changes:

- group normalisation, the activation after it and the addition before it are one op, and so are
  a residual addition and the layer normalisation after it;
- the time embedding is projected for all blocks in one matrix product;
- a convolution's bias is added by the operation that reads its result, and both gradients of a
  block's input are added in one launch;
- attention computes queries, keys and values in one matrix product; for heads too large for flash
  attention it is two products and a softmax, in chunks where the scores are many;
- a convolution that pads the far edges alone pads inside the convolution;
- a 1x1 convolution is a matrix product, and the gate of a feed-forward layer one op.

Modules are recognised by their exact class, and left as they are if a setting is not supported.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.vae import Encoder
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from dfast.priors.fused.attention import can_fuse_attention, fuse_attention
from dfast.priors.fused.encoder import FusedDownsample, can_fuse_downsample, defer_bias
from dfast.priors.fused.layers import FusedGEGLU, FusedGroupNorm, activation_name
from dfast.priors.fused.resnets import (
    FusedResnet,
    TimeProjections,
    can_fuse_resnet,
    fuse_resnet,
)
from dfast.priors.fused.transformers import FusedTransformer


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
        elif type(part) is Downsample2D and can_fuse_downsample(part):
            part.__class__ = FusedDownsample
        _fuse_last_activation(part)
    for part in module.modules():
        if type(part) is Encoder:
            defer_bias(part)
    _share_time_projections(module)
    return module


def _fuse_last_activation(part: Any) -> None:
    """Fuse a model's last normalisation with the activation after it."""
    last, act = getattr(part, "conv_norm_out", None), getattr(part, "conv_act", None)
    if type(last) is FusedGroupNorm and act is not None and (kind := activation_name(act)):
        last.activation = kind
        part.conv_act = nn.Identity()


def _share_time_projections(unet: Any) -> None:
    """Activate and project the time embedding once, not in every block that reads it."""
    blocks = [m for m in unet.modules() if getattr(m, "time_emb_proj", None) is not None]
    if not hasattr(unet, "time_embed_act") or not blocks or _others_use_time_embedding(unet):
        return
    if type(unet.time_embed_act) is TimeProjections or not all(
        type(b) is FusedResnet and b.skip_time_act == blocks[0].skip_time_act for b in blocks
    ):
        return
    activations = [] if unet.time_embed_act is None else [unet.time_embed_act]
    if not blocks[0].skip_time_act:
        if len({activation_name(b.nonlinearity) for b in blocks}) > 1:
            return
        activations.append(blocks[0].nonlinearity)
    unet.time_embed_act = TimeProjections(nn.Sequential(*activations), blocks)


def _others_use_time_embedding(unet: nn.Module) -> bool:
    """Return whether layers other than ResNet blocks read the time embedding."""
    return any(
        type(m) is ResnetBlockCondNorm2D or getattr(m, "spatial_norm", None) is not None
        for m in unet.modules()
    )
