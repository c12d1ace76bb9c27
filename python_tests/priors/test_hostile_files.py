"""Files of models that ask for all memory, for ever, or for a traceback: one line each instead."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import CPU, UNET, copied, edit_json, predict_once

from dfast.errors import DfastError, PriorError
from dfast.priors import family_of, load_prior

pytestmark = pytest.mark.usefixtures("isolated")

HUGE, LONG, DEEP = 2**31, "x" * 5000, "[" * 100_000
TEXT = "text_encoder/model.safetensors"


def settings(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda path: edit_json(path / name, **changes)


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(content)


def linked(name: str) -> Callable[[Path], None]:
    """Link a file or folder to itself."""

    def change(path: Path) -> None:
        file = path / name
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        file.symlink_to(file)

    return change


def pipe(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        (path / name).unlink()
        os.mkfifo(path / name)

    return change


def header(name: str, content: str) -> Callable[[Path], object]:
    """Write a safetensors file with this header and no tensors."""
    data = content.encode()
    return lambda path: (path / name).write_bytes(struct.pack("<Q", len(data)) + data)


def offsets(value: str) -> str:
    return f'{{"a": {{"dtype": "F32", "shape": [1], "data_offsets": {value}}}}}'


def rename_tensor(name: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        tensors = load_file(path / name)
        tensors[new] = tensors.pop(sorted(tensors)[0])
        save_file(tensors, path / name, metadata={"format": "pt"})

    return change


def shards(*names: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        (path / UNET).rename(path / UNET.replace(".safe", "-00001-of-00001.safe"))
        index = {"weight_map": {f"a{i}": name for i, name in enumerate(names)}}
        (path / f"{UNET}.index.json").write_text(json.dumps(index))

    return change


UNET_JSON, VAE_JSON, TEXT_JSON = (f"{p}/config.json" for p in ("unet", "vae", "text_encoder"))
SCHEDULER, TOKENIZER = "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"

HOSTILE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "index linked to itself": ("sd15", linked("model_index.json"), "cannot be read"),
    "config linked to itself": ("sd15", linked(UNET_JSON), r"unet/config\.json cannot be read"),
    "text's config": ("sd15", linked(TEXT_JSON), r"text_encoder/config\.json cannot be read"),
    "weights linked to themselves": ("sd15", linked(UNET), r"\.safetensors is missing"),
    "part linked to itself": ("sd15", linked("unet"), "unet is missing"),
    "tokenizer linked to itself": ("sd15", linked("tokenizer/tokenizer.json"), "cannot be read"),
    "a pipe": ("sd15", pipe(UNET_JSON), "expected a file"),
    "a folder as config": (
        "sd15",
        lambda p: ((p / UNET_JSON).unlink(), (p / UNET_JSON).mkdir()),
        r"unet/config\.json is damaged",
    ),
    "deep index": ("sd15", text("model_index.json", DEEP), "nested too deeply"),
    "deep config": ("sd15", text(UNET_JSON, '{"a": ' + DEEP), "nested too deeply"),
    "deep tokenizer": ("sd15", text("tokenizer/tokenizer.json", DEEP), "nested too deeply"),
    "deep header": ("sd15", header(UNET, DEEP), "no safetensors header"),
    "header of a list": ("sd15", header(UNET, "[1, 2]"), "no safetensors header"),
    "infinite offsets": ("sd15", header(UNET, offsets("[0, Infinity]")), "no safetensors header"),
    "offsets of NaN": ("sd15", header(UNET, offsets("[NaN, NaN]")), "no safetensors header"),
    "negative offsets": ("sd15", header(UNET, offsets("[-8, -4]")), "no safetensors header"),
    "huge offsets": ("sd15", header(UNET, offsets("[0, 1e400]")), "no safetensors header"),
    "endless offsets": ("sd15", header(UNET, offsets("[0, 1" + "0" * 4000 + "]")), "bytes where"),
    "null tensors": ("sd15", header(UNET, '{"a": null}'), "no safetensors header"),
    "header longer than the file": (
        "sd15", lambda p: (p / UNET).write_bytes(b"\xff" * 7 + b"\x7f{}"), "no safetensors header"
    ),
    "shards with long names": ("sd15", shards(LONG), "is missing"),
    "shards with null characters": ("sd15", shards("a\0b.safetensors"), "is missing"),
    "shards that are numbers": ("sd15", shards(1), "lists no files"),
    "shards that are lists": ("sd15", shards([1]), "lists no files"),
    "shards elsewhere": ("sd15", shards("../../x.safetensors"), "lists no files"),
    "long class": ("sd15", settings("model_index.json", _class_name=LONG, unet=...), "expected"),
    "long line": ("sd15", settings("unet/config.json", _class_name="a\nb\x1b[31m"), "expected"),
    "layers": ("sd15", settings(UNET_JSON, layers_per_block=HUGE), "layers_per_block: expected at"),
    "layers of text": ("sd15", settings(TEXT_JSON, num_hidden_layers=HUGE), "num_hidden_layers"),
    "layers of T5": ("if-m", settings(TEXT_JSON, num_layers=HUGE), "num_layers: expected at most"),
    "layers of a VAE": ("sd15", settings(VAE_JSON, layers_per_block=HUGE), "layers_per_block"),
    "channels": ("sd15", settings(UNET_JSON, block_out_channels=[HUGE] * 4), "block_out_channels"),
    "blocks": ("sd15", settings(VAE_JSON, block_out_channels=[16] * 5000), "at most 16 blocks"),
    "a shift that is no number": (
        "sd15", settings(UNET_JSON, freq_shift=["x"]), "unet cannot be used"
    ),
    "size": ("sd15", settings(UNET_JSON, sample_size=HUGE), "sample_size: expected at most"),
    "infinite size": ("sd15", settings(UNET_JSON, sample_size=float("inf")), "at most"),
    "a list of sizes": ("sd15", settings(UNET_JSON, sample_size=[8, HUGE]), "sample_size"),
    "vocabulary": ("sd15", settings(TEXT_JSON, vocab_size=HUGE), "vocab_size: expected at most"),
    "positions": (
        "sd15", settings(TEXT_JSON, max_position_embeddings=HUGE), "max_position_embeddings"
    ),
    "width": ("sd15", settings(TEXT_JSON, intermediate_size=HUGE), "intermediate_size"),
    "a vocabulary that fits its limit": (
        "sd15", settings(TEXT_JSON, vocab_size=2**24), r"expected \(16777216, 32\), got \(1542"
    ),
    "steps": ("sd15", settings(SCHEDULER, num_train_timesteps=2**40), "num_train_timesteps"),
    "steps of a fraction": ("sd15", settings(SCHEDULER, num_train_timesteps=1.5), "schedule"),
    "negative steps": ("sd15", settings(SCHEDULER, num_train_timesteps=-5), "schedule"),
    "betas": ("sd15", settings(SCHEDULER, beta_end="x"), "schedule"),
    "betas of lists": ("sd15", settings(SCHEDULER, trained_betas=[[0.1], [0.2]]), "schedule"),
    "betas of text": ("sd15", settings(SCHEDULER, trained_betas=["x"]), "schedule"),
    "huge betas": ("sd15", settings(SCHEDULER, beta_start=10**400), "at most"),
    "extra tokens": ("if-m", settings(TOKENIZER, extra_ids=HUGE), "extra_ids: expected at most"),
    "a length that is none": (
        "sd15", settings(TOKENIZER, model_max_length=[]), "tokenizer cannot be used"
    ),
    "a token that is not in the vocabulary": (
        "sd15", settings(TOKENIZER, pad_token="<new>"), r"tokens below 1542 .*, got 1542"
    ),
    "tokenizer of a list": ("sd15", text(TOKENIZER, "[]"), "expected a JSON object, got list"),
    "special tokens of a list": (
        "sd15", text("tokenizer/special_tokens_map.json", "[]"), "expected a JSON object"
    ),
    "tokenizer of nothing": (
        "sd15", text("tokenizer/tokenizer.json", "{}"), r"tokenizer/tokenizer\.json is damaged"
    ),
    "a long tensor": ("sd15", rename_tensor(UNET, LONG), "does not fit"),
    "a tensor of lines": ("sd15", rename_tensor(UNET, "conv_in.a\nb"), r"conv_in\.a\\nb"),
    "no object as config": ("sd15", text(TEXT_JSON, "null"), "expected a JSON object"),
    "no object as scheduler": ("sd15", text(SCHEDULER, "3"), "expected a JSON object, got int"),
    "not UTF-8": (
        "sd15", lambda p: (p / UNET_JSON).write_bytes(b"\xff\xfe{}"), "is damaged"
    ),
    "a large config": (
        "sd15", lambda p: os.truncate(p / UNET_JSON, 2**40), r"expected at most \d+ bytes"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_one_line_says_what_is_wrong(what: str, tmp_path: Path) -> None:
    family, spoil, message = HOSTILE[what]
    path = copied(family, tmp_path)
    spoil(path)
    with pytest.raises(PriorError, match=message) as caught:
        prior: Any = load_prior(str(path), CPU)
        prior.encode_prompt("a red chair")
        prior.load()
        predict_once(prior)
    said = str(caught.value)
    assert len(said) < 2500 and said.isprintable()
    with suppress(DfastError):
        family_of(str(path))


@pytest.mark.parametrize(
    "name", ["a\0b", "~\0/x", LONG, "\ud800/x", "a/" + LONG, "x\ny", "/" + "a/" * 5000]
)
def test_names_of_all_kinds(name: str) -> None:
    for ask in (lambda: load_prior(name, CPU), lambda: family_of(name)):
        with pytest.raises(PriorError) as caught:
            ask()
        assert len(str(caught.value)) < 2500 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"padding": {"strategy": {"Fixed": HUGE}, "direction": "Right", "pad_to_multiple_of": None,
                     "pad_id": 0, "pad_type_id": 0, "pad_token": "!"}},
        {"truncation": {"max_length": HUGE, "stride": 0, "strategy": "LongestFirst",
                        "direction": "Right"}},
    ],
)  # fmt: skip
def test_settings_of_tokenizers_that_dfast_overrides(changes: Any, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    edit_json(path / "tokenizer/tokenizer.json", **changes)
    edit_json(path / TOKENIZER, model_max_length=int(1e30))
    assert predict_once(load_prior(str(path), CPU)).isfinite().all()
