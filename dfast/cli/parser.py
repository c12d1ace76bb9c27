"""The parser of the command line: one-line errors that name what may have been meant."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

BAD_INPUT = 2
"""Exit code for arguments that cannot be used."""
LONGEST = 600
"""Characters of an error."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that names its help."""

    def error(self, message: str) -> NoReturn:
        """Print `message` in one line and exit with 2."""
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message, re.DOTALL)
        if choice:
            message += _meant(choice[1], re.findall(r"[\w.-]+", choice[2]))
        line = " ".join(message.split())
        line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
        self.exit(BAD_INPUT, f"dfast: error: {line} (see `{self.prog} --help`)\n")

    def refuse_extra(self, extra: Sequence[str]) -> NoReturn:
        """Refuse arguments that no option takes.

        Args:
            extra: the arguments.
        """
        message = f"unrecognized arguments: {' '.join(extra)}"
        options = [o for o in self._option_string_actions if o.startswith("--")]
        name = next((e.partition("=")[0] for e in extra if e.startswith("-")), None)
        if name is not None:
            message += _meant(name, options)
        elif self.prog.endswith(" train"):
            message += '; put the whole prompt in quotes, such as: dfast train "a red chair"'
        self.error(message)


def _meant(given: str, names: Sequence[str]) -> str:
    """Return a suggestion if one of the names resembles what was given, else nothing."""
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def parse(top: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments; `parser` in them is the command's parser.

    Args:
        top: the parser of all commands.
        argv: the arguments; None takes those of the process.

    Raises:
        SystemExit: with 0 after --help and 2 for arguments that cannot be used.
    """
    options, extra = top.parse_known_args(argv)
    for value in [*vars(options).values(), *extra]:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "\0" in text:
                options.parser.error(f"expected arguments without null characters, got {text!r}")
    if extra:
        options.parser.refuse_extra(extra)
    return options
