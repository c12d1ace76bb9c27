"""Which files of a part hold its weights: in one piece or in shards, under a variant's name or not.

Variants are copies of the same part: "fp16", "bf16", "non_ema" and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""Endings of files that are never read, because loading one runs code."""


def variants_of(names: Iterable[str], stem: str) -> dict[str, list[str]]:
    """Return the safetensors files and indices of weights by their variant; "" is none.

    Args:
        names: of all files of the part.
        stem: of the weights' names, such as "model".
    """
    variant = r"(?:\.([A-Za-z][\w.-]*?))?"  # its place in a name has changed over the years
    pattern = re.compile(
        rf"{re.escape(stem)}{variant}(?:-\d+-of-\d+)?{variant}\.safetensors"
        rf"(?:\.index{variant}\.json)?"
    )
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        if match := pattern.fullmatch(name):
            parts = dict.fromkeys(filter(None, match.groups()))
            found.setdefault(".".join(parts), []).append(name)
    return found


def select_weight_files(names: Iterable[str], stem: str, *, half: bool = True) -> list[str]:
    """Return those file names of a part that are its safetensors weights and their index.

    Args:
        names: of all files of the part.
        stem: of the weights' names, such as "model".
        half: prefer the fp16 variant if there are both it and the plain one.

    Returns:
        One file, or shards and their index. Other variants are taken if there is only one; [] if
        there are several or none.
    """
    found = variants_of(names, stem)
    preferred = ("fp16", "") if half else ("", "fp16")
    usable = [found[v] for v in preferred if v in found] or list(found.values())
    if len(found) > 1 and not found.keys() & set(preferred):
        return []
    # An index without its shards comes last; the error for it names the first of them.
    usable.sort(key=lambda files: not any(n.endswith(".safetensors") for n in files))
    for files in usable:
        single = [n for n in files if "-of-" not in n and n.endswith(".safetensors")]
        return single[:1] or files
    return []


def lost_shards(names: Iterable[str]) -> list[str]:
    """Return the names of shards that are not among those of one set without an index.

    Args:
        names: of shards, such as "model-00001-of-00002.safetensors".
    """
    have = set(names)
    parsed = [m for n in have if (m := re.search(r"-(\d+)-of-(\d+)", n))]
    wanted = {
        f"{m.string[: m.start(1)]}{i:0{len(m[1])}d}{m.string[m.end(1) :]}"
        for m in parsed
        for i in range(1, min(int(m[2]), 10_000) + 1)
    }
    return sorted(wanted - have)
