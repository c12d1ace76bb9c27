"""What an exception of another library's loader means: damage only if the files show it.

Loaders fail for many reasons that deleting and fetching files again does not mend: a package that
is missing, a device that fails, memory that runs out. The files are looked at before they are
blamed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import torch

from dfast._device import ran_out
from dfast.errors import DeviceError, DfastError, PriorError
from dfast.priors.loading.folder import ROOT, STEMS, Folder, first_line
from dfast.priors.loading.headers import read_json

_DEVICE_WORDS = ("CUDA error", "CUDA driver", "NVIDIA driver", "cuDNN", "CUBLAS", "cuda runtime",
                 "Torch not compiled with CUDA", "No CUDA GPUs", "device-side assert")  # fmt: skip
_PACKAGE_WORDS = ("pip install", "requires the", "but it was not found in your environment")
_CONFIGURATION = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError,
    NotImplementedError,
)  # fmt: skip
"""What building a network raises for values that its configuration should not have."""


def raise_explained(folder: Folder, part: str, error: Exception, device: torch.device) -> NoReturn:
    """Raise what an exception of a loader means.

    Args:
        folder: the pipeline folder.
        part: of the folder that was loaded.
        error: what the loader raised.
        device: where it loaded to.

    Raises:
        PriorError: for damage that a look at the files shows, a package that is missing, files that
            the system does not let dfast read, or a failure that the files do not explain.
        DeviceError: for a device that failed.
        Exception: the error itself if it is one of dfast or says that memory ran out.
    """
    _raise_for_surroundings(folder, part, error, device)
    try:
        look(folder, part)
    except PriorError as found:
        raise found from error
    where, kind, reason = folder.path / part, type(error).__name__, first_line(str(error))
    if isinstance(error, OSError):
        raise folder.unreadable_error(where, error) from error
    raise folder.error(
        f"{where} cannot be used ({kind}: {reason}); its files look whole"
    ) from error


@contextmanager
def calls_of(folder: Folder, part: str, device: torch.device) -> Iterator[None]:
    """Explain what a network or tokenizer raises for settings that fit no call, inside the block.

    Other errors, of memory, devices or shapes, pass unchanged.

    Args:
        folder: the pipeline folder.
        part: of the folder that is called.
        device: where it runs.

    Raises:
        PriorError: for such an error.
    """
    try:
        yield
    except _CONFIGURATION as error:
        raise_explained(folder, part, error, device)


def raise_misconfigured(folder: Folder, part: str, error: Exception) -> NoReturn:
    """Raise what it means that no network can be built from a part's config.json.

    Args:
        folder: the pipeline folder.
        part: of the folder.
        error: what building it on the meta device raised; nothing but config.json is read there.

    Raises:
        PriorError: for a package that is missing, or a configuration that cannot be used.
        Exception: the error itself if it is one of dfast or says that memory ran out.
    """
    _raise_for_surroundings(folder, part, error, torch.device("meta"))
    file = folder.path / part / "config.json"
    if isinstance(error, _CONFIGURATION) or type(error).__name__.startswith("StrictDataclass"):
        raise folder.damaged_error(file, str(error)) from error
    reason = f"{type(error).__name__}: {first_line(str(error))}"
    raise folder.error(f"no network can be built from {file} ({reason})") from error


def _raise_for_surroundings(
    folder: Folder, part: str, error: Exception, device: torch.device
) -> None:
    """Raise an error that is not about files: memory, packages or the device."""
    for cause in _causes(error):
        text = first_line(str(cause))
        if isinstance(cause, Exception) and (isinstance(cause, DfastError) or ran_out(cause)):
            if cause is error:
                raise error
            raise cause from error
        if isinstance(cause, ImportError) or any(words in str(cause) for words in _PACKAGE_WORDS):
            raise folder.error(
                f"{part}: reading it needs a package that is missing ({text})"
            ) from error
        is_device = type(cause).__name__ == "AcceleratorError"
        if is_device or any(words in str(cause) for words in _DEVICE_WORDS):
            raise DeviceError(
                f"device: {device} failed while {part} was loaded ({text})"
            ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and what it was raised from."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


def look(folder: Folder, part: str) -> None:
    """Read all small files of a part and the headers of its weights.

    Args:
        folder: the pipeline folder.
        part: of the folder: a network or a tokenizer.

    Raises:
        PriorError: for the first that is missing or damaged.
    """
    if part in STEMS:
        folder.read(part, "config.json")
        for file in folder.weights(part).files:
            _look_at_tensors(folder, file)
        if part != ROOT:
            return
    folder.check_tokenizer(part)
    for name in folder.names(part):
        path = folder.path / part / name
        if name.endswith(".json"):
            folder.read(part, name)
        reason = _trouble(path)
        if reason is not None:
            raise folder.damaged_error(path, reason)


def _look_at_tensors(folder: Folder, file: Path) -> None:
    """Raise PriorError if safetensors itself finds the header of a file invalid."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device="cpu") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (it is no mapping)
                tensors.get_slice(key).get_shape()
    except SafetensorError as error:
        raise folder.damaged_error(file, str(error)) from error


def _trouble(path: Path) -> str | None:
    """Return what is wrong with a file of a tokenizer by itself; None if nothing is found."""
    try:
        if path.name == "tokenizer.json":
            from tokenizers import Tokenizer

            Tokenizer.from_file(os.fspath(path))
        elif path.name in ("vocab.json", "added_tokens.json"):
            values = read_json(path).values()
            if not all(type(v) is int and v >= 0 for v in values):
                return "expected whole numbers for its tokens"
        elif path.suffix == ".txt":
            path.read_text(encoding="utf-8")
        elif path.name == "spiece.model":
            import_module("sentencepiece").SentencePieceProcessor().Load(os.fspath(path))
    except ImportError:
        return None
    except Exception as error:  # each parser has its own
        return str(error) or type(error).__name__
    return None
