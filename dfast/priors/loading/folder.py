"""A pipeline folder as diffusers writes them: its parts, and whether they are complete.

Only small files are read: JSON, and the headers of safetensors. Pickles (.bin, .ckpt) are never
read, because loading one runs code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dfast.errors import PriorError
from dfast.priors.loading.headers import Header, excessive, read_header, read_json
from dfast.priors.loading.weight_files import (
    PICKLES,
    lost_shards,
    select_weight_files,
    variants_of,
)

INDEX = "model_index.json"
ROOT = "."
"""The part of a folder that holds one model of transformers, and so has no parts."""
NETWORK = "./"
"""The part of a folder that holds one network of diffusers, and so has no parts."""
STEMS = {
    ROOT: "model",
    NETWORK: "diffusion_pytorch_model",
    "unet": "diffusion_pytorch_model",
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
    "text_encoder_3": "model",
}
"""Parts with weights, and the stem of the names of their files."""

LONGEST = 1000
"""Characters of a message; a name in a file can have thousands."""

VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
"""Groups of files; a tokenizer needs one of them complete."""


@dataclass(frozen=True)
class Weights:
    """The safetensors files of one part, checked against their headers."""

    files: tuple[Path, ...]
    variant: str
    """in the names of the files, such as "fp16"; "" is none"""
    headers: Mapping[Path, Header] = field(repr=False)
    """of the files"""

    @property
    def half(self) -> bool:
        """Return whether these are the fp16 variant."""
        return self.variant == "fp16"

    @property
    def bytes(self) -> int:
        """Return the bytes of all tensors, as stored."""
        return sum(header.bytes for header in self.headers.values())


@dataclass(frozen=True)
class Folder:
    """A pipeline folder. Methods raise PriorError for what is missing or damaged."""

    path: Path
    name: str
    """as the user wrote it, for messages"""
    fetched: bool = False
    """whether it is in the hub's cache, so that `--download` can complete it"""

    kind: ClassVar[str] = "prior"
    """what its messages call it"""
    converter: ClassVar[str] = "DiffusionPipeline"
    """class that writes such folders from pickled ones"""

    def read(self, *parts: str) -> dict[str, Any]:
        """Return the JSON object in a file, such as `read("unet", "config.json")`."""
        path = self.path.joinpath(*parts)
        if not os.path.lexists(path):
            raise self.missing_error("/".join(parts))
        try:
            # A pipe would be waited for, and a device read without end.
            if path.exists() and not path.is_file():
                raise ValueError("expected a file")
            value = read_json(path)
        except OSError as error:
            raise self.unreadable_error(path, error) from error
        except ValueError as error:
            raise self.damaged_error(path, str(error)) from error
        if path.name.endswith("config.json") and (found := excessive(value)):
            key, expected, got = found
            raise self.damaged_error(path, f"{key}: expected {expected}, got {got!r}")
        return value

    def has(self, part: str) -> bool:
        """Return whether the folder has this part."""
        return os.path.isdir(self.path / part)

    def names(self, part: str) -> list[str]:
        """Return the names of the files of a part."""
        where = self.path / part
        if not self.has(part):
            raise self.missing_error(part)
        try:
            return [n for n in sorted(os.listdir(where)) if os.path.isfile(where / n)]
        except OSError as error:
            raise self.unreadable_error(where, error) from error

    def listed(self) -> list[str]:
        """Return the parts in its index. Parts that a pipeline does without are null there."""
        index = self.read(INDEX)
        return [part for part, cls in index.items() if isinstance(cls, list) and any(cls[:1])]

    def config(self, part: str) -> dict[str, Any]:
        """Return the configuration of a part; {} if it has none."""
        exists = os.path.lexists(self.path / part / "config.json")
        return self.read(part, "config.json") if exists else {}

    def numbers(
        self, part: str, key: str, default: float | None, *, above: float = 0.0
    ) -> list[float]:
        """Return the number, or the list of numbers, at a key of a part's configuration.

        Args:
            part: whose config.json is read.
            key: of the value; of one in an inner table it is "table.key".
            default: the value if the key is missing or null; with None it must exist.
            above: exclusive lower bound of every number.

        Raises:
            PriorError: if it is anything but finite numbers above `above`.
        """
        value: Any = self.read(part, "config.json")
        for step in key.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        value = default if value is None else value
        found: list[Any] = value if isinstance(value, list) and value else [value]
        if not all(type(v) in (int, float) and above < v < math.inf for v in found):
            what = "a positive number" if above == 0.0 else "a finite number"
            raise self.value_error(part, key, what, value)
        return found

    def number(self, part: str, key: str, default: float | None) -> float:
        """Return the one positive number at a key of a part's configuration; see `numbers`."""
        value, *more = self.numbers(part, key, default)
        if more:
            raise self.value_error(part, key, "one positive number", [value, *more])
        return value

    def check_tokenizer(self, part: str) -> None:
        """Raise PriorError unless a tokenizer has all its files.

        transformers would invent a vocabulary that is missing.
        """
        names = set(self.names(part))
        if not any(names.issuperset(group) for group in VOCABULARIES):
            group = next((g for g in VOCABULARIES if names & set(g)), VOCABULARIES[0])
            raise self.missing_error(f"{part}/{next(n for n in group if n not in names)}")
        if "tokenizer_config.json" not in names:
            raise self.missing_error(f"{part}/tokenizer_config.json")
        for name in names & {"tokenizer_config.json", "special_tokens_map.json"}:
            self.read(part, name)

    def weights(self, part: str, *, half: bool = True) -> Weights:
        """Return the files of the weights of a part, after a check of their headers.

        Args:
            part: one of `STEMS`.
            half: prefer the fp16 variant if there are both.

        Raises:
            PriorError: if files are missing, damaged or pickles.
        """
        names, stem = self.names(part), STEMS[part]
        chosen = select_weight_files(names, stem, half=half)
        if not chosen:
            raise self._no_weights_error(part, names)
        (variant,) = variants_of(chosen, stem)
        files = [n for n in chosen if n.endswith(".safetensors")]
        if indices := [n for n in chosen if n.endswith(".json")]:
            files = self._shards(part, indices[0])  # unrelated shards may lie in the same folder
        elif lost := lost_shards(files):
            raise self.missing_error(f"{part}/{lost[0]}")
        headers = {path: self._header(path) for path in (self.path / part / n for n in files)}
        return Weights(tuple(headers), variant, headers)

    def _shards(self, part: str, index: str) -> list[str]:
        """Return the files that an index lists, after a check that all of them exist."""
        listed = self.read(part, index).get("weight_map")
        files = set(listed.values()) if isinstance(listed, dict) and _texts(listed) else set[str]()
        if not files or any(Path(n).name != n for n in files):
            raise self.damaged_error(self.path / part / index, "it lists no files of this folder")
        for name in sorted(files):
            if not os.path.isfile(self.path / part / name):
                raise self.missing_error(f"{part}/{name}")
        return sorted(files)

    def _header(self, file: Path) -> Header:
        """Return the header of a safetensors file, after a check of its length."""
        try:
            return read_header(file)
        except OSError as error:
            raise self.unreadable_error(file, error) from error
        except ValueError as error:
            raise self.damaged_error(file, str(error)) from error

    def _no_weights_error(self, part: str, names: list[str]) -> PriorError:
        """Return the error for a part without weights that can be chosen, by what it has."""
        where, stem = self.path / part, STEMS[part]
        others = [n for n in names if n.endswith(".safetensors")]
        if variants := sorted(variants_of(names, stem)):
            return self.error(
                f"{where} has weights only as variants, {', '.join(variants)}; keep the files of "
                f"one of them, or rename those to {stem}.safetensors"
            )
        if not others and any(n.endswith(PICKLES) for n in names):
            return self.error(
                f"{where} has only pickled weights, which dfast never "
                "reads since loading them runs code; convert a folder that you trust with "
                f"{self.converter}.from_pretrained(old).save_pretrained(new)"
            )
        found = [n for n in names if n.endswith((".safetensors", ".gguf", ".msgpack", ".onnx"))]
        beside = f" (it has {', '.join(found[:3])})" if found else ""
        return self.missing_error(f"{part}/{stem}.safetensors", beside)

    def error(self, text: str) -> PriorError:
        """Return an error about this folder, in one line of bounded length."""
        return PriorError(f"{self.kind} {one_line(self.name, repr)}: {one_line(text)}")

    def missing_error(self, missing: str, beside: str = "") -> PriorError:
        """Return the error for a part or file that is missing; `beside` is what is there."""
        again = "fetch it again (`--download`)" if self.fetched else "copy or convert it again"
        return self.error(f"incomplete, {self.path / missing} is missing{beside}; {again}")

    def unreadable_error(self, path: Path, error: OSError) -> PriorError:
        """Return the error for a file or folder that the system does not let dfast read."""
        return self.error(f"{path} cannot be read ({error.strerror or error})")

    def value_error(self, part: str, key: str, expected: str, got: object) -> PriorError:
        """Return the error for an invalid value in a part's configuration."""
        reason = f"{key}: expected {expected}, got {got!r}"
        return self.damaged_error(self.path / part / "config.json", reason)

    def mismatch_error(
        self, part: str, key: str, expected: object, got: object, *, other: str
    ) -> PriorError:
        """Return the error for a valid part that does not match another part, `other`."""
        return self.error(f"{part}: expected {key} {expected} for this {other}, got {got}")

    def shape_error(self, part: str, key: str, expected: object, got: object) -> PriorError:
        """Return the error for weights whose shape is not that of their configuration."""
        return self.error(
            f"{self.path / part} does not fit its config.json, {one_line(key)}: expected "
            f"{expected}, got {got}"
        )

    def twice_error(self, part: str, name: str, first: str, second: str) -> PriorError:
        """Return the error for two tensors in the files of a part that have the same place."""
        return self.error(
            f"{part}: expected one tensor {one_line(name)}, got two, {one_line(first)} and "
            f"{one_line(second)} in its files; remove the one that is not meant"
        )

    def damaged_error(self, path: Path, reason: str) -> PriorError:
        """Return the error for a file that cannot be used."""
        # In the hub's cache a file is a link; the damaged target must go, or it is linked again.
        again = f"delete {os.path.realpath(path)} and fetch it again (`--download`)"
        return self.error(
            f"{path} is damaged ({first_line(reason)}); "
            + (again if self.fetched else "copy or convert it again")
        )


def _texts(values: Mapping[str, Any]) -> bool:
    """Return whether all values are texts."""
    return all(isinstance(v, str) for v in values.values())


def first_line(reason: str) -> str:
    """Return the first line of a library's message, with the next if it only introduces that."""
    first, *more = [line for line in reason.strip().splitlines() if line.strip()] or ["unreadable"]
    return one_line(
        f"{first} {more[0].strip()}" if more and first.rstrip().endswith(":") else first
    )


def one_line(text: Any, write: Callable[[Any], str] = str) -> str:
    """Return a text from a file or a library in one line, cut in the middle if it is long.

    Args:
        text: what is shown.
        write: how it is written.
    """
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in write(text))
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]}...{line[-LONGEST // 2 :]}"
