"""Which words name a kind of a thing of the world: a corgi is a dog.

Most of the table comes from WordNet 3.0, whose notice it begins with (licenses/WordNet-3.0.txt);
benchmarks/wordnet/make_table.py makes it.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("isa.txt.gz")
"""Lines such as "dog: beagle corgi"; words of two parts are joined by "_"."""


@cache
def kinds() -> dict[str, str]:
    """Return the thing of every word of the table, words of two parts with a space."""
    lines = gzip.decompress(TABLE.read_bytes()).decode().splitlines()
    rows = (line.split(": ") for line in lines if not line.startswith("#"))
    return {word.replace("_", " "): noun for noun, words in rows for word in words.split()}
