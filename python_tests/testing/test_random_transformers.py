"""Model folders with transformers and random weights: the published sizes, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dfast.errors import ConfigError
from dfast.priors import load_prior
from dfast.testing import random_transformers
from dfast.testing.outlines import NO_TENSORS
from dfast.testing.random_transformers import builders, pipeline_of, write_transformer
from dfast.testing.transformer_sizes import PUBLISHED

CPU = torch.device("cpu")


def _outline(build: Callable[[], Any], *_: object) -> Any:
    """Return a network that writes its configuration, and a file of weights that holds none."""
    with torch.device("meta"):
        module = build()

    def save(folder: Path, **_: object) -> None:
        module.save_config(folder)
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(NO_TENSORS)

    module.save_pretrained = save
    return module


@pytest.mark.parametrize("name", PUBLISHED)
def test_texts_have_the_width_of_the_full_transformer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(random_transformers, "materialize", _outline)
    prior: Any = load_prior(str(write_transformer(name, tmp_path / "x", size="full")), CPU)
    prior.encode_prompt("a red chair")
    assert prior.image_size in (480, 512, 1024)


@pytest.mark.parametrize("name", ["sd35-medium", "flux2-klein"])
def test_full_networks_are_written_in_half_precision(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small networks stand for the full ones; tables and statistics are in the files, finite."""
    small = pipeline_of(random_transformers.CATALOG[name].family, "tiny")
    monkeypatch.setattr(random_transformers, "pipeline_of", lambda *_: small)
    folder = write_transformer(name, tmp_path, size="full")
    for part in ("transformer", "vae"):
        state = load_file(folder / part / "diffusion_pytorch_model.safetensors")
        floats = [t for t in state.values() if t.is_floating_point()]
        assert all(t.dtype == torch.float16 and t.isfinite().all() for t in floats)
        with torch.device("meta"):
            assert state.keys() == builders(small)[part]().state_dict().keys()
    prior: Any = load_prior(str(folder), CPU)
    prior.load()
    assert prior.encode_images(torch.zeros(1, 3, 64, 64)).isfinite().all()


def test_a_short_name_is_written_as_its_family_in_tiny(tmp_path: Path) -> None:
    for name in ("sana", "sana-600m"):
        write_transformer(name, tmp_path / name)
    a, b = (
        load_file(tmp_path / n / "vae/diffusion_pytorch_model.safetensors")
        for n in ("sana", "sana-600m")
    )
    assert all(torch.equal(b[key], value) for key, value in a.items())


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"name: expected one of pixart-sigma, .* got 'sd3'"):
        pipeline_of("sd3", "full")
    with pytest.raises(ConfigError, match=r"name: expected one of pixart, .* got 'foo'"):
        pipeline_of("foo", "tiny")
    with pytest.raises(ConfigError, match="size: expected 'full' or 'tiny', got 'huge'"):
        pipeline_of("sd3", "huge")  # type: ignore[arg-type]
