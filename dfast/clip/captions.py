"""Captions of the training images as people write them, on the device.

The pool's captions are rows of words without articles or marks ("red chair with blue seat back
view"). Runs and people write "a red chair with a blue seat, back view". Rows are rewritten in both
ways, with and without articles and a full stop, so that the CLIP reads both alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dfast.clip.networks import TEXT_LENGTH
from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.plurals import plural
from dfast.world.sentence import COUNTS, MASS, PLAIN

MARKS = ("a", "an", ",", ".")
"""Words that the pool's captions do not have."""
BEFORE_THINGS = ("with", "of", "to", "behind", "under", "inside")
"""Words that an article follows: the ends of relations, and "with"."""
SKIP = -1
ARTICLES, STOP = 0.7, 0.5
"""Shares of the captions that have articles, and that end in a full stop."""


def plurals_of(words: Mapping[str, int]) -> dict[str, str]:
    """Return the plural of every thing and part among the words, where it differs.

    Args:
        words: of the pool's captions.
    """
    parts = {noun.part[0] for noun in NOUNS.values() if noun.part} & words.keys()
    things = (NOUNS.keys() & words.keys()) | {part for part in parts if not _is_plural(part)}
    things -= {*ALL_COLORS, PLAIN}
    return {word: many for word in sorted(things) if (many := plural(word)) != word}


def _is_plural(word: str) -> bool:
    return (word.endswith("s") and not word.endswith("ss")) or word in MASS


class Captions:
    """Tables that rewrite the pool's captions as tokens of a tokenizer."""

    def __init__(self, words: Mapping[str, int], tokenizer: Any, device: torch.device) -> None:
        """Look up the tokens of words.

        Args:
            words: the pool's token of each word; 0 is padding.
            tokenizer: of the CLIP, which has a token for each of `all_words`.
            device: of the captions.
        """
        vocabulary, size = tokenizer.get_vocab(), max(words.values()) + 1
        known = [word for word in words if f"{word}</w>" in vocabulary]  # not <pad>, <unk>
        many = plurals_of(words)

        def table(values: Mapping[str, int], default: int = 0) -> Tensor:
            row = torch.full((size,), default)
            for word, value in values.items():
                row[words[word]] = value
            return row.to(device)

        own = {word: vocabulary[f"{word}</w>"] for word in known}
        self.own = table(own, SKIP)
        self.plural = table(own | {word: vocabulary[f"{many[word]}</w>"] for word in many}, SKIP)
        self.counts = table(dict.fromkeys(COUNTS, 1)).bool()
        self.opens = table(dict.fromkeys(BEFORE_THINGS, 1)).bool()
        self.no_article = table({word: 1 for word in known if _is_plural(word)}).bool()
        self.an = table({word: 1 for word in known if word[0] in "aeio"}).bool()
        self.joins, self.view = words["with"], words["view"]
        self.marks = [vocabulary[f"{mark}</w>"] for mark in MARKS]
        self.start, self.end = tokenizer.bos_token_id, tokenizer.eos_token_id

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return tokens of the CLIP, int64 [B, TEXT_LENGTH], with both ends, padded with the end.

        Args:
            rows: captions of the pool, int64 [B, L].
            generator: draws which captions have articles and a full stop.
        """
        size, device = len(rows), rows.device
        chance = torch.rand(2, size, 1, device=device, generator=generator)
        a, an, comma, stop = self.marks
        counted = self.counts[rows[:, :1]]
        following = torch.cat([rows[:, 1:], torch.zeros_like(rows[:, :1])], 1)
        previous = torch.cat([torch.zeros_like(rows[:, :1]), rows[:, :-1]], 1)

        first = torch.arange(rows.shape[1], device=device) == 0
        opens = torch.where(first, ~counted, self.opens[previous])
        many = (previous == self.joins) & (self.no_article[following] | counted)
        opens = opens & ~many & (rows > 0) & (chance[0] < ARTICLES)
        article = torch.where(opens, torch.where(self.an[rows], an, a), SKIP)
        pause = torch.where(following == self.view, comma, SKIP)
        word = torch.where(counted, self.plural[rows], self.own[rows])
        said = torch.stack([pause, article, word], 2).flatten(1)

        last = torch.where(chance[1] < STOP, stop, SKIP)
        begin, end = torch.full_like(last, self.start), torch.full_like(last, self.end)
        said = torch.cat([begin, said, last, end], 1)
        order = (said == SKIP).to(torch.uint8).sort(dim=1, stable=True).indices
        said = said.gather(1, order)[:, :TEXT_LENGTH]
        return torch.where(said == SKIP, self.end, said)


def all_words(words: Mapping[str, int]) -> list[str]:
    """Return every word and mark that the rewritten captions can have.

    Args:
        words: of the pool's captions.
    """
    plain = [word for word in words if word.isalpha()]
    return sorted({*plain, *plurals_of(words).values(), *MARKS})
