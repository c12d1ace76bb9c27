"""The ways in which transformers of diffusers take latents: grids, videos, lists, packed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

PATCH = 2
"""Cells a side whose channels are those of one token, where a pipeline packs them itself."""


def call_grid(network: Any, noisy: Tensor, time: Tensor, texts: Mapping[str, Any]) -> Tensor:
    """Return the output of a transformer that takes latents as they are, [N, C', h, w].

    Args:
        network: the transformer.
        noisy: [N, C, h, w].
        time: [N].
        texts: what the text encoders gave, and constants, by argument of the transformer.
    """
    output: Tensor = network(noisy, timestep=time, return_dict=False, **texts)[0]
    return output


def call_video(network: Any, noisy: Tensor, time: Tensor, texts: Mapping[str, Any]) -> Tensor:
    """Return the output of a transformer of videos for videos of one frame; see `call_grid`."""
    return call_grid(network, noisy.unsqueeze(2), time, texts).squeeze(2)


def call_frames(network: Any, noisy: Tensor, time: Tensor, texts: Mapping[str, Any]) -> Tensor:
    """Return the output of a transformer that takes lists of videos of one frame; see `call_grid`.

    Each text has as many tokens as its mask says.
    """
    lengths = texts["mask"].sum(-1).tolist()
    captions = [row[:n] for row, n in zip(texts["cap_feats"], lengths, strict=True)]
    frames = list(noisy.unsqueeze(2).unbind(0))
    output = network(frames, time, captions, return_dict=False)[0]
    return torch.stack(list(output)).squeeze(2)


def call_packed(network: Any, noisy: Tensor, time: Tensor, texts: Mapping[str, Any]) -> Tensor:
    """Return the output of a transformer that takes a token for each cell; see `call_grid`.

    A token has four coordinates: time, row, column, and place in the text.
    """
    n, _, height, width = noisy.shape
    hidden = texts["encoder_hidden_states"]
    rows = torch.arange(height, device=noisy.device).repeat_interleave(width)
    columns = torch.arange(width, device=noisy.device).repeat(height)
    places = torch.arange(hidden.shape[1], device=noisy.device)
    zero, none = torch.zeros_like(rows), torch.zeros_like(places)
    output = network(
        hidden_states=noisy.flatten(2).transpose(1, 2),
        timestep=time,
        img_ids=torch.stack([zero, rows, columns, zero], -1).expand(n, -1, -1),
        txt_ids=torch.stack([none, none, none, places], -1).expand(n, -1, -1),
        return_dict=False,
        **texts,
    )[0]
    tokens: Tensor = output.transpose(1, 2)
    return tokens.unflatten(2, (height, width))


def call_patches(network: Any, noisy: Tensor, time: Tensor, texts: Mapping[str, Any]) -> Tensor:
    """Return the output of a transformer that takes a token for `PATCH` x `PATCH` cells.

    Their channels lie side by side, and the transformer is told the shape of the image in tokens;
    see `call_grid`.
    """
    patches = pixel_unshuffle(noisy, PATCH)
    height, width = patches.shape[-2:]
    output = network(
        hidden_states=patches.flatten(2).transpose(1, 2),
        timestep=time,
        img_shapes=[[(1, height, width)]] * len(noisy),
        return_dict=False,
        **texts,
    )[0]
    tokens: Tensor = output.transpose(1, 2)
    return pixel_shuffle(tokens.unflatten(2, (height, width)), PATCH)
