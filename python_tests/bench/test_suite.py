"""The list of benchmark cases, and the letters that choose among them."""

from __future__ import annotations

import pytest

from dfast.bench.case import DFAST, DIFFUSERS, EAGER
from dfast.bench.suite import LETTERS, cases, parse_letters
from dfast.errors import ConfigError


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("quick", [False, True])
def test_every_workload_has_dfast_and_each_case_once(device: str, quick: bool) -> None:
    made = cases(device, quick=quick)
    names = [(case.workload, case.variant) for case in made]
    assert len(set(names)) == len(names)
    expected = set(LETTERS) - (set() if device == "cuda" or quick else {"F"})
    assert {case.letter for case in made} == expected
    own = {w for w, v in names if v == DFAST}
    assert own == {w for w, _ in names}
    recorded = {DFAST, DIFFUSERS} if device == "cuda" else set()
    assert all(case.cuda_graph == (case.variant in recorded) for case in made)
    assert (EAGER in {v for _, v in names}) == (device == "cuda")
    assert {case.letter for case in cases(device, "BD", quick=quick)} == {"B", "D"}


def test_sizes_of_the_published_workloads() -> None:
    names = {case.workload for case in cases("cuda")}
    for size in (64, 256, 512):
        assert {f"B-march-{size}", f"C-composite-{size}", f"E-lambertian-{size}"} <= names
    assert {"A-forward-rays-1m", "D-normal-backward-256k", "E-adam"} <= names
    assert "E-lambertian-64" in {case.workload for case in cases("cpu")}


@pytest.mark.parametrize(("text", "letters"), [(None, "ABCDEFG"), ("e, a", "AE"), ("B", "B")])
def test_letters(text: str | None, letters: str) -> None:
    assert parse_letters(text) == letters


@pytest.mark.parametrize("text", ["H", "AB", "", ","])
def test_letters_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--workloads: expected letters of A, B, C, D, E, F, G"):
        parse_letters(text)
