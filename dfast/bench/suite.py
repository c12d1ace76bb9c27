"""The list of all benchmark cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dfast.bench.case import Case, Sizes, sizes
from dfast.errors import ConfigError

LETTERS = "ABCDEF"
TITLES = {
    "A": "hash grid (16 levels, 2^19 entries): values, table gradient",
    "B": "marching 128^3 cells",
    "C": "compositing, forward and backward",
    "D": "field (grid and MLP 32-64-64-4): values, normals, backward",
    "E": "whole render step: march, field, shade, composite, backward, Adam",
    "F": "networks of a prior: a guided pair through the UNet, a picture through the encoder",
}


def parse_letters(text: str | None) -> str:
    """The workloads named in a list such as "A,B,E"; None for all. Raises ConfigError."""
    if text is None:
        return LETTERS
    asked = [part.strip().upper() for part in text.split(",") if part.strip()]
    unknown = [part for part in asked if part not in tuple(LETTERS)]
    if unknown or not asked:
        raise ConfigError(
            f"--workloads: expected letters of {', '.join(LETTERS)} such as A,E, got {text!r}"
        )
    return "".join(letter for letter in LETTERS if letter in asked)


def cases(device_type: str, letters: str = LETTERS, *, quick: bool = False) -> list[Case]:
    """Every case of these workloads for the device, peers that are installed included."""
    from dfast.bench import diffusion, ops, peers, step

    amount = sizes(device_type, quick)
    made: list[Case] = []
    makers: Sequence[Callable[[str, Sizes], Iterable[Case]]] = (
        ops.cases, step.cases, diffusion.cases, peers.cases,
    )  # fmt: skip
    for make in makers:
        made += [case for case in make(device_type, amount) if case.letter in letters]
    return sorted(made, key=lambda case: case.letter)  # variants of one workload stay together
