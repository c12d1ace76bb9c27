"""Tokenizers and text encoders of a pipeline folder, loaded for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfast.errors import PriorError, PromptError
from dfast.host.collection import no_collection
from dfast.priors.loading.folder import Folder, Weights
from dfast.priors.loading.imports import class_of
from dfast.priors.loading.leftovers import check_leftovers, renamed, unwrapped
from dfast.priors.loading.loader_errors import raise_explained, raise_misconfigured
from dfast.priors.loading.quiet import quiet
from dfast.priors.loading.weights import check_not_quantised


def fits(needed: int, free: int) -> bool:
    """Return whether an encoder of `needed` bytes can run in `free` bytes."""
    return free >= 1.2 * needed


@contextmanager
def open_text_encoder(
    folder: Folder, part: str, cls: str, dtype: torch.dtype, device: torch.device, setting: str
) -> Iterator[Any]:
    """Load a text encoder for the duration of a block.

    Args:
        folder: the pipeline folder.
        part: of the folder, such as "text_encoder".
        cls: class of transformers, perhaps with the module that it is in.
        dtype: of the stored weights.
        device: of the prior.
        setting: prior.text_encoder, which decides where the encoder runs.

    Yields:
        The model in eval mode.

    Raises:
        PriorError: if its files are missing or damaged.
    """
    weights = folder.weights(part, half=dtype != torch.float32)
    options: dict[str, Any] = {"dtype": dtype}
    if setting == "8bit":
        options |= eight_bit_options(device)
    else:
        device = _choose_device(setting, device, weights.bytes)
    check_not_quantised(folder, part, weights)
    config = _check_encoder(folder, part, cls, weights)
    try:
        with no_collection(), quiet():
            model, info = _load_model(folder.path / part, cls, weights, config, options)
    except Exception as error:  # damaged files fail in many ways
        raise_explained(folder, part, error, device)
    if info["mismatched_keys"]:
        key, got, expected = sorted(info["mismatched_keys"])[0]
        raise folder.shape_error(part, key, tuple(expected), tuple(got))
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[0]
        raise folder.damaged_error(folder.path / part, f"it lacks {missing}")
    check_leftovers(folder, part, info["unexpected_keys"], set(model.state_dict()))
    if setting != "8bit":
        model = _compute_in_float32(model) if device.type == "cpu" else model.to(device)
    yield model.eval()


def _check_encoder(folder: Folder, part: str, cls: str, weights: Weights) -> Any:
    """Return the configuration of an encoder, after a comparison of its shapes with the headers.

    transformers would allocate what a configuration asks for, however large.
    """
    folder.read(part, "config.json")  # transformers would invent one that is missing
    made = _class_of(cls)
    try:
        with quiet(), torch.device("meta"):
            config = made.config_class.from_pretrained(folder.path / part, local_files_only=True)
            if cls.endswith("T5GemmaEncoder"):
                config = _encoder_half(config, folder, part)
            expected = {k: tuple(v.shape) for k, v in made(config).state_dict().items()}
    except Exception as error:  # a foreign configuration fails in many ways
        raise_misconfigured(folder, part, error)
    taken: dict[str, str] = {}
    for header in weights.headers.values():
        for key, info in header.tensors.items():
            name = unwrapped(key)
            if (first := taken.setdefault(name.removeprefix("text_model."), key)) != key:
                raise folder.twice_error(part, name, first, key)
            # The encoders of older and newer files have other names for the same base.
            names = (name, f"text_model.{name}", name.removeprefix("text_model."))
            shape = next((expected[n] for n in names if n in expected), info.shape)
            if shape != info.shape:
                raise folder.shape_error(part, key, shape, info.shape)
    return config


def _encoder_half(config: Any, folder: Folder, part: str) -> Any:
    """Return the configuration of T5Gemma's encoder, from a file of both halves or of one."""
    half = config.encoder
    if "encoder" not in folder.config(part):
        half = type(half).from_pretrained(folder.path / part, local_files_only=True)
        half.dropout_rate = getattr(half, "dropout_rate", 0.0)
    return half


def _load_model(
    path: Path, cls: str, weights: Weights, config: Any, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return a model of transformers, and what was missing or left over in its files."""
    made, options = _class_of(cls), options | {"config": config}
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # reported by name
    ending = f".{weights.variant}" if weights.variant else ""
    shards = all("-of-" in p.name for p in weights.files)
    wanted = f"model.safetensors.index{ending}.json" if shards else f"model{ending}.safetensors"
    if (path / wanted).is_file() and not renamed(weights):
        options |= {"variant": weights.variant or None, "use_safetensors": True}
        return made.from_pretrained(path, local_files_only=True, **options)
    from safetensors.torch import load_file

    state = {unwrapped(k): v for file in weights.files for k, v in load_file(file).items()}
    return made.from_pretrained(None, state_dict=state, **options)


def _class_of(cls: str) -> Any:
    """Return a class of transformers, by its name or by its module and name."""
    module, _, name = f"transformers.{cls}".rpartition(".")
    return class_of(module, name)


def _choose_device(setting: str, device: torch.device, needed: int) -> torch.device:
    """Return where an encoder of `needed` bytes runs under the setting prior.text_encoder."""
    if setting == "cpu" or device.type != "cuda":
        return torch.device("cpu")
    if setting == "auto" and not fits(needed, torch.cuda.mem_get_info(device)[0]):
        return torch.device("cpu")
    return device


def _compute_in_float32(model: Any) -> Any:
    """Make a model compute in float32, since CPUs are slow in any other precision.

    The billions of bytes of T5 and of language models stay in half precision, except for the block
    that runs.
    """
    blocks = getattr(getattr(model, "encoder", model), "block", getattr(model, "layers", ()))
    stored = model.dtype
    if stored == torch.float32 or not blocks:
        return model.float()
    inside = {id(tensor) for tensor in blocks.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in inside:
            parameter.data = parameter.data.float()
    for block in blocks:
        _widen_while_it_runs(block)
    return model


def _widen_while_it_runs(block: Any) -> None:
    """Cast a block to float32 before each call, and put its stored weights back afterwards."""
    stored = [(parameter, parameter.data) for parameter in block.parameters()]

    def widen(*_: Any) -> None:
        for parameter, data in stored:
            parameter.data = data.float()

    def restore(*_: Any) -> None:
        for parameter, data in stored:
            parameter.data = data

    block.register_forward_pre_hook(widen)
    block.register_forward_hook(restore)


def eight_bit_options(device: torch.device) -> dict[str, Any]:
    """Return the options of `from_pretrained` for 8-bit weights.

    Args:
        device: where the encoder runs.

    Raises:
        PriorError: without a CUDA device, or without the packages that this needs.
    """
    missing = _missing_packages("bitsandbytes", "accelerate")
    if missing or device.type != "cuda":
        got = f"without {' and '.join(missing)}" if missing else f"{device.type!r}"
        raise PriorError(
            f"prior.text_encoder: '8bit' expects a CUDA device and `pip install bitsandbytes "
            f"accelerate`, got {got}; 'cpu' needs neither"
        )
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(load_in_8bit=True),
        "device_map": {"": device},
    }


def load_tokenizer(folder: Folder, part: str, cls: str) -> Any:
    """Load a tokenizer.

    Args:
        folder: the pipeline folder.
        part: of the folder, such as "tokenizer".
        cls: class of transformers.

    Raises:
        PriorError: if its files are missing or damaged, or need a package that is missing.
    """
    folder.check_tokenizer(part)
    files = {p.name for p in (folder.path / part).glob("*")}
    sentencepiece = "spiece.model" in files and "tokenizer.json" not in files
    if sentencepiece and (missing := _missing_packages("sentencepiece", "protobuf")):
        raise PriorError(
            f"prior {folder.name!r}: reading its spiece.model needs "
            f"`pip install {' '.join(missing)}`"
        )
    try:
        with no_collection(), quiet():
            made = getattr(import_module("transformers"), cls)
            return made.from_pretrained(folder.path / part, local_files_only=True)
    except Exception as error:  # damaged files fail in many ways
        raise_explained(folder, part, error, torch.device("cpu"))


def _missing_packages(*packages: str) -> list[str]:
    """Return those packages that are not installed."""
    found = {str(distribution.name).lower() for distribution in metadata.distributions()}
    return [name for name in packages if name not in found]


def tokenize(tokenizer: Any, sentences: list[str], length: int) -> list[tuple[Tensor, Tensor]]:
    """Return (ids, mask) of each sentence, [1, length] int64 each, padded at the end.

    Args:
        tokenizer: of transformers.
        sentences: N texts.
        length: tokens of each row.

    Raises:
        PromptError: if a sentence has more tokens. Cutting it would remove the words of the view,
            which come last.
    """
    tokenizer.padding_side = "right"
    with quiet():
        uncut = tokenizer(sentences).input_ids
    for sentence, ids in zip(sentences, uncut, strict=True):
        if len(ids) > length:
            raise PromptError(
                f"prompt or negative: expected at most {length} tokens with the words of the "
                f"view, got {len(ids)} in {sentence!r}"
            )
    padded = tokenizer(sentences, padding="max_length", max_length=length, return_tensors="pt")
    return list(zip(padded.input_ids.split(1), padded.attention_mask.split(1), strict=True))


def one_at_a_time(
    model: Any, rows: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over (ids, mask) of sentences, [1, length] each, on the device of the model."""
    return ((ids.to(model.device), mask.to(model.device)) for ids, mask in rows)
