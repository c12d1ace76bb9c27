"""The `dfast` command: all commands in one parser, exit codes and errors of one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from dfast._version import __version__
from dfast.cli import (
    batch,
    bench,
    doctor,
    evaluate,
    info,
    refine,
    reproduce,
    results,
    train,
    view,
    words,
)
from dfast.cli.options import UsageError
from dfast.cli.output import READER_GONE, drop_output, flush_output
from dfast.cli.parser import BAD_INPUT, Parser, parse
from dfast.cli.signals import interrupted
from dfast.errors import DfastError
from dfast.runs.notices import warnings_as_notices

EPILOG = """examples:
  dfast train "a red chair" --out runs/chair     make an object (GLB, images, checkpoint)
  dfast train --resume --out runs/chair          go on after an interruption
  dfast refine runs/chair                        a finer mesh of it
  dfast render runs/chair --out chair.png        an image from any side
  dfast export runs/chair chair.usdz             the mesh in another format, size or detail
  dfast view runs/chair                          turn it in a browser (train --view: live)
  dfast report runs/chair                        one page about it, to look at or to send
  dfast words                                    what the embedded model knows
  dfast priors                                   the diffusion models it can use
  dfast evaluate runs/chair                      how good is it
  dfast batch runs.csv --out runs/many           a table of runs, here or on a Ray cluster
  dfast reproduce table1 --quick --out runs/t1   methods side by side, as in the paper
  dfast doctor                                   what is installed, what is missing
  dfast bench --quick                            how fast it is here
"""

OK, INTERRUPTED = 0, 130
"""Exit codes beside `BAD_INPUT`. Commands return 1 when they did their work and its outcome is a
failure. Others are `output.READER_GONE`, and 128 more than the signal for SIGTERM and SIGHUP."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code: 0, 1 for a failed outcome, 2 for bad input, 130 after Ctrl-C, 143 after
        SIGTERM, 129 after SIGHUP, 141 where the reader of the output has gone.

    Raises:
        SystemExit: by argparse, with 0 after --help and 2 for arguments that it refuses.
    """
    options = parse(parser(), argv)
    try:
        _check_current_folder()
        with warnings_as_notices():
            code = int(options.run(options) or OK)
        flush_output()
        return code
    except BrokenPipeError:
        return READER_GONE
    except DfastError as error:
        where = f" (see `{options.parser.prog} --help`)" if isinstance(error, UsageError) else ""
        print(f"dfast: error: {' '.join(str(error).split())}{where}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:  # a path given by the user that cannot be read or written
        print(f"dfast: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except SystemExit as stop:
        if hasattr(stop, "folder"):  # by a run, after SIGTERM or SIGHUP
            interrupted()
        raise
    except KeyboardInterrupt:
        interrupted()
        return INTERRUPTED
    finally:
        drop_output()


def _check_current_folder() -> None:
    """Raise OSError if the current folder was removed, without which torch's MKL does not load."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise OSError("the current folder is gone; change to one that exists") from None


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `run` of what it parses is the command's function,
    `parser` the command's parser."""
    top = Parser(
        prog="dfast",
        description="Text to 3D by score distillation.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"dfast {__version__}")
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    train.add_train(commands)
    refine.add_refine(commands)
    results.add_render(commands)
    results.add_export(commands)
    view.add_view(commands)
    results.add_report(commands)
    evaluate.add_evaluate(commands)
    words.add_words(commands)
    batch.add_batch(commands)
    reproduce.add_reproduce(commands)
    info.add_config(commands)
    info.add_priors(commands)
    bench.add_bench(commands)
    doctor.add_doctor(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return top
