"""All geometries of the procedural world as tensors, and their captions as tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfast.priors.embedded.model import TEXT_LENGTH
from dfast.scene.views import VIEW_WORDS
from dfast.world import grammar
from dfast.world.objects import PRIMITIVES
from dfast.world.parts import COLORS, MAX_PARTS, PALETTE, PLAIN
from dfast.world.scenes import PartTable, ProceduralScene, part_table

SLOTS = 2
_SLOT_TOKEN, _ARTICLE_TOKEN = -10, -20  # minus the slot; replaced when colours are drawn
SHARE = {"single": 0.22, "stack": 0.25, "pair": 0.18, "composed": 0.35}
"""Probability of each kind of caption."""


class Geometries:
    """All geometries of the grammar as tensors: parts, colour slots, caption templates.

    A colour slot is a place for a colour word in the caption, and the parts that have it.
    """

    def __init__(self, tokenizer: Any, device: torch.device) -> None:
        self.scenes = [grammar.parse(c) for c in grammar.catalogue(both_orders=True)]
        self.device = device
        tables = [part_table(s.parts, MAX_PARTS) for s in self.scenes]
        self.table = PartTable(*(torch.stack(f).to(device) for f in zip(*tables, strict=True)))
        slot, fixed, tokens, length, allowed = [], [], [], [], []
        for scene in self.scenes:
            pad = [0] * (MAX_PARTS - len(scene.parts))
            colors = [p.color for p in scene.parts]
            slot.append([c if isinstance(c, int) else -1 for c in colors] + pad)
            fixed.append([COLORS.index(c) if isinstance(c, str) else 0 for c in colors] + pad)
            row, n = _caption_template(scene, tokenizer)
            tokens.append(row)
            length.append(n)
            allowed.append(_allowed_colors(scene))
        to = lambda rows: torch.tensor(rows, device=device)  # noqa: E731
        self.slot, self.fixed, self.tokens, self.length = map(to, (slot, fixed, tokens, length))
        self.allowed = to(allowed).float()  # [S, SLOTS, colours]
        self.slots = to([len(s.slots) for s in self.scenes])
        kinds = [s.kind for s in self.scenes]
        self.weight = to([SHARE[k] / kinds.count(k) for k in kinds])
        self.palette = to([*(PALETTE[c] for c in COLORS), (1.0, 1.0, 1.0)])
        ids = tokenizer.convert_tokens_to_ids
        words = (*COLORS, PLAIN)
        self.color_token = to([ids(c) for c in words])
        self.article_token = to([ids(grammar.article(c).split()[0]) for c in words])
        self.view_token = to([ids(w) for w in VIEW_WORDS])
        self.view_noun = ids("view")
        self.textureless = len(COLORS)  # the palette's last row

    def caption_tokens(self, geometry: Tensor, colors: Tensor) -> Tensor:
        """Return the token ids of captions, [B, TEXT_LENGTH].

        Args:
            geometry: [B] index into `scenes`.
            colors: [B, SLOTS] colour index of each slot.
        """
        tokens = self.tokens[geometry]
        for s in range(SLOTS):
            color = colors[:, s, None]
            tokens = torch.where(tokens == _SLOT_TOKEN - s, self.color_token[color], tokens)
            tokens = torch.where(tokens == _ARTICLE_TOKEN - s, self.article_token[color], tokens)
        return tokens

    def add_view(self, tokens: Tensor, geometry: Tensor, view: Tensor, chosen: Tensor) -> Tensor:
        """Append the words of the view, such as "front view", to some captions.

        Args:
            tokens: [B, TEXT_LENGTH].
            geometry: [B] index into `scenes`.
            view: [B] index into VIEW_WORDS.
            chosen: [B] bool, which captions.
        """
        position = torch.arange(TEXT_LENGTH, device=tokens.device)
        end = self.length[geometry, None]
        word = self.view_token[view][:, None]
        chosen = chosen[:, None]
        tokens = torch.where(chosen & (position == end), word, tokens)
        return torch.where(chosen & (position == end + 1), self.view_noun, tokens)

    def part_colors(self, geometry: Tensor, colors: Tensor) -> Tensor:
        """Return the albedo of every part, [B, MAX_PARTS, 3]; textureless objects are white.

        Args:
            geometry: [B] index into `scenes`.
            colors: [B, SLOTS] colour index of each slot.
        """
        slot, fixed = self.slot[geometry], self.fixed[geometry]
        index = torch.where(slot >= 0, colors.gather(1, slot.clamp_min(0)), fixed)
        plain = (colors[:, :1] == self.textureless).expand_as(index)
        return self.palette[torch.where(plain, self.textureless, index)]

    def draw_colors(self, geometry: Tensor, held_out: bool, generator: torch.Generator) -> Tensor:
        """Draw the colours of the slots, [B, SLOTS].

        Args:
            geometry: [B] index into `scenes`.
            held_out: draw from the combinations that training never shows, not from the others.
            generator: on the device.
        """
        allowed = self.allowed[geometry]
        weight = 1 - allowed if held_out else allowed
        flat = weight.reshape(-1, len(COLORS)) + 1e-9
        return torch.multinomial(flat, 1, generator=generator).view(-1, SLOTS)


def _caption_template(scene: ProceduralScene, tokenizer: Any) -> tuple[list[int], int]:
    """Return (token ids, number of words), with markers for colours and the articles before."""
    words = scene.caption.split()
    row: list[int] = []
    slot = 0
    for word in words:
        if slot < len(scene.slots) and word == scene.slots[slot]:
            row[-1] = _ARTICLE_TOKEN - slot
            row.append(_SLOT_TOKEN - slot)
            slot += 1
        else:
            row.append(tokenizer.convert_tokens_to_ids(word))
    return row + [0] * (TEXT_LENGTH - len(row)), len(row)


def _allowed_colors(scene: ProceduralScene) -> list[list[int]]:
    """Return, for each slot, 1 for every colour that training may give it, else 0."""
    if scene.kind == "composed":
        nouns = [scene.shape] * SLOTS
        nouns[1] = "" if len(scene.slots) == 1 else "roof"
    else:
        nouns = [w for w in scene.shape.split() if w in PRIMITIVES][:SLOTS]
        nouns += [""] * (SLOTS - len(nouns))
    return [[int((noun, c) not in grammar.HELD_OUT) for c in COLORS] for noun in nouns]
