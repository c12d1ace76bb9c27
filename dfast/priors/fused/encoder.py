"""The ends of an encoder's levels: its first convolution, and the strided ones.

The strided ones pad the far edges of an image only, while cuDNN pads both edges alike. Two pixels
at each edge make the outputs wanted, and one more in front of them: output i + 1 of the convolution
with both edges padded reads pixels 2 i, 2 i + 1 and 2 i + 2, as output i of the other does. So
nothing of the input's size is copied, neither forward nor backward; what is left out are a row and
a column of the output, a quarter as large.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.downsampling import Downsample2D
from torch import Tensor, nn

from dfast.ops import transforms
from dfast.priors.fused.resnets import FusedResnet


def can_fuse_downsample(layer: Any) -> bool:
    """Return whether `FusedDownsample` supports every setting of a Downsample2D."""
    conv = layer.conv
    return (
        layer.norm is None
        and layer.padding == 0
        and type(conv) is nn.Conv2d
        and conv.bias is not None
        and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (2, 2), (0, 0))
        and (conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), 1, "zeros")
    )


class FusedDownsample(Downsample2D):
    """Downsampling without a padded copy of its input. Gradients flow to the input only."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the image at half its size, [B, C', H / 2, W / 2] for [B, C, H, W]."""
        if transforms.active() or min(hidden_states.shape[-2:]) < 2:
            plain: Tensor = super().forward(hidden_states)
            return plain
        layer: Any = self.conv
        out: Tensor = _FarPadded.apply(hidden_states, layer.weight, layer.bias)
        return out


class _FarPadded(torch.autograd.Function):
    """Convolve with a stride of two, zeros after the last pixels, and a bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = x.shape
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        out = F.conv2d(x, weight, None, 2, 2)
        return out[..., 1 : 1 + height, 1 : 1 + width] + bias[:, None, None]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (dy,), (weight,) = grads, ctx.saved_tensors
        odd = [size % 2 for size in ctx.shape[-2:]]  # the last row, or column, that is left out
        dy = F.pad(dy, (1, odd[1], 1, odd[0]))
        # The values of the input play no part in its gradient, and torch would copy strided ones.
        like = torch.empty(
            ctx.shape, dtype=dy.dtype, device=dy.device, memory_format=torch.channels_last
        )
        sizes = ([2, 2], [2, 2], [1, 1], False, [0, 0], 1)  # stride, padding, dilation; one group
        of_input: list[bool] = [True, False, False]
        dx = torch.ops.aten.convolution_backward(dy, like, weight, None, *sizes, of_input)[0]
        return dx, None, None


def defer_bias(encoder: Any) -> None:
    """Let the first ResNet block of an encoder add the bias of the convolution before it.

    Nothing else reads the convolution. Encoders with other blocks are left as they are.
    """
    conv, first = encoder.conv_in, encoder.down_blocks[0]
    block = getattr(first, "resnets", [None])[0]
    if (
        type(conv) is nn.Conv2d
        and conv.bias is not None
        and conv.padding_mode == "zeros"
        and type(block) is FusedResnet
        and block.conv_shortcut is block.upsample is block.downsample is None
    ):
        conv.__class__ = _WithoutBias
        block.before_norm1 = conv.bias.detach()
        block.after_conv2 = block.after_conv2 + block.before_norm1


class _WithoutBias(nn.Conv2d):
    """A convolution whose bias is added elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of the input alone."""
        return F.conv2d(
            input, self.weight, None, self.stride, self.padding, self.dilation, self.groups
        )
