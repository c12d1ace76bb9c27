"""A pipeline folder as diffusers writes them: what is in it, and whether it is whole.

Only small files are read here: JSON, and the headers of safetensors. Pickles (.bin, .ckpt) are
never read.
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
"""Parts with weights, and what their files are called."""

VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
"""Files of which a tokenizer needs any one group."""


@dataclass(frozen=True)
class Weights:
    """The safetensors files of one part, checked against their headers."""

    files: tuple[Path, ...]
    half: bool
    """Whether these are the fp16 variant."""
    bytes: int
    """Of all tensors, as stored."""


@dataclass(frozen=True)
class Folder:
    """A pipeline folder; methods raise PriorError for what is missing or damaged."""

    path: Path
    name: str
    """What the person called it, for messages."""
    fetched: bool = False
    """Whether it is of the hub's cache, so that `--download` can mend it."""

    def read(self, *parts: str) -> dict[str, Any]:
        """A JSON file of the folder, such as `read("unet", "config.json")`."""
        path = self.path.joinpath(*parts)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise self.partial("/".join(parts)) from error
        except (OSError, ValueError) as error:
            raise self.damaged(path, str(error)) from error
        if not isinstance(value, dict):
            raise self.damaged(path, f"expected a JSON object, got {type(value).__name__}")
        return value

    def has(self, part: str) -> bool:
        """Whether the folder has this part at all."""
        return (self.path / part).is_dir()

    def listed(self) -> list[str]:
        """The parts that its index names; those that it leaves out are null there."""
        index = self.read(INDEX)
        return [part for part, made in index.items() if isinstance(made, list) and any(made[:1])]

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part; {} if it is not there."""
        there = (self.path / part / "config.json").is_file()
        return self.read(part, "config.json") if there else {}

    def numbers(
        self, part: str, key: str, default: float | None, *, above: float = 0.0
    ) -> list[float]:
        """A finite number above `above` of a part's configuration, or the list of such that it has.

        default: of a key that is not there or null; None: it must be there.
        """
        value: Any = self.read(part, "config.json").get(key)
        value = default if value is None else value
        found: list[Any] = value if isinstance(value, list) and value else [value]
        if not all(type(v) in (int, float) and above < v < math.inf for v in found):
            what = "a positive number" if above == 0.0 else "a finite number"
            raise self.wrong(part, key, what, value)
        return found

    def number(self, part: str, key: str, default: float | None) -> float:
        """A positive number of a part's configuration; see `numbers`."""
        value, *more = self.numbers(part, key, default)
        if more:
            raise self.wrong(part, key, "one positive number", [value, *more])
        return value

    def check_tokenizer(self, part: str) -> None:
        """Whether all its files are there: transformers makes up a vocabulary that is not."""
        where = self.path / part
        if not where.is_dir():
            raise self.partial(part)
        names = {p.name for p in where.iterdir() if p.is_file()}
        if not any(names.issuperset(group) for group in VOCABULARIES):
            begun = next((g for g in VOCABULARIES if names & set(g)), VOCABULARIES[0])
            raise self.partial(f"{part}/{next(n for n in begun if n not in names)}")
        if "tokenizer_config.json" not in names:
            raise self.partial(f"{part}/tokenizer_config.json")

    def weights(self, part: str, *, half: bool = True) -> Weights:
        """The weights of `part`; half: prefer the fp16 variant, if there are both."""
        where = self.path / part
        if not where.is_dir():
            raise self.partial(part)
        names = [p.name for p in where.iterdir() if p.is_file()]
        chosen = pick(names, STEMS[part], half=half)
        if not chosen:
            if any(n.endswith((".bin", ".ckpt", ".pt", ".pth")) for n in names):
                raise PriorError(
                    f"prior {self.name!r}: {where} has only pickled weights, which dfast never "
                    "reads since loading them runs code; convert a folder that you trust with "
                    "DiffusionPipeline.from_pretrained(old).save_pretrained(new)"
                )
            raise self.partial(f"{part}/{STEMS[part]}.safetensors")
        names = [n for n in chosen if n.endswith(".safetensors")]
        for index in (n for n in chosen if n.endswith(".json")):
            names = self._shards(part, index)  # shards of another making may lie beside these
        files = tuple(where / n for n in sorted(names))
        if not files:
            raise self.partial(f"{part}/{STEMS[part]}.safetensors")
        total = sum(self._check(file) for file in files)
        return Weights(files, half=any(".fp16" in n for n in chosen), bytes=total)

    def _shards(self, part: str, index: str) -> list[str]:
        """The files that an index lists, all of them there."""
        listed = self.read(part, index).get("weight_map")
        names = set(map(str, listed.values())) if isinstance(listed, dict) else set()
        if not names or any(Path(name).name != name for name in names):
            raise self.damaged(self.path / part / index, "it lists no files of this folder")
        for name in sorted(names):
            if not (self.path / part / name).is_file():
                raise self.partial(f"{part}/{name}")
        return sorted(names)

    def _check(self, file: Path) -> int:
        """Bytes of tensors in a safetensors file whose length is what its header says."""
        try:
            size = file.stat().st_size
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, size)))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
            total = int(max(ends, default=0))
        except (OSError, ValueError, struct.error, AttributeError, LookupError, TypeError) as error:
            raise self.damaged(file, "no safetensors header") from error
        if size != 8 + length + total:
            raise self.damaged(file, f"{size} bytes where its header says {8 + length + total}")
        return total

    def partial(self, missing: str) -> PriorError:
        """The error for a part that is not there."""
        again = "fetch it again (`--download`)" if self.fetched else "copy or convert it again"
        return PriorError(
            f"prior {self.name!r}: incomplete, {self.path / missing} is missing; {again}"
        )

    def wrong(self, part: str, key: str, expected: str, got: object) -> PriorError:
        """The error for a configuration that makes no sense by itself."""
        reason = f"{key}: expected {expected}, got {got!r}"
        return self.damaged(self.path / part / "config.json", reason)

    def unlike(
        self, part: str, key: str, expected: object, got: object, *, like: str
    ) -> PriorError:
        """The error for a part, sound by itself, that does not belong to another, `like`."""
        return PriorError(
            f"prior {self.name!r}: {part}: expected {key} {expected} for this {like}, got {got}"
        )

    def misfit(self, part: str, key: str, expected: object, got: object) -> PriorError:
        """The error for weights of another shape than their configuration's."""
        return PriorError(
            f"prior {self.name!r}: {self.path / part} does not fit its config.json, "
            f"{key}: expected {expected}, got {got}"
        )

    def damaged(self, path: Path, reason: str) -> PriorError:
        """The error for a file that cannot be read."""
        first, *more = reason.strip().splitlines() or ["unreadable"]
        reason = f"{first} {more[0].strip()}" if more and first.endswith(":") else first
        # In the hub's cache a file is a link, and what it leads to would be linked again.
        again = f"delete {path.resolve()} and fetch it again (`--download`)"
        return PriorError(
            f"prior {self.name!r}: {path} is damaged ({reason}); "
            + (again if self.fetched else "copy or convert it again")
        )


def pick(names: Iterable[str], stem: str, *, half: bool = True) -> list[str]:
    """Those of a part's file names that hold its safetensors weights and their index.

    The fp16 variant or the plain files, whichever is preferred and there; [] if neither is.
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
        if whole := [n for n in files if "-of-" not in n and n.endswith(".safetensors")]:
            return whole[:1]
        if files:
            return files
    return []
