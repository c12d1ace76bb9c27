"""Embeddings beside those of transformers on the same tiny random folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_clip import folder
from torch import Tensor

from dfast.clip import ClipEncoder, load_clip
from dfast.errors import DfastWarning, PromptError
from dfast.testing.random_clip import write_clip

TEXTS = ["a red chair", "a blue mug, back view", "x"]


def _images(batch: int = 3, height: int = 50, width: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = (batch, 3, height, width)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


def _transformers(path: Path) -> Any:
    """Return what transformers' own classes compute of `_images` and `TEXTS`."""
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = CLIPTokenizer.from_pretrained(path)(TEXTS, padding=True, return_tensors="pt")
    pixels = CLIPImageProcessorPil.from_pretrained(path)(list(_images()), return_tensors="pt")
    with torch.no_grad():
        return CLIPModel.from_pretrained(path).float()(**words, **pixels)


def _check(path: Path, encoder: ClipEncoder) -> None:
    expected = _transformers(path)
    images, texts = encoder.encode_images(_images() / 255), encoder.encode_text(TEXTS)
    torch.testing.assert_close(images, expected.image_embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(texts, expected.text_embeds, rtol=1e-4, atol=1e-5)
    logits = encoder.logit_scale * images @ texts.T
    torch.testing.assert_close(logits, expected.logits_per_image, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_embeddings_are_those_of_transformers(tmp_path: Path, dtype: torch.dtype) -> None:
    path = write_clip(tmp_path / "clip", dtype=dtype, seed=2)
    _check(path, load_clip(str(path), "cpu"))


def test_settings_in_the_file_of_both_processors_win(tmp_path: Path) -> None:
    from transformers import CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    path = write_clip(tmp_path / "clip", image_mean=[0.1, 0.2, 0.3])
    other = CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=32)
    CLIPProcessor(other, CLIPTokenizer.from_pretrained(path)).save_pretrained(path)
    encoder = load_clip(str(path), "cpu")
    assert encoder.preprocessing.resize == 40
    _check(path, encoder)


def test_gradients_reach_the_image() -> None:
    encoder = load_clip(str(folder()), "cpu")
    image = (_images(1, 40, 40) / 255).requires_grad_()
    toward = encoder.encode_text(["a red chair"])[0]
    before = encoder.encode_images(image)[0] @ toward
    (gradient,) = torch.autograd.grad(before, image)
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    step = 5.0 * gradient / gradient.norm()  # far enough for roundings to average out
    after = encoder.encode_images((image + step).detach().clamp(0, 1))[0] @ toward
    assert after > before
    assert not encoder.encode_text(["a"]).requires_grad


def test_many_images_are_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_clip(str(folder()), "cpu")
    images = _images(5) / 255
    whole = encoder.encode_images(images), encoder.encode_text(TEXTS)
    monkeypatch.setattr("dfast.clip.encoder.CHUNK", 2)
    torch.testing.assert_close(encoder.encode_images(images), whole[0])
    torch.testing.assert_close(encoder.encode_text(TEXTS), whole[1])
    assert encoder.encode_images(images[:0]).shape == (0, encoder.width)
    assert encoder.encode_text([]).shape == (0, encoder.width)


def test_long_texts_are_cut_with_a_warning() -> None:
    encoder = load_clip(str(folder()), "cpu")
    long = "ab " * 100
    with pytest.warns(DfastWarning, match="reads 77 tokens of a text, got 102; the rest is"):
        found = encoder.encode_text([long])
    torch.testing.assert_close(found, encoder.encode_text(["ab " * 75]))


def test_the_report_names_the_weights(tmp_path: Path) -> None:
    encoder = load_clip(str(folder()), "cpu")
    about = encoder.about()
    assert about["image_size"] == 32 and about["context_length"] == 77
    assert about["revision"] is None and len(about["weights_sha256"]) == 64
    moved = Path(shutil.copytree(folder(), tmp_path / "moved"))
    file = moved / "model.safetensors"
    weights = load_file(file)
    save_file(dict(reversed(weights.items())), file, metadata={"format": "pt", "other": "x"})
    assert load_clip(str(moved), "cpu").digest == encoder.digest
    weights["logit_scale"] += 1
    save_file(weights, file, metadata={"format": "pt"})
    assert load_clip(str(moved), "cpu").digest != encoder.digest


def test_arguments_are_checked() -> None:
    encoder = load_clip(str(folder()), "cpu")
    with pytest.raises(ValueError, match=r"images: expected \[B, 3, H, W\], got \[3, 8, 8\]"):
        encoder.encode_images(torch.zeros(3, 8, 8))
    with pytest.raises(PromptError, match="texts: expected a list of strings, got"):
        encoder.encode_text(["a", 3])  # type: ignore[list-item]
