"""Model folders without weights, for estimates of models that are not on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from dfast.priors.loading.folder import INDEX, STEMS
from dfast.priors.loading.quiet import quiet
from dfast.testing.model_sizes import networks
from dfast.testing.random_models import builders, index_of, scheduler_of

NO_TENSORS = b"\x02\0\0\0\0\0\0\0{}"
"""A safetensors file that holds nothing."""


def write_outline(family: str, folder: Path) -> Path:
    """Write the small files of a published model: configurations, but no weights and no text parts.

    Args:
        family: one of `model_sizes.FAMILIES`.
        folder: where to write.

    Returns:
        The folder.
    """
    made = networks(family)
    with quiet(), torch.device("meta"):
        for part, build in builders(made).items():
            if not part.startswith("text_encoder"):
                build().save_config(folder / part)
                (folder / part / f"{STEMS[part]}.safetensors").write_bytes(NO_TENSORS)
    (folder / "tokenizer").mkdir()  # by which SDXL is told from its refiner
    scheduler_of(family, "epsilon").save_pretrained(folder / "scheduler")
    (folder / INDEX).write_text(json.dumps(index_of(family, made)), encoding="utf-8")
    return folder
