"""Tokenizers and text encoders of a pipeline folder, loaded for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from dfast._device import ran_out
from dfast.errors import PriorError, PromptError
from dfast.priors.loading._quiet import quiet
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.weights import check_floating


def fits(needed: int, free: int) -> bool:
    """Whether an encoder of `needed` bytes has room to run in `free` bytes."""
    return free >= 1.2 * needed


def pick_device(where: str, device: torch.device, needed: int) -> torch.device:
    """Where an encoder of `needed` bytes runs, from the setting prior.text_encoder."""
    if where == "cpu" or device.type != "cuda":
        return torch.device("cpu")
    if where == "auto" and not fits(needed, torch.cuda.mem_get_info(device)[0]):
        return torch.device("cpu")
    return device


@contextmanager
def encoder(
    folder: Folder, part: str, cls: str, dtype: torch.dtype, device: torch.device, where: str
) -> Iterator[Any]:
    """The text encoder of `part`, of a class of transformers. Raises PriorError if it is damaged.

    where: the setting prior.text_encoder.
    """
    import transformers

    folder.read(part, "config.json")  # transformers makes up one that is missing
    weights = folder.weights(part, half=dtype != torch.float32)
    options: dict[str, Any] = {"dtype": dtype, "variant": "fp16" if weights.half else None}
    if where == "8bit":
        options |= eight_bits(device)
    else:
        device = pick_device(where, device, weights.bytes)
    check_floating(folder, weights)
    try:
        with quiet():
            model, info = getattr(transformers, cls).from_pretrained(
                folder.path / part,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, by name
                **options,
            )
    except Exception as error:  # damaged files fail in many ways
        if ran_out(error):
            raise
        raise folder.damaged(folder.path / part, str(error)) from error
    if info["mismatched_keys"]:
        key, got, expected = sorted(info["mismatched_keys"])[0]
        raise folder.misfit(part, key, tuple(expected), tuple(got))
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[0]
        raise folder.damaged(folder.path / part, f"it lacks {missing}")
    if where != "8bit":
        model = _in_float32(model) if device.type == "cpu" else model.to(device)
    yield model.eval()


def _in_float32(model: Any) -> Any:
    """The model with float32 arithmetic, since CPUs are slow at any other.

    The eleven billion bytes of DeepFloyd's T5 stay in half precision, all but the block that runs.
    """
    blocks = getattr(getattr(model, "encoder", None), "block", ())
    stored = model.dtype
    if stored == torch.float32 or not blocks:
        return model.float()
    for module in (model.shared, model.encoder.final_layer_norm):
        module.float()
    for block in blocks:
        _widen_while_it_runs(block)
    return model


def _widen_while_it_runs(block: Any) -> None:
    """In float32 for each call; what is stored stays, so that nothing is cast back."""
    stored = [(parameter, parameter.data) for parameter in block.parameters()]

    def widen(*_: Any) -> None:
        for parameter, data in stored:
            parameter.data = data.float()

    def restore(*_: Any) -> None:
        for parameter, data in stored:
            parameter.data = data

    block.register_forward_pre_hook(widen)
    block.register_forward_hook(restore)


def eight_bits(device: torch.device) -> dict[str, Any]:
    """Options of `from_pretrained`. Raises PriorError where 8 bits cannot be had."""
    lacking = _lacking("bitsandbytes", "accelerate")
    if lacking or device.type != "cuda":
        got = f"without {' and '.join(lacking)}" if lacking else f"{device.type!r}"
        raise PriorError(
            f"prior.text_encoder: '8bit' expects a CUDA device and `pip install bitsandbytes "
            f"accelerate`, got {got}; 'cpu' needs neither"
        )
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(load_in_8bit=True),
        "device_map": {"": device},
    }


def tokenizer(folder: Folder, part: str, cls: str) -> Any:
    """The tokenizer of `part`, of a class of transformers. Raises PriorError."""
    import transformers

    folder.check_tokenizer(part)
    files = {p.name for p in (folder.path / part).glob("*")}
    pieces = "spiece.model" in files and "tokenizer.json" not in files
    if pieces and (lacking := _lacking("sentencepiece", "protobuf")):
        raise PriorError(
            f"prior {folder.name!r}: reading its spiece.model needs "
            f"`pip install {' '.join(lacking)}`"
        )
    try:
        with quiet():
            return getattr(transformers, cls).from_pretrained(
                folder.path / part, local_files_only=True
            )
    except Exception as error:  # damaged files fail in many ways
        raise folder.damaged(folder.path / part, str(error)) from error


def _lacking(*packages: str) -> list[str]:
    """Those that are not installed."""
    found = {str(made.name).lower() for made in metadata.distributions()}
    return [name for name in packages if name not in found]


def tokens(tokenizer: Any, sentences: list[str], length: int) -> tuple[Tensor, Tensor]:
    """(ids, mask), [N,length] int64, padded. Raises PromptError for a sentence that is cut.

    The words of the view come last, so that a long prompt would lose them without a sign.
    """
    with quiet():
        whole = tokenizer(sentences).input_ids
    for sentence, ids in zip(sentences, whole, strict=True):
        if len(ids) > length:
            raise PromptError(
                f"prompt or negative: expected at most {length} tokens with the words of the "
                f"view, got {len(ids)} in {sentence!r}"
            )
    made = tokenizer(sentences, padding="max_length", max_length=length, return_tensors="pt")
    return made.input_ids, made.attention_mask


def one_by_one(model: Any, ids: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids, mask), [1,length] each, of one sentence after another, where the model is."""
    return zip(ids.to(model.device).split(1), mask.to(model.device).split(1), strict=True)
