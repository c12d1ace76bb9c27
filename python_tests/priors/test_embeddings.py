"""Sentences are encoded once: kept on disk by what they depend on, encoders gone before UNets."""

from __future__ import annotations

import errno
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, LATENT, copied, folder

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors import load_prior
from dfast.priors.loading.embedding_cache import EmbeddingCache, cache_folder, fingerprint
from dfast.priors.loading.folder import Folder
from dfast.testing import random_models

CPU = torch.device("cpu")
PROMPT = "a red chair"


def embed(path: Path, prompt: str = PROMPT, negative: str = "", **options: Any) -> torch.Tensor:
    prior = load_prior(str(path), CPU, options=PriorConfig(**options))
    return prior.encode_prompt(prompt, negative=negative).tables["hidden"]


def delete_encoders(path: Path) -> None:
    for file in path.glob("text_encoder*/*.safetensors"):
        file.unlink()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_second_load_needs_no_encoder(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    path = copied(family, tmp_path)
    first = embed(path, negative="ugly")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a text encoder was loaded")

    for name in ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", refuse)
    assert torch.equal(embed(path, negative="ugly"), first)
    delete_encoders(path)
    assert torch.equal(embed(path, negative="ugly"), first)
    for part in path.glob("text_encoder*"):
        shutil.rmtree(part)
    assert torch.equal(embed(path, negative="ugly"), first)
    with pytest.raises(PriorError, match=r"incomplete, .*text_encoder is missing"):
        embed(path, "a blue chair")


def test_an_encoder_that_was_never_seen(tmp_path: Path) -> None:
    path = copied("if-m", tmp_path)
    delete_encoders(path)
    with pytest.raises(PriorError, match=r"incomplete, .*text_encoder/model\.safetensors is miss"):
        embed(path)


def test_only_new_sentences_are_encoded(own_cache: Path) -> None:
    embed(folder("sd15"))
    assert len(list(own_cache.glob("*.safetensors"))) == 6  # bare, four views, no words
    embed(folder("sd15"), negative="ugly")
    assert len(list(own_cache.glob("*.safetensors"))) == 7


def test_copies_share_and_other_encoders_do_not(tmp_path: Path, own_cache: Path) -> None:
    first = embed(folder("if-m"))
    count = len(list(own_cache.glob("*.safetensors")))
    assert torch.equal(embed(copied("if-m", tmp_path)), first)
    assert len(list(own_cache.glob("*.safetensors"))) == count
    other = random_models.write("if-m", tmp_path / "other", size="tiny", seed=2)
    assert (embed(other) - first).abs().max() > 1e-3
    parts = ("text_encoder", "tokenizer")
    assert fingerprint(Folder(other, "other"), parts) != fingerprint(
        Folder(folder("if-m"), "x"), parts
    )


def test_weights_that_change_in_place_are_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number of a large file, at the size and the times that it had."""
    path = copied("sd15", tmp_path)
    file = path / "text_encoder/model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"unused": torch.zeros(4_000_000)}, file, metadata={"format": "pt"})
    parts, first = ("text_encoder", "tokenizer"), embed(path)
    keys = {fingerprint(Folder(path, "x"), parts)}
    for at in (1_000_000, 5_000_001, 9_999_999):
        was = file.stat()
        with file.open("r+b") as stream:
            stream.seek(at)
            stream.write(b"\x01")
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
        keys.add(fingerprint(Folder(path, "x"), parts))
    assert len(keys) == 4
    name = next(k for k in tensors if k.endswith("layers.1.mlp.fc2.weight"))
    changed = tensors | {name: -tensors[name], "unused": torch.zeros(4_000_000)}
    save_file(changed, file, metadata={"format": "pt"})
    assert (embed(path) - first).abs().max() > 1e-3


def test_weights_are_read_once_for_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfast.priors.loading import embedding_cache as embeddings

    read: list[Path] = []
    whole = embeddings.hash_file
    monkeypatch.setattr(embeddings, "hash_file", lambda file: (read.append(file), whole(file))[1])
    path = copied("sdxl", tmp_path)
    parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    first = fingerprint(Folder(path, "x"), parts)
    assert len(read) == 2
    assert fingerprint(Folder(path, "x"), parts) == first and len(read) == 2
    (path / "text_encoder_2/model.safetensors").touch()
    assert fingerprint(Folder(path, "x"), parts) == first and len(read) == 3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_was_kept_changes_no_bit(
    family: str, precision: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever sentences are encoded beside it, a sentence gives the same numbers."""
    tables = []
    for i, before in enumerate([[], [("a blue chair", "ugly")], [(PROMPT, "")]]):
        monkeypatch.setenv("DFAST_CACHE", str(tmp_path / str(i)))
        options = PriorConfig(precision=precision)  # type: ignore[arg-type]
        prior: Any = load_prior(str(folder(family)), CPU, options=options)
        for prompt, negative in before:
            prior.encode_prompt(prompt, negative=negative)
        tables.append(prior.encode_prompt(PROMPT, negative="ugly").tables)
    for other in tables[1:]:
        assert all(torch.equal(other[name], value) for name, value in tables[0].items())


def test_sentences_are_encoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import T5EncoderModel

    sizes: list[int] = []
    forward = T5EncoderModel.forward

    def watched(self: Any, ids: torch.Tensor, **options: Any) -> Any:
        sizes.append(len(ids))
        return forward(self, ids, **options)

    monkeypatch.setattr(T5EncoderModel, "forward", watched)
    embed(folder("if-m"), negative="ugly")
    assert sizes == [1] * 7


def test_blocks_are_half_again_after_each_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """T5 on the CPU: no block stays in float32, and what is stored is never rounded again."""
    from transformers import T5EncoderModel

    seen: list[tuple[torch.dtype, int]] = []
    forward = T5EncoderModel.forward

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        weight = self.encoder.block[0].layer[0].SelfAttention.q.weight
        seen.append((weight.dtype, weight.data_ptr()))
        return forward(self, *args, **options)

    monkeypatch.setattr(T5EncoderModel, "forward", watched)
    embed(folder("if-m"), precision="fp16")
    assert len(seen) == 6 and len(set(seen)) == 1 and seen[0][0] == torch.float16


def test_precisions_are_kept_apart() -> None:
    exact = embed(folder("if-m"))
    half = embed(folder("if-m"), precision="fp16")
    assert not torch.equal(half, exact)
    assert (half - exact).norm() / exact.norm() < 1e-3  # weights rounded, arithmetic in float32
    assert torch.equal(embed(folder("if-m")), exact)


def test_eight_bits_are_kept_apart() -> None:
    """What they round is for nobody else, and what others made is not theirs."""
    embed(folder("sd15"))
    with pytest.raises(PriorError, match="'8bit' expects a CUDA device"):
        embed(folder("sd15"), text_encoder="8bit")


def test_an_encoder_that_overflows_is_refused_and_nothing_is_cached(
    tmp_path: Path, own_cache: Path
) -> None:
    path = copied("if-m", tmp_path)
    file = path / "text_encoder/model.safetensors"
    tensors = load_file(file)
    tensors["encoder.final_layer_norm.weight"][0] = float("inf")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        PriorError, match=r"expected finite numbers .* in 'hidden' of 'a red chair'"
    ):
        embed(path)
    assert not list(own_cache.glob("*.safetensors"))


def test_damaged_files_are_made_again(own_cache: Path) -> None:
    first = embed(folder("sd15"))
    for i, file in enumerate(sorted(own_cache.glob("*.safetensors"))):
        file.write_bytes(file.read_bytes()[: 7 * i])
    assert torch.equal(embed(folder("sd15")), first)
    assert all(file.stat().st_size > 1000 for file in own_cache.glob("*.safetensors"))


def test_a_cache_that_cannot_be_written_is_only_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embed(folder("sd15"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "file"))
    assert torch.equal(embed(folder("sd15")), first)


def test_a_full_disk_is_only_slow(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    first = embed(folder("sd15"))
    shutil.rmtree(own_cache)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        patched.setattr(Path, "write_text", full)
        assert torch.equal(embed(folder("sd15")), first)
    assert [file for file in own_cache.rglob("*") if file.is_file()] == []


def test_what_was_put_is_got(tmp_path: Path) -> None:
    kept = {"hidden": torch.randn(3, 4), "pooled": torch.randn(5)}
    ours = EmbeddingCache({"encoders": "a"}, tmp_path)
    ours.put("x", kept)
    got = ours.get("x")
    assert got is not None
    assert all(torch.equal(got[name], kept[name]) for name in kept)
    assert ours.get("y") is None
    assert EmbeddingCache({"encoders": "b"}, tmp_path).get("x") is None


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DFAST_CACHE", "/a")
    assert cache_folder() == Path("/a/embeddings")
    monkeypatch.delenv("DFAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/dfast/embeddings")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dfast" / "embeddings"


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_are_gone_before_the_unet_is_read(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    alive: list[weakref.ref[Any]] = []
    load = transformers.PreTrainedModel.from_pretrained.__func__

    def watched(cls: Any, *args: Any, **options: Any) -> Any:
        model, info = load(cls, *args, **options)
        alive.append(weakref.ref(model))
        return model, info

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", classmethod(watched))
    prior: Any = load_prior(str(folder(family)), CPU)
    assert alive == []
    prior.encode_prompt(PROMPT)
    assert len(alive) == (2 if family == "sdxl" else 1)
    assert [ref() for ref in alive] == [None] * len(alive)
    assert prior.unet is None
    prior.load()
    assert prior.unet is not None
    assert (prior.latents.vae is not None) if family in LATENT else not prior.is_latent
