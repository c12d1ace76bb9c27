"""Scores by a CLIP, as functions of embeddings of length 1, whose products are cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dfast.scene.views import VIEW_WORDS, view_index

READ = VIEW_WORDS[:3]
"""Views that are told apart: front, side and back."""
ROUNDS = 3
"""Means over neighbouring cameras in T3Bench."""


def normalized(prompt: str) -> str:
    """Return a prompt as Dream Fields writes captions before they are encoded.

    Args:
        prompt: any text.
    """
    return f"{prompt.lower().strip(' .,')}."


def view_texts(prompt: str) -> list[str]:
    """Return a prompt with each of the words `READ`, as the guidance of a run writes them.

    Args:
        prompt: any text.
    """
    return [f"{prompt.strip(' .,')}, {word} view" for word in READ]


def r_precision(images: Tensor, texts: Tensor, own: int) -> float:
    """Return the share of images whose nearest text is the one they were made from.

    Args:
        images: [V, D] embeddings of the views of one object.
        texts: [N, D] embeddings of all prompts.
        own: which of them is the object's.

    Returns:
        The share in [0, 1]; chance is 1 / N.
    """
    return float(((images @ texts.mT).argmax(1) == own).float().mean())


def similarity(images: Tensor, text: Tensor) -> float:
    """Return the mean cosine of images and a text.

    Args:
        images: [V, D] embeddings.
        text: [D] embedding.
    """
    return float((images @ text).mean())


def t3bench_quality(cosines: Tensor, neighbours: Tensor) -> float:
    """Return T3Bench's quality with cosines in place of ImageReward's scores.

    The best field of view counts of each camera; then each camera has the mean of itself and its
    neighbours, `ROUNDS` times, so that one lucky view does not decide; then the best camera counts.

    Args:
        cosines: [F, C] of the images of C cameras with F fields of view, and the prompt.
        neighbours: bool [C, C], which cameras are.
    """
    weights = neighbours.to(cosines) + torch.eye(len(neighbours)).to(cosines)
    weights = weights / weights.sum(1, keepdim=True)
    score = cosines.amax(0)
    for _ in range(ROUNDS):
        score = weights @ score
    return float(score.max())


class Janus(NamedTuple):
    """What a CLIP reads of the views of one object."""

    back_as_front: float
    """Share of the back views that it reads as front views: high for an object with two faces."""
    wrong: float
    """Share of all views whose word it reads wrong."""
    view_similarity: float
    """Mean cosine of images and the prompt with the word of the view."""
    confusion: tuple[tuple[float, ...], ...]
    """[3, 3] shares of the views of each word of `READ` that are read as each; rows add up to 1."""


def janus(images: Tensor, texts: Tensor, azimuths: Sequence[float]) -> Janus:
    """Return how well a CLIP tells from where it sees an object.

    Args:
        images: [V, D] embeddings of views at low elevations.
        texts: [3, D] embeddings of the prompt with each word, see `view_texts`.
        azimuths: V degrees, with views of every word among them.
    """
    degrees = torch.tensor(azimuths)
    true = view_index(degrees, torch.zeros_like(degrees)).to(images.device)
    cosines = images @ texts.mT
    read = cosines.argmax(1)
    pairs = one_hot(true, len(READ)).float().mT @ one_hot(read, len(READ)).float()
    shares = pairs / pairs.sum(1, keepdim=True)
    return Janus(
        back_as_front=float(shares[2, 0]),
        wrong=float((read != true).float().mean()),
        view_similarity=float(cosines.gather(1, true[:, None]).mean()),
        confusion=tuple(tuple(row) for row in shares.tolist()),
    )
