"""Captions of situations as rows of tokens with holes, which colours and patterns fill.

A template is made once for a view; every batch fills its holes and closes the gaps, on the device.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dfast.priors.embedded.training.situations import Situations
from dfast.priors.embedded.training.things import Things
from dfast.scene.views import VIEW_WORDS
from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.sentence import COUNTS, PATTERNS, PLAIN, RELATIONS, SIZES, WORN

SLOTS = 4
"""Colours of a caption: of the first thing and its part, of the second and its part."""
COLOR, AND, SECOND, PATTERN = -10, -20, -30, -40
"""Holes, minus the slot or the thing."""
SKIP = -99
"""A hole that stays empty."""


class Captions:
    """Templates, and what fills them."""

    def __init__(self, things: Things, tokens: Mapping[str, int], length: int) -> None:
        """Look up the tokens of words.

        Args:
            things: of the world.
            tokens: of each word of `dfast.world.sentence.vocabulary`.
            length: tokens of a row.
        """
        self.things, self.tokens, self.length = things, tokens, length
        device = things.device
        words = [tokens[c] for c in (*ALL_COLORS, PLAIN)]
        self.color = torch.tensor(words, device=device)
        self.pattern = torch.tensor([tokens[p] for p in PATTERNS], device=device)
        self.view = torch.tensor([tokens[v] for v in VIEW_WORDS], device=device)

    def templates(self, situations: Situations) -> Tensor:
        """Return rows with holes, int16 [B, length]; 0 is padding."""
        columns = (situations.noun, situations.size, situations.worn, situations.relation[:, None],
                   situations.number[:, None])  # fmt: skip
        rows = torch.cat(columns, 1).tolist()
        made = {key: self._template(*key) for key in {tuple(row) for row in rows}}
        return torch.tensor([made[tuple(row)] for row in rows], dtype=torch.int16)

    def _template(
        self, first: int, second: int, size0: int, size1: int, worn0: int, worn1: int,
        relation: int, count: int,
    ) -> list[int]:  # fmt: skip
        """Return one row."""
        word = self.tokens
        number = [word[w] for w, n in COUNTS.items() if n == count]
        row = [*number, *self._thing(0, first, size0, worn0)]
        if relation >= 0:
            row += [word[w] for w in RELATIONS[relation].split()]
            row += self._thing(1, second, size1, worn1)
        assert len(row) <= self.length - 2, row  # `add_view` appends two words
        return row + [0] * (self.length - len(row))

    def _thing(self, index: int, noun: int, size: int, worn: int) -> list[int]:
        """Return the tokens of a thing; captions of the prior have no articles."""
        word, name = self.tokens, self.things.names[noun]
        row = [] if size < 0 else [word[list(SIZES)[size]]]
        row += [COLOR - 2 * index, AND - index, SECOND - index, PATTERN - index, word[name]]
        own = NOUNS[name].part
        part = WORN[worn] if worn >= 0 else own[0] if own else None
        if part is not None:
            row += [word["with"], COLOR - 2 * index - 1, word[part]]
        return row

    def fill(self, template: Tensor, colors: Tensor, second: Tensor, pattern: Tensor) -> Tensor:
        """Return tokens, int64 [B, length].

        Args:
            template: [B, length].
            colors: [B, SLOTS] colour of each slot; len(ALL_COLORS) for a textureless image.
            second: [B, 2] second colour of each thing.
            pattern: [B, 2] index of `PATTERNS`, negative for none.
        """
        tokens = template.long()
        for slot in range(SLOTS):
            tokens = torch.where(tokens == COLOR - slot, self.color[colors[:, slot, None]], tokens)
        joint = self.tokens["and"]
        for thing in range(2):
            has = pattern[:, thing, None] >= 0
            word = self.pattern[pattern[:, thing, None].clamp_min(0)]
            for hole, value in (
                (AND, torch.full_like(word, joint)),
                (SECOND, self.color[second[:, thing, None]]),
                (PATTERN, word),
            ):
                tokens = torch.where(tokens == hole - thing, torch.where(has, value, SKIP), tokens)
        order = (tokens == SKIP).to(torch.uint8).sort(dim=1, stable=True).indices
        tokens = tokens.gather(1, order)
        return torch.where(tokens == SKIP, 0, tokens)

    def add_view(self, tokens: Tensor, view: Tensor, chosen: Tensor) -> Tensor:
        """Append the words of the view, such as "front view", to some captions.

        Args:
            tokens: [B, length].
            view: [B] index into VIEW_WORDS.
            chosen: [B] bool, which captions.
        """
        position = torch.arange(self.length, device=tokens.device)
        end = (tokens > 0).sum(1, keepdim=True)
        chosen = chosen[:, None]
        tokens = torch.where(chosen & (position == end), self.view[view][:, None], tokens)
        return torch.where(chosen & (position == end + 1), self.tokens["view"], tokens)
