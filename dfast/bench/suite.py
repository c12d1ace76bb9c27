"""The list of all benchmark cases, and the letters of the workloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dfast.bench.case import Case
from dfast.bench.sizes import Sizes, sizes
from dfast.errors import ConfigError

LETTERS = "ABCDEFG"
TITLES = {
    "A": "hash grid (16 levels, 2^19 entries): values, table gradient",
    "B": "marching 128^3 cells",
    "C": "compositing, forward and backward",
    "D": "field (grid and MLP 32-64-64-4): values, normals, backward",
    "E": "whole render step: march, field, shade, composite, backward, Adam",
    "F": "networks of a prior: a guided pair through the UNet, an image through the encoder",
    "G": "images of a mesh, forward and backward",
}
"""What each letter stands for."""


def parse_letters(text: str | None) -> str:
    """Parse a list of workloads.

    Args:
        text: letters separated by commas, such as "A,B,E"; None for all.

    Returns:
        The letters in alphabetical order.

    Raises:
        ConfigError: if there is none, or an unknown one.
    """
    if text is None:
        return LETTERS
    letters = [part.strip().upper() for part in text.split(",") if part.strip()]
    unknown = [letter for letter in letters if letter not in tuple(LETTERS)]
    if unknown or not letters:
        raise ConfigError(
            f"--workloads: expected letters of {', '.join(LETTERS)} such as A,E, got {text!r}"
        )
    return "".join(letter for letter in LETTERS if letter in letters)


def cases(device_type: str, letters: str = LETTERS, *, quick: bool = False) -> list[Case]:
    """Return every case of some workloads, peers that are installed included.

    Args:
        device_type: "cpu" or "cuda".
        letters: of the workloads.
        quick: sizes that take seconds.
    """
    # These import torch, which `parse_letters` must not.
    from dfast.bench import diffusion, meshes, ops, peers, step

    makers: tuple[Callable[[str, Sizes], Iterable[Case]], ...] = (
        ops.cases,
        step.cases,
        diffusion.cases,
        meshes.cases,
        peers.cases,
    )
    amount = sizes(device_type, quick)
    made = [case for make in makers for case in make(device_type, amount)]
    chosen = [case for case in made if case.letter in letters]
    return sorted(chosen, key=lambda case: case.letter)  # variants of one workload stay together
