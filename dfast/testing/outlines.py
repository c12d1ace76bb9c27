"""Model folders without weights, for estimates of models that are not on this machine."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from dfast.priors.loading.catalog import CATALOG
from dfast.priors.loading.folder import INDEX, STEMS
from dfast.priors.loading.quiet import quiet
from dfast.testing.model_sizes import TEXT_BYTES, networks
from dfast.testing.random_models import builders, index_of, scheduler_of
from dfast.testing.random_transformers import TINY
from dfast.testing.transformer_sizes import PUBLISHED

NO_TENSORS = b"\x02\0\0\0\0\0\0\0{}"
"""A safetensors file that holds nothing."""


def write_outline(family: str, folder: Path) -> Path:
    """Write the small files of a published model: configurations, but no weights and no text parts.

    Args:
        family: one of `model_sizes.FAMILIES`, or a name of `transformer_sizes.PUBLISHED`.
        folder: where to write.

    Returns:
        The folder.
    """
    if family in PUBLISHED:
        return _write_transformer(family, folder)
    made = networks(family)
    with quiet(), torch.device("meta"):
        for part, build in builders(made).items():
            if not part.startswith("text_encoder"):
                _write_part(build(), folder, part)
    (folder / "tokenizer").mkdir()  # by which SDXL is told from its refiner
    scheduler_of(family, "epsilon").save_pretrained(folder / "scheduler")
    (folder / INDEX).write_text(json.dumps(index_of(family, made)), encoding="utf-8")
    return folder


def text_bytes(name: str) -> int | None:
    """Return the bytes of a published model's text encoders in half precision, None if unknown.

    Args:
        name: its short name.
    """
    return 2 * PUBLISHED[name].text if name in PUBLISHED else TEXT_BYTES.get(name)


def _write_transformer(name: str, folder: Path) -> Path:
    """Write the small files of a published pipeline with a transformer, see `write_outline`."""
    diffusers: Any = import_module("diffusers")
    made, family = PUBLISHED[name], TINY[CATALOG[name].family]
    with quiet(), torch.device("meta"):
        _write_part(
            getattr(diffusers, family.transformer)(**made.transformer), folder, "transformer"
        )
        _write_part(getattr(diffusers, family.vae)(**made.vae), folder, "vae")
    (folder / "tokenizer").mkdir()
    kind, options = family.scheduler
    getattr(diffusers, kind)(**options).save_pretrained(folder / "scheduler")
    index = {"_class_name": family.pipeline, **made.index}
    parts = {"transformer": family.transformer, "vae": family.vae, "scheduler": kind}
    listed = {part: ["diffusers", class_name] for part, class_name in parts.items()}
    (folder / INDEX).write_text(json.dumps(index | listed), encoding="utf-8")
    return folder


def _write_part(module: Any, folder: Path, part: str) -> None:
    """Write the configuration of a network, and a file for its weights that holds none."""
    module.save_config(folder / part)
    (folder / part / f"{STEMS[part]}.safetensors").write_bytes(NO_TENSORS)
