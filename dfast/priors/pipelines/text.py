"""The sentences of a run, and how much of each a condition has for each camera."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dfast.errors import PriorError
from dfast.priors.base import Condition
from dfast.scene.cameras import CameraBatch
from dfast.scene.views import VIEW_WORDS, perp_neg_views, view_index, view_weights

PROMPT_ROW = 0
"""Row of the prompt without a view."""
VIEW_ROWS = 1
"""Row of the prompt with the first of `VIEW_WORDS`; the others follow."""
NEGATIVE_ROW = VIEW_ROWS + len(VIEW_WORDS)
NULL_ROW = NEGATIVE_ROW + 1
NUM_SENTENCES = NULL_ROW + 1

VIEW_CONDITIONING = ("camera", "words", "none")
"""Values of `views` in `Prior.encode_prompt`."""


class TextCondition(NamedTuple):
    """The encoded sentences of R runs, usually one."""

    tables: dict[str, Tensor]
    """[R NUM_SENTENCES, ...] float32 by name: "hidden" [., L, D], and what else the family needs"""
    views: str
    """one of `VIEW_CONDITIONING`"""

    def mix(self, weights: Tensor, images: int) -> dict[str, Tensor]:
        """Return mixtures of the sentences, [N, ...] by name.

        Args:
            weights: [N, NUM_SENTENCES], rows that sum to one, for each condition of each image.
            images: B; the first B / R of them are of the first run, and so on.
        """
        runs = len(next(iter(self.tables.values()))) // NUM_SENTENCES
        if runs > 1:  # a row of weights for the sentences of all runs
            run = torch.arange(len(weights), device=weights.device) % images * runs // images
            own = torch.nn.functional.one_hot(run, runs).to(weights.dtype)
            weights = (own[:, :, None] * weights[:, None]).flatten(1)
        return {
            name: (weights @ table.flatten(1)).unflatten(1, table.shape[1:])
            for name, table in self.tables.items()
        }


def sentences_of(prompt: str, negative: str) -> list[str]:
    """Return the sentences of a run, one a row."""
    with_views = [f"{prompt}, {word} view" for word in VIEW_WORDS]
    return [prompt, *with_views, negative, ""]


def sentence_weights(
    condition: Condition, views: str, cameras: CameraBatch | None, like: Tensor
) -> Tensor:
    """Return how much of each sentence a condition has, [B, NUM_SENTENCES] float32.

    Args:
        condition: what is predicted under.
        views: one of `VIEW_CONDITIONING`. "camera" blends the prompts of all views by
            `view_weights`, "words" takes one of them by the rule of DreamFusion.
        cameras: B cameras; None without view conditioning.
        like: [B, ...], for the batch size and device.

    Raises:
        PriorError: if the condition needs cameras and there are none.
    """
    batch = like.shape[0]
    rows = torch.arange(NUM_SENTENCES, device=like.device)
    fixed = {"negative": NEGATIVE_ROW, "null": NULL_ROW}
    if condition in fixed or (condition == "text" and (cameras is None or views == "none")):
        return (rows == fixed.get(condition, PROMPT_ROW)).float().expand(batch, -1)
    if cameras is None:
        raise PriorError(f"prior: expected cameras for the condition {condition!r}, got None")
    azimuth, elevation = cameras.azimuth, cameras.elevation
    if condition == "text" and views == "camera":
        blend = view_weights(azimuth, elevation).float()
        before, after = VIEW_ROWS, NUM_SENTENCES - NEGATIVE_ROW
        zeros = blend.new_zeros
        return torch.cat([zeros(batch, before), blend, zeros(batch, after)], -1)
    if condition == "text":
        word = view_index(azimuth, elevation)
    else:
        word = perp_neg_views(azimuth)[("perp_neg_front", "perp_neg_side").index(condition)]
    return (rows == VIEW_ROWS + word[:, None]).float()
