"""`dfast words`: what is listed, what is said of a word, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dfast.cli.main import main
from dfast.world.nouns import CATEGORIES, NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.sentence import COUNTS, PATTERNS, RELATIONS, SIZES, WORN
from dfast.world.vocabulary import parts


def test_everything_is_listed_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["words"]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 100 for line in text.splitlines())
    words = set(text.replace(",", " ").replace("(", " ").replace(")", " ").split())
    assert {*NOUNS, *ALL_COLORS, *SIZES, *PATTERNS, *COUNTS, *WORN, *parts()} <= words
    assert all(f"\n{name}: " in f"\n{text}" for name in CATEGORIES)
    assert all(relation in text for relation in RELATIONS)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["corgi"], ["corgi: made as a dog", "  color: brown, where a sentence states none"]),
        (["ice", "cream", "mug"], ["ice cream: the same as icecream", "mug: a thing"]),
        (["a Corgi in crimson"], ["corgi: made as a dog", "crimson: made in red"]),
        (["glorb"], ["glorb: not known; near: globe, orb"]),
    ],
)
def test_words_are_explained(
    given: list[str], says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["words", *given]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(said) for line in lines) for said in says)


def test_json_holds_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["words", "--json", "-"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert every["nouns"] == {name: list(group) for name, group in CATEGORIES.items()}
    assert every["relations"]["on top of"] == "any" and "bowl" in every["relations"]["inside"]
    assert "dog" in every["worn"]["hat"] and every["parts"]["roof"][0] == "house"
    out = tmp_path / "words.json"
    assert main(["words", "two corgis", "--json", str(out)]) == 0
    two, corgis = json.loads(out.read_text())
    assert (two["role"], two["note"]) == ("count", None)
    assert (corgis["target"], corgis["plural"]) == ("dog", True)
    assert corgis["note"] == "corgis: made as dogs"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["words", "the", "a"], "WORD: expected one beside articles, got 'the'"),
        (["words", "--json", "/proc/words.json"], "--json: '/proc/words.json' cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    line: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 2
    said = capsys.readouterr().err
    assert said.startswith("dfast: error: ") and said.count("\n") == 1 and says in said


def test_neither_words_nor_a_refusal_import_torch_or_take_a_second() -> None:
    code = (
        "import sys, time\n"
        "began = time.process_time()\n"
        "from dfast.cli.main import main\n"
        "assert main(['words']) == main(['words', 'corgi']) == 0\n"
        "assert main(['train', 'a glorb']) == 2\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
        "assert time.process_time() - began < 1.0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
