"""The embedded prior's UNet as plain modules: no other library is imported for it.

The layout is that of diffusers' `UNet2DConditionModel`, whose folder it reads: ResNet blocks, with
transformer blocks at the lower resolutions that read the text. On CUDA the normalisations, gates
and residual additions are dfast's own fused ops.

Shapes: B images, C channels, H x W pixels, N = H W rows, M text tokens of D channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfast.ops.attention import attend
from dfast.ops.gated import geglu, merge
from dfast.ops.group_norm import Activation, group_norm
from dfast.ops.layer_norm import add_layer_norm


class GroupNorm(nn.GroupNorm):
    """Group normalisation with what stands beside it: an addition before, an activation after."""

    def forward(
        self, input: Tensor, activation: Activation = "none", add: Tensor | None = None
    ) -> Tensor:
        """Return activation(norm(input + add)), [B, C, H, W].

        Args:
            input: [B, C, H, W].
            activation: "none" or "silu".
            add: [B, C] or None.
        """
        if input.is_cuda and (add is None or not add.requires_grad):
            parameters = self.num_groups, self.weight, self.bias
            return group_norm(input, *parameters, eps=self.eps, activation=activation, add=add)
        x = super().forward(input if add is None else input + add[..., None, None])
        return F.silu(x) if activation == "silu" else x


def _pixel_linear(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution as a matrix product, which adds its bias: [B, C', H, W]."""
    rows = F.linear(x.movedim(1, -1), layer.weight.flatten(1), layer.bias)
    return rows.movedim(-1, 1)


def add_residual(x: Tensor, h: Tensor, bias: Tensor) -> Tensor:
    """Return x + h + bias, where bias [C] is that of the layer that computed h."""
    return merge(x, h, bias) if x.is_cuda else x + (h + bias[:, None, None])


class ResnetBlock(nn.Module):
    """Two convolutions, with the time embedding added between them.

    A convolution's bias is added by the operation that reads its result.
    """

    def __init__(self, channels: int, out: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(groups, channels), GroupNorm(groups, out)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, out)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor, add: Tensor) -> Tensor:
        """Return [B, C', H, W] for x [B, C, H, W] and what is added before norm 2, [B, C']."""
        last = self.conv2.bias
        assert last is not None
        h = F.conv2d(self.norm1(x, "silu"), self.conv1.weight, padding=1)
        h = F.conv2d(self.norm2(h, "silu", add), self.conv2.weight, padding=1)
        if self.conv_shortcut is not None:
            x = _pixel_linear(self.conv_shortcut, x) if x.is_cuda else self.conv_shortcut(x)
        return add_residual(x, h, last)

    def time_terms(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias by which a time embedding becomes what is added before norm 2."""
        first = self.conv1.bias
        assert first is not None
        return self.time_emb_proj.weight, self.time_emb_proj.bias + first


class Attention(nn.Module):
    """Multi-head attention of rows to themselves or to a text; the projections are stacked."""

    def __init__(self, channels: int, heads: int, text: int | None = None) -> None:
        super().__init__()
        self.heads, self.is_cross = heads, text is not None
        if text is None:
            self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        else:
            self.to_q = nn.Linear(channels, channels, bias=False)
            self.to_kv = nn.Linear(text, 2 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, rows: Tensor, text: Tensor) -> Tensor:
        """Return [B, N, C] for rows [B, N, C]; text [B, M, D] is read by cross-attention."""
        if self.is_cross:
            q, (k, v) = self.to_q(rows), self.to_kv(text).chunk(2, -1)
        else:
            q, k, v = self.to_qkv(rows).chunk(3, -1)
        return self.to_out(attend(q, k, v, self.heads))


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text, and a gated feed-forward layer."""

    def __init__(self, channels: int, heads: int, text: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.attn1, self.attn2 = Attention(channels, heads), Attention(channels, heads, text)
        self.widen = nn.Linear(channels, 8 * channels)  # values and gates
        self.narrow = nn.Linear(4 * channels, channels)

    def forward(self, rows: Tensor, text: Tensor) -> Tensor:
        """Return [B, N, C] for rows [B, N, C] and text [B, M, D]."""
        rows, normed = self._add_and_norm(self.norm1, rows, None)
        rows, normed = self._add_and_norm(self.norm2, rows, self.attn1(normed, text))
        rows, normed = self._add_and_norm(self.norm3, rows, self.attn2(normed, text))
        h = self.widen(normed)
        if h.is_cuda and not h.requires_grad:
            h = geglu(h)
        else:
            value, gate = h.chunk(2, -1)
            h = value * F.gelu(gate)
        return rows + self.narrow(h)

    @staticmethod
    def _add_and_norm(
        norm: nn.LayerNorm, rows: Tensor, add: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return rows + add and its normalisation."""
        if rows.is_cuda and not torch.is_grad_enabled():
            return add_layer_norm(rows, add, norm.weight, norm.bias, eps=norm.eps)
        rows = rows if add is None else rows + add
        return rows, norm(rows)


class Transformer(nn.Module):
    """A transformer block over the pixels of an image, added to it."""

    def __init__(self, channels: int, heads: int, text: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.block = TransformerBlock(channels, heads, text)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Return [B, C, H, W] for x [B, C, H, W] and text [B, M, D]."""
        rows = self.proj_in(self.norm(x).movedim(1, -1).flatten(1, 2))
        rows = F.linear(self.block(rows, text), self.proj_out.weight)
        return add_residual(x, rows.unflatten(1, x.shape[2:]).movedim(-1, 1), self.proj_out.bias)


class Level(nn.Module):
    """The blocks of one resolution, on the way down or up, and the change of resolution."""

    def __init__(self, resnets: list[ResnetBlock], attentions: list[Transformer]) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(resnets), nn.ModuleList(attentions)
        self.resize: nn.Conv2d | None = None

    def block(self, index: int, x: Tensor, add: Tensor, text: Tensor) -> Tensor:
        """Apply one ResNet block, and the transformer after it if there is one."""
        x = self.resnets[index](x, add)
        return self.attentions[index](x, text) if len(self.attentions) else x


class UNet(nn.Module):
    """Predict v from a noisy image and a ray map, a time, a text and a camera vector."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Build the network with untrained weights.

        Args:
            config: what `config.json` of diffusers holds; the settings that `build_unet` leaves
                alone are taken for granted.
        """
        super().__init__()
        self._stacked: tuple[Tensor, Tensor] | None = None
        self.config = dict(config)
        widths, groups = config["block_out_channels"], config["norm_num_groups"]
        heads, text = config["attention_head_dim"], config["cross_attention_dim"]
        first, time = widths[0], 4 * widths[0]
        self.conv_in = nn.Conv2d(config["in_channels"], first, 3, padding=1)
        self.time_embedding = _embedding(first, time)
        scale = config.get("time_cond_proj_dim")
        self.scale_projection = nn.Linear(scale, first, bias=False) if scale else None
        self.class_embedding = _embedding(config["projection_class_embeddings_input_dim"], time)

        def resnet(channels: int, out: int) -> ResnetBlock:
            return ResnetBlock(channels, out, time, groups)

        def attention(kind: str, count: int, channels: int) -> list[Transformer]:
            count = count if kind.startswith("CrossAttn") else 0
            return [Transformer(channels, heads, text, groups) for _ in range(count)]

        layers, levels, skips, channels = config["layers_per_block"], len(widths), [first], first
        self.down = nn.ModuleList()
        for i, (kind, out) in enumerate(zip(config["down_block_types"], widths, strict=True)):
            inputs = [channels, *[out] * (layers - 1)]
            level = Level([resnet(c, out) for c in inputs], attention(kind, layers, out))
            skips += layers * [out]
            if i < levels - 1:
                level.resize = nn.Conv2d(out, out, 3, stride=2, padding=1)
                skips.append(out)
            self.down.append(level)
            channels = out
        self.mid = Level(
            [resnet(channels, channels) for _ in range(2)],
            [Transformer(channels, heads, text, groups)],
        )
        self.up = nn.ModuleList()
        for i, (kind, out) in enumerate(zip(config["up_block_types"], widths[::-1], strict=True)):
            inputs = [c + skips.pop() for c in [channels, *[out] * layers]]
            level = Level([resnet(c, out) for c in inputs], attention(kind, layers + 1, out))
            if i < levels - 1:
                level.resize = nn.Conv2d(out, out, 3, padding=1)
            self.up.append(level)
            channels = out
        self.conv_norm_out = GroupNorm(groups, channels)
        self.conv_out = nn.Conv2d(channels, config["out_channels"], 3, padding=1)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        text: Tensor,
        camera: Tensor,
        scale_features: Tensor | None = None,
    ) -> Tensor:
        """Return v, [B, 3 S, H, W], where S pixels are the channels of one.

        Args:
            x: [B, 6 S, H, W] noisy images and ray maps.
            t: [B] timesteps.
            text: [B, M, D] encoded captions.
            camera: [B, F] camera vectors.
            scale_features: [B, G] features of the guidance scale, for a network that was distilled
                to predict guided noise in one call (Meng et al. 2022, arXiv 2210.03142).
        """
        times = waves(t, self.conv_in.out_channels).to(x.dtype)
        if scale_features is not None:
            assert self.scale_projection is not None, "the network reads no guidance scale"
            times = times + self.scale_projection(scale_features)
        time = self.time_embedding(times)
        adds = self._time_adds(F.silu(time + self.class_embedding(camera)))
        x = self.conv_in(x)
        skips = [x]
        for level in _levels(self.down):
            for index in range(len(level.resnets)):
                x = level.block(index, x, next(adds), text)
                skips.append(x)
            if level.resize is not None:
                x = level.resize(x)
                skips.append(x)
        x = self.mid.resnets[0](x, next(adds))
        x = self.mid.resnets[1](self.mid.attentions[0](x, text), next(adds))
        for level in _levels(self.up):
            for index in range(len(level.resnets)):
                x = level.block(index, torch.cat([x, skips.pop()], 1), next(adds), text)
            if level.resize is not None:
                x = level.resize(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        v: Tensor = self.conv_out(self.conv_norm_out(x, "silu"))
        return v

    def stack_projections(self) -> None:
        """Project the time embedding for all ResNet blocks in one product from now on.

        Weights must not be trained, loaded or moved afterwards.
        """
        weights, biases = zip(*(block.time_terms() for block in self._resnets()), strict=True)
        self._stacked = torch.cat(weights).detach(), torch.cat(biases).detach()

    def _time_adds(self, time: Tensor) -> Iterator[Tensor]:
        """Return what each ResNet block adds before norm 2, [B, C'], in the order of their use."""
        if self._stacked is None:
            return (F.linear(time, *block.time_terms()) for block in self._resnets())
        widths = [block.time_emb_proj.out_features for block in self._resnets()]
        return iter(F.linear(time, *self._stacked).split(widths, 1))

    def _resnets(self) -> Iterator[ResnetBlock]:
        """Yield all ResNet blocks in the order of their use, which is that of their making."""
        return (module for module in self.modules() if isinstance(module, ResnetBlock))


def _levels(modules: nn.ModuleList) -> list[Level]:
    """Return the modules of a list that holds levels, as such."""
    return [module for module in modules if isinstance(module, Level)]


def waves(t: Tensor, count: int) -> Tensor:
    """Return cosines and sines of times [B] at `count` / 2 frequencies, float32 [B, count]."""
    half = count // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angle = t[:, None].float() * torch.exp(-math.log(10000) * steps / half)
    return torch.cat([angle.cos(), angle.sin()], -1)


def _embedding(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, out), nn.SiLU(), nn.Linear(out, out))


def from_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a `UNet2DConditionModel` under the names of `UNet`.

    Args:
        state: by diffusers' names.
    """
    renamed = {_renamed(name): tensor for name, tensor in state.items()}
    stacked: dict[str, Tensor] = {}
    for name in list(renamed):
        stem, _, kind = name.removesuffix(".weight").rpartition(".")
        if kind == "to_k":
            is_self = ".attn1" in stem
            parts = [f"{stem}.{part}.weight" for part in ("to_q", "to_k", "to_v")[not is_self :]]
            stacked[f"{stem}.{'to_qkv' if is_self else 'to_kv'}.weight"] = torch.cat(
                [renamed.pop(part) for part in parts]
            )
    for name, tensor in renamed.items():  # 1x1 convolutions are matrix products here
        is_matrix = ".proj_in." in name or ".proj_out." in name
        stacked[name] = tensor.flatten(1) if is_matrix and tensor.ndim == 4 else tensor
    return stacked


_NAMES = {
    "down_blocks.": "down.",
    "up_blocks.": "up.",
    "mid_block.": "mid.",
    ".downsamplers.0.conv.": ".resize.",
    ".upsamplers.0.conv.": ".resize.",
    ".transformer_blocks.0.": ".block.",
    ".to_out.0.": ".to_out.",
    ".ff.net.0.proj.": ".widen.",
    ".ff.net.2.": ".narrow.",
    "time_embedding.cond_proj.": "scale_projection.",
    "_embedding.linear_1.": "_embedding.0.",
    "_embedding.linear_2.": "_embedding.2.",
}


def _renamed(name: str) -> str:
    """Return the name that a tensor of diffusers has here, but for stacked projections."""
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name
