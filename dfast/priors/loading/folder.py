"""A pipeline folder as diffusers writes them: its parts, and whether they are complete.

Only small files are read: JSON, and the headers of safetensors. Pickles (.bin, .ckpt) are never
read, because loading one runs code.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfast.errors import PriorError

INDEX = "model_index.json"
STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""Parts with weights, and the stem of the names of their files."""

VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
"""Groups of files; a tokenizer needs one of them complete."""


@dataclass(frozen=True)
class Weights:
    """The safetensors files of one part, checked against their headers."""

    files: tuple[Path, ...]
    half: bool
    """whether these are the fp16 variant"""
    bytes: int
    """of all tensors, as stored"""


@dataclass(frozen=True)
class Folder:
    """A pipeline folder. Methods raise PriorError for what is missing or damaged."""

    path: Path
    name: str
    """as the user wrote it, for messages"""
    fetched: bool = False
    """whether it is in the hub's cache, so that `--download` can complete it"""

    def read(self, *parts: str) -> dict[str, Any]:
        """Return the JSON object in a file, such as `read("unet", "config.json")`."""
        path = self.path.joinpath(*parts)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise self.missing_error("/".join(parts)) from error
        except (OSError, ValueError) as error:
            raise self.damaged_error(path, str(error)) from error
        if not isinstance(value, dict):
            raise self.damaged_error(path, f"expected a JSON object, got {type(value).__name__}")
        return value

    def has(self, part: str) -> bool:
        """Return whether the folder has this part."""
        return (self.path / part).is_dir()

    def listed(self) -> list[str]:
        """Return the parts in its index. Parts that a pipeline does without are null there."""
        index = self.read(INDEX)
        return [part for part, cls in index.items() if isinstance(cls, list) and any(cls[:1])]

    def config(self, part: str) -> dict[str, Any]:
        """Return the configuration of a part; {} if it has none."""
        exists = (self.path / part / "config.json").is_file()
        return self.read(part, "config.json") if exists else {}

    def numbers(
        self, part: str, key: str, default: float | None, *, above: float = 0.0
    ) -> list[float]:
        """Return the number, or the list of numbers, at a key of a part's configuration.

        Args:
            part: whose config.json is read.
            key: of the value.
            default: the value if the key is missing or null; with None it must exist.
            above: exclusive lower bound of every number.

        Raises:
            PriorError: if it is anything but finite numbers above `above`.
        """
        value: Any = self.read(part, "config.json").get(key)
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
        where = self.path / part
        if not where.is_dir():
            raise self.missing_error(part)
        names = {p.name for p in where.iterdir() if p.is_file()}
        if not any(names.issuperset(group) for group in VOCABULARIES):
            group = next((g for g in VOCABULARIES if names & set(g)), VOCABULARIES[0])
            raise self.missing_error(f"{part}/{next(n for n in group if n not in names)}")
        if "tokenizer_config.json" not in names:
            raise self.missing_error(f"{part}/tokenizer_config.json")

    def weights(self, part: str, *, half: bool = True) -> Weights:
        """Return the files of the weights of a part, after a check of their headers.

        Args:
            part: one of `STEMS`.
            half: prefer the fp16 variant if there are both.

        Raises:
            PriorError: if files are missing, damaged or pickles.
        """
        where = self.path / part
        if not where.is_dir():
            raise self.missing_error(part)
        names = [p.name for p in where.iterdir() if p.is_file()]
        chosen = select_weight_files(names, STEMS[part], half=half)
        if not chosen:
            if any(n.endswith((".bin", ".ckpt", ".pt", ".pth")) for n in names):
                raise PriorError(
                    f"prior {self.name!r}: {where} has only pickled weights, which dfast never "
                    "reads since loading them runs code; convert a folder that you trust with "
                    "DiffusionPipeline.from_pretrained(old).save_pretrained(new)"
                )
            raise self.missing_error(f"{part}/{STEMS[part]}.safetensors")
        names = [n for n in chosen if n.endswith(".safetensors")]
        for index in (n for n in chosen if n.endswith(".json")):
            names = self._shards(part, index)  # unrelated shards may lie in the same folder
        files = tuple(where / n for n in sorted(names))
        if not files:
            raise self.missing_error(f"{part}/{STEMS[part]}.safetensors")
        total = sum(self._check_header(file) for file in files)
        return Weights(files, half=any(".fp16" in n for n in chosen), bytes=total)

    def _shards(self, part: str, index: str) -> list[str]:
        """Return the files that an index lists, after a check that all of them exist."""
        listed = self.read(part, index).get("weight_map")
        names = set(map(str, listed.values())) if isinstance(listed, dict) else set()
        if not names or any(Path(name).name != name for name in names):
            raise self.damaged_error(self.path / part / index, "it lists no files of this folder")
        for name in sorted(names):
            if not (self.path / part / name).is_file():
                raise self.missing_error(f"{part}/{name}")
        return sorted(names)

    def _check_header(self, file: Path) -> int:
        """Return the bytes of tensors in a safetensors file, after a check of its length."""
        try:
            size = file.stat().st_size
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, size)))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
            total = int(max(ends, default=0))
        except (OSError, ValueError, struct.error, AttributeError, LookupError, TypeError) as error:
            raise self.damaged_error(file, "no safetensors header") from error
        if size != 8 + length + total:
            raise self.damaged_error(
                file, f"{size} bytes where its header says {8 + length + total}"
            )
        return total

    def missing_error(self, missing: str) -> PriorError:
        """Return the error for a part or file that is missing."""
        again = "fetch it again (`--download`)" if self.fetched else "copy or convert it again"
        return PriorError(
            f"prior {self.name!r}: incomplete, {self.path / missing} is missing; {again}"
        )

    def value_error(self, part: str, key: str, expected: str, got: object) -> PriorError:
        """Return the error for an invalid value in a part's configuration."""
        reason = f"{key}: expected {expected}, got {got!r}"
        return self.damaged_error(self.path / part / "config.json", reason)

    def mismatch_error(
        self, part: str, key: str, expected: object, got: object, *, other: str
    ) -> PriorError:
        """Return the error for a valid part that does not match another part, `other`."""
        return PriorError(
            f"prior {self.name!r}: {part}: expected {key} {expected} for this {other}, got {got}"
        )

    def shape_error(self, part: str, key: str, expected: object, got: object) -> PriorError:
        """Return the error for weights whose shape is not that of their configuration."""
        return PriorError(
            f"prior {self.name!r}: {self.path / part} does not fit its config.json, "
            f"{key}: expected {expected}, got {got}"
        )

    def damaged_error(self, path: Path, reason: str) -> PriorError:
        """Return the error for a file that cannot be used."""
        first, *more = reason.strip().splitlines() or ["unreadable"]
        reason = f"{first} {more[0].strip()}" if more and first.endswith(":") else first
        # In the hub's cache a file is a link; the damaged target must go, or it is linked again.
        again = f"delete {path.resolve()} and fetch it again (`--download`)"
        return PriorError(
            f"prior {self.name!r}: {path} is damaged ({reason}); "
            + (again if self.fetched else "copy or convert it again")
        )


def select_weight_files(names: Iterable[str], stem: str, *, half: bool = True) -> list[str]:
    """Return those file names of a part that are its safetensors weights and their index.

    Args:
        names: of all files of the part.
        stem: of the weights' names, see `STEMS`.
        half: prefer the fp16 variant if there are both.

    Returns:
        One file, or shards and their index; [] if there are neither.
    """
    found: dict[bool, list[str]] = {True: [], False: []}
    pattern = re.compile(
        re.escape(stem)
        + r"(?P<a>\.fp16)?(-\d+-of-\d+)?(?P<b>\.fp16)?\.safetensors(\.index(?P<c>\.fp16)?\.json)?"
    )
    for name in sorted(names):
        if match := pattern.fullmatch(name):
            found[any(match.group(g) for g in "abc")].append(name)
    for variant in (half, not half):
        files = found[variant]
        if single := [n for n in files if "-of-" not in n and n.endswith(".safetensors")]:
            return single[:1]
        if files:
            return files
    return []
