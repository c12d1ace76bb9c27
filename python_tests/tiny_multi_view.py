"""A tiny random MVDream: its network in plain torch, and a folder in the published layout.

The network is written from the description of latent diffusion's UNet (Rombach et al. 2022) and of
MVDream (Shi et al. 2023, section 3.1), with the names that the published weights have. It shares
nothing with dfast or diffusers.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_models import edit_json
from torch import Tensor, nn

from dfast.testing import random_models

VIEWS = 4
CONFIG: dict[str, Any] = {
    "_class_name": "MultiViewUNetModel",
    "image_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "attention_resolutions": [2, 1],
    "num_res_blocks": 1,
    "channel_mult": [1, 2],
    "num_head_channels": 16,
    "transformer_depth": 1,
    "context_dim": 32,
    "use_checkpoint": False,
    "camera_dim": 16,
}
_ROOT = tempfile.TemporaryDirectory(prefix="dfast-tiny-")


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            made.unflatten(-1, (self.heads, -1))
            for made in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        scores = torch.einsum("bnhc,bmhc->bhnm", q, k) / math.sqrt(q.shape[-1])
        return self.to_out(torch.einsum("bhnm,bmhc->bnhc", scores.softmax(-1), v).flatten(2))


class _Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, -1)
        return x * F.gelu(gate)


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(_Gate(width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.attn1 = _Attention(width, heads, width)
        self.attn2 = _Attention(width, heads, context)
        self.ff = _FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, views: int) -> Tensor:
        tokens = x.shape[1]
        joint = self.norm1(x).reshape(-1, views * tokens, x.shape[-1])
        x = x + self.attn1(joint, joint).reshape(x.shape)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([_Block(width, heads, context)])

    def forward(self, x: Tensor, context: Tensor, views: int) -> Tensor:
        rows = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        rows = self.transformer_blocks[0](rows, context, views)
        return x + self.proj_out(rows).transpose(1, 2).reshape(x.shape)


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, embedding: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, after))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, after), nn.SiLU(), nn.Identity(), nn.Conv2d(after, after, 3, padding=1)
        )
        self.skip_connection: nn.Module = nn.Identity()
        if before != after:
            self.skip_connection = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        inside = self.in_layers(x) + self.emb_layers(embedding)[..., None, None]
        return self.skip_connection(x) + self.out_layers(inside)


class _Down(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)


class _Up(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)


def _embedding(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))


class MultiViewUNet(nn.Module):
    """MVDream's UNet."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        base, mults = config["model_channels"], config["channel_mult"]
        context, self.base = config["context_dim"], base

        def block(before: int, after: int, level: int) -> list[nn.Module]:
            found: list[nn.Module] = [_Residual(before, after, 4 * base)]
            if 2**level in config["attention_resolutions"]:
                found.append(_Transformer(after, heads(after), context))
            return found

        def heads(width: int) -> int:
            size = config.get("num_head_channels", -1)
            return int(config["num_heads"] if size == -1 else width // size)

        self.time_embed = _embedding(base, 4 * base)
        self.camera_embed = _embedding(config["camera_dim"], 4 * base)
        rows: list[list[nn.Module]] = [[nn.Conv2d(config["in_channels"], base, 3, padding=1)]]
        width, kept = base, [base]
        for level, mult in enumerate(mults):
            for _ in range(config["num_res_blocks"]):
                rows.append(block(width, mult * base, level))
                width = mult * base
                kept.append(width)
            if level < len(mults) - 1:
                rows.append([_Down(width)])
                kept.append(width)
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, rows))
        middle = _Residual(width, width, 4 * base), _Residual(width, width, 4 * base)
        attention = _Transformer(width, heads(width), context)
        self.middle_block = nn.ModuleList([middle[0], attention, middle[1]])
        rows = []
        for level, mult in reversed(list(enumerate(mults))):
            for i in range(config["num_res_blocks"] + 1):
                row = block(width + kept.pop(), mult * base, level)
                width = mult * base
                if level and i == config["num_res_blocks"]:
                    row.append(_Up(width))
                rows.append(row)
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, rows))
        last = nn.Conv2d(base, config["out_channels"], 3, padding=1)
        self.out = nn.Sequential(nn.GroupNorm(32, base), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, cameras: Tensor, views: int) -> Tensor:
        """Return the noise in x [B, C, h, w], of which `views` neighbours belong together."""
        half = self.base // 2
        rates = torch.exp(-math.log(10000.0) * torch.arange(half) / half)
        angles = t[:, None].float() * rates
        embedding = self.time_embed(torch.cat([angles.cos(), angles.sin()], -1))
        embedding = embedding + self.camera_embed(cameras)

        def through(row: Any, x: Tensor) -> Tensor:
            for layer in row:
                if isinstance(layer, _Residual):
                    x = layer(x, embedding)
                elif isinstance(layer, _Transformer):
                    x = layer(x, context, views)
                elif isinstance(layer, _Up):
                    x = layer.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
                else:
                    x = layer.op(x) if isinstance(layer, _Down) else layer(x)
            return x

        kept = []
        for row in self.input_blocks:
            x = through(row, x)
            kept.append(x)
        x = through(self.middle_block, x)
        for row in self.output_blocks:
            x = through(row, torch.cat([x, kept.pop()], 1))
        found: Tensor = self.out(x)
        return found


@torch.no_grad()
def reference(seed: int = 3, **changes: Any) -> MultiViewUNet:
    """Return a network of random weights, biases and norms included."""
    config = {k: v for k, v in (CONFIG | changes).items() if v is not ...}
    network = MultiViewUNet(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    random_models.randomize(network, generator)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def write(folder: Path, **changes: Any) -> Path:
    """Write a pipeline folder as mvdream_diffusers does, with settings of the UNet changed."""
    random_models.write("sd21", folder, size="tiny", seed=1)
    unet = folder / "unet"
    shutil.rmtree(unet)
    unet.mkdir()
    config = {k: v for k, v in (CONFIG | changes).items() if v is not ...}
    (unet / "config.json").write_text(json.dumps(config))
    (unet / "mv_unet.py").write_text("raise SystemExit('code beside the weights was run')\n")
    weights = {k: v.contiguous() for k, v in reference(**changes).state_dict().items()}
    save_file(weights, unet / "diffusion_pytorch_model.safetensors")
    classes = ["mv_unet", "MultiViewUNetModel"]
    edit_json(folder / "model_index.json", _class_name="MVDreamPipeline", unet=classes)
    edit_json(folder / "scheduler/scheduler_config.json", _class_name="DDIMScheduler")
    return folder


@functools.cache
def folder() -> Path:
    """Return a folder that tests must not change."""
    return write(Path(_ROOT.name) / "mvdream")
