"""The loss that trains a CLIP (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HASH = 0x1E3779B97F4A7C15
"""An odd number of 61 bits, whose multiples tell rows of tokens apart."""


def contrastive_loss(images: Tensor, texts: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric cross entropy of pairs, each against all others of the batch.

    Pairs whose captions are equal are no wrong answers to each other, so they are left out.

    Args:
        images: [B, D] embeddings of length 1.
        texts: [B, D] embeddings of length 1.
        captions: [B, L] tokens, to find equal ones.
        scale: [] factor of cosines.
    """
    powers = (
        torch.arange(1, captions.shape[1] + 1, device=captions.device)
        * 0x9E3779B97F4A7C15
        % (2**61 - 1)
    )
    key = (captions.long() * powers).sum(1)  # wraps around; equal rows have equal keys
    same = key[:, None] == key
    same.fill_diagonal_(False)
    logits = (scale * images @ texts.mT).masked_fill(same, -math.inf)
    own = torch.arange(len(images), device=images.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.mT, own)) / 2
