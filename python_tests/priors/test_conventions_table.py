"""The table of transformers in docs/priors.md, against the table in the code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dfast.priors.pipelines.conventions import CONVENTIONS
from dfast.priors.pipelines.text import NEGATIVE_ROW

PAGE = Path(__file__).parents[2] / "docs" / "priors.md"


def row(family: str) -> list[str]:
    """The cells of a family's row."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| `{family}` | `")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("family", CONVENTIONS)
def test_the_documents_say_what_the_code_does(family: str) -> None:
    made = CONVENTIONS[family]
    name, transformer, level, output, text, padding, shift, half = row(family)
    assert name == f"`{family}`" and transformer == f"`{made.transformer}`"
    levels = {"one": "sigma", "reversed": "1 - sigma", "steps": "1000 sigma" if made.flow else "t"}
    assert level.split(",")[0] == levels[made.time]
    velocity = "x - eps" if made.negated else "eps - x"
    assert output.split(",")[0] == (velocity if made.flow else "eps")
    dropped = made.arguments.get("mask") == "mask"  # of a list; the transformer sees no mask
    seen = "zeros" if made.zeroed else "as text"
    assert padding == ("dropped" if dropped else "masked" if made.masked else seen)
    assert shift == (made.shift_by if made.flow else "")
    assert half == {torch.float16: "fp16", torch.bfloat16: "bf16"}[made.half]
    assert ("lower case" in text) == made.lowercase
    assert all(str(part.length) in text for part in made.text if not part.pooled)
    assert ("last layer but one" in text) == any(part.layers == (-2,) for part in made.text)
    chats = [part.chat for part in made.text if part.chat is not None]
    assert ("chat" in text) == bool(chats)
    assert ("the prompt after" in text) == bool(made.prefix)


def test_all_families_are_listed_with_short_names() -> None:
    from dfast.priors.loading.catalog import CATALOG

    page = PAGE.read_text(encoding="utf-8")
    for alias, entry in CATALOG.items():
        (line,) = [
            line for line in page.splitlines() if line.startswith(f"| `{alias}` | {entry.hub}")
        ]
        assert f"{entry.gigabytes:.1f} GB" in line
    assert NEGATIVE_ROW == 5  # the prompt alone and with four views have the prefix
