"""Estimates of models that are not on this machine: their sizes are known."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors import Prior
from dfast.priors.loading.catalog import CATALOG, Entry
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.hub import is_complete
from dfast.priors.pipelines.open import open_folder
from dfast.testing.outlines import text_bytes, write_outline


class Unfetched(NamedTuple):
    """A published model without its weights."""

    prior: Prior
    """The model, whose networks can only be built on the meta device."""
    text_bytes: int
    """Bytes of its text encoders."""
    note: str
    """What to say about the estimate."""


def entry_to_fetch(name: object) -> Entry | None:
    """Return the entry of the catalogue for a name whose model is not on this machine.

    Models whose sizes are not known have none.

    Args:
        name: the name of a prior, or anything else.
    """
    if not isinstance(name, str) or os.path.isdir(os.path.expanduser(name)):
        return None
    entry = CATALOG.get(name) or next((e for e in CATALOG.values() if e.hub == name), None)
    known = entry is not None and text_bytes(entry.alias) is not None
    return entry if known and entry and not is_complete(entry.hub) else None


@contextmanager
def unfetched(entry: Entry, device: torch.device, options: PriorConfig) -> Iterator[Unfetched]:
    """Yield a model of the catalogue in a temporary folder that has no weights.

    Args:
        entry: the model.
        device: where it would run.
        options: how it would be loaded and run.

    Raises:
        PriorError: it takes weights to know what its networks cost.
    """
    with tempfile.TemporaryDirectory(prefix="dfast-estimate-") as place:
        folder = Folder(write_outline(entry.alias, Path(place)), entry.alias)
        note = (
            f"{entry.alias} is not on this machine; the sizes are those of its published networks. "
            f"--download fetches it ({entry.gigabytes:g} GB, {entry.terms})"
        )
        prior: Any = open_folder(folder, device, options)
        if not prior.cost_parts():
            raise PriorError(
                f"prior {entry.alias!r}: expected a model on this machine to estimate it, since "
                "its transformer's work depends on values; its networks are known to have "
                f"{_parameters(prior) / 1e9:.2f} G parameters beside a VAE, and "
                f"{(text_bytes(entry.alias) or 0) / 2e9:.2f} G that read the text. `--download` "
                f"without --dry-run fetches it ({entry.gigabytes:g} GB, {entry.terms})"
            )
        prior.check_text = lambda prompt, negative: None  # there is no tokenizer
        yield Unfetched(prior, text_bytes(entry.alias) or 0, note)


def _parameters(prior: Any) -> int:
    """Return the number of parameters of a prior's denoiser, which is built without weights."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in prior._build_unet().parameters())
