"""What exceptions of other libraries' loaders are called: damage only if the files show it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CPU, copied, folder

from dfast.errors import DeviceError, PriorError
from dfast.priors import load_prior

pytestmark = pytest.mark.usefixtures("isolated")

RAISED: dict[str, tuple[Exception, type[Exception], str]] = {
    "a package": (
        ImportError("T5Tokenizer requires the SentencePiece library but it was not found"),
        PriorError,
        r"needs a package that is missing \(T5Tokenizer requires",
    ),
    "a package in a sentence": (
        ValueError("You need to install sentencepiece: `pip install sentencepiece`"),
        PriorError,
        "needs a package that is missing",
    ),
    "a device": (
        RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines"),
        DeviceError,
        r"device: \w+ failed while \w+ was loaded \(CUDA error: an illegal memory access",
    ),
    "no CUDA": (AssertionError("Torch not compiled with CUDA enabled"), DeviceError, "failed"),
    "a disk": (OSError(errno.EIO, "Input/output error"), PriorError, r"cannot be read \(Input"),
    "rights": (PermissionError(errno.EACCES, "Permission denied"), PriorError, "cannot be read"),
    "something else": (
        RuntimeError("who knows\nwhat"),
        PriorError,
        r"cannot be used \(RuntimeError: who knows\); its files look whole",
    ),
    "an empty one": (RuntimeError(), PriorError, "files look whole"),
    "memory": (MemoryError("all of it"), MemoryError, "all of it"),
    "memory of torch": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError,
        "DefaultCPUAllocator",
    ),
}


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("cls", ["CLIPTextModel", "CLIPTokenizer"])
@pytest.mark.parametrize("what", RAISED)
def test_whole_files_are_not_called_damaged(
    what: str, cls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    error, kind, message = RAISED[what]
    prior = load_prior(str(folder("sd15")), CPU)
    monkeypatch.setattr(getattr(transformers, cls), "from_pretrained", raising(error))
    with pytest.raises(kind, match=message) as caught:
        prior.encode_prompt("a red chair")
    assert "damaged" not in str(caught.value) and "delete" not in str(caught.value)
    assert kind not in (PriorError, DeviceError) or "\n" not in str(caught.value)


DAMAGED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "weights": (
        "CLIPTextModel",
        lambda p: (p / "text_encoder/model.safetensors").write_bytes(b"\0" * 99),
        r"model\.safetensors is damaged \(no safetensors header\)",
    ),
    "a tokenizer": (
        "CLIPTokenizer",
        lambda p: (p / "tokenizer/tokenizer.json").write_text("{}"),
        r"tokenizer\.json is damaged",
    ),
    "merges": (
        "CLIPTokenizer",
        lambda p: (p / "tokenizer/merges.txt").write_bytes(b"\xff\xff"),
        r"merges\.txt is damaged \('utf-8' codec",
    ),
    "a vocabulary": (
        "CLIPTokenizer",
        lambda p: (p / "tokenizer/vocab.json").write_text('{"a": "b"}'),
        r"vocab\.json is damaged \(expected whole numbers",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damage_that_a_look_finds_is_named(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    cls, spoil, message = DAMAGED[what]
    path = copied("sd15", tmp_path)
    prior = load_prior(str(path), CPU)
    spoil(path)
    monkeypatch.setattr(getattr(transformers, cls), "from_pretrained", raising(RuntimeError("x")))
    with pytest.raises(PriorError, match=message):
        prior.encode_prompt("a red chair")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (RuntimeError("odd"), PriorError, r"no network can be built from .*\(RuntimeError: odd\)"),
        (ValueError("bad value"), PriorError, r"unet/config\.json is damaged \(bad value\)"),
        (ImportError("no xformers"), PriorError, "needs a package that is missing"),
        (MemoryError("all of it"), MemoryError, "all of it"),
    ],
)
def test_networks_that_cannot_be_built(
    error: Exception, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    prior = load_prior(str(folder("sd15")), CPU)
    monkeypatch.setattr(diffusers.UNet2DConditionModel, "from_config", raising(error))
    with pytest.raises(kind, match=message):
        prior.load()


def test_a_host_that_uses_another_device(tmp_path: Path) -> None:
    for device in ("meta", "cuda:99"):
        torch.set_default_device(device)
        try:
            prior = load_prior(str(folder("sd15")), CPU)
            prior.encode_prompt("a red chair")
            prior.load()
        finally:
            torch.set_default_device(None)
