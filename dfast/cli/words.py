"""`dfast words`: what the embedded prior's world has words for, and what would become of a word."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from textwrap import fill
from typing import Any

from dfast._numbers import shown
from dfast.cli.options import Commands, UsageError
from dfast.cli.output import write_json

WIDTH = 100
"""Characters of a line."""


def add_words(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    p = commands.add_parser("words", help="what the embedded prior knows, or makes of a word")
    p.set_defaults(run=words)
    p.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="explain these (default: list all that a sentence may say)",
    )
    p.add_argument("--json", metavar="FILE", help="write it as JSON (- for stdout)")


def words(options: Namespace) -> int:
    """List what the world knows, or explain words: several that mean one thing as one."""
    from dfast.world.reading import meanings
    from dfast.world.vocabulary import known, known_lines, word_lines

    asked = meanings(" ".join(options.words))
    if options.words and not asked:
        raise UsageError(f"WORD: expected one beside articles, got {shown(options.words[0])}")
    if options.json:
        found = [asdict(m) | {"note": m.note} for m in asked]
        write_json(options.json, found if asked else known(), "--json")
    if options.json != "-":
        lines = [line for m in asked for line in _indented(word_lines(m.word))]
        for line in lines or known_lines():
            print(fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    return 0


def _indented(lines: list[str]) -> list[str]:
    """Return lines, those after the first indented."""
    return [lines[0], *(f"  {line}" for line in lines[1:])]
