"""What is known of a prompt from a folder's small files, before any text encoder is loaded."""

from __future__ import annotations

from ..cameras import VIEW_WORDS
from .text import TextPrior
from .text_encoders import _eight_bits, tokenizer, tokens


def check(prior: TextPrior, prompt: str, negative: str) -> None:
    """Raise the PromptError or PriorError that `prior.embed` would.

    Nothing is said of parts that are not there: the sentences may have been kept.
    """
    if prior.options.text_encoder == "8bit":
        _eight_bits(prior.device)
    told = [f"{prompt}, {word} view" for word in VIEW_WORDS]
    sentences = [prior._sentence(text) for text in (*told, negative)]
    kind = "T5Tokenizer" if prior.family == "if" else "CLIPTokenizer"
    for part in prior.text_parts:
        if part.startswith("tokenizer") and prior.folder.has(part):
            tokens(tokenizer(prior.folder, part, kind), sentences, prior.text_length)
