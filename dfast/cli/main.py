"""The `dfast` command: all commands in one parser, exit codes and errors of one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from dfast._version import __version__
from dfast.cli import bench, doctor, evaluate, info, results, train
from dfast.cli.output import READER_GONE, drop_output, flush_output
from dfast.cli.signals import interrupted
from dfast.errors import DfastError

EPILOG = """examples:
  dfast train "a red chair" --out runs/chair     make an object (GLB, images, checkpoint)
  dfast train --resume --out runs/chair          go on after an interruption
  dfast render runs/chair --out chair.png        an image from any side
  dfast export runs/chair chair.glb              the mesh again, finer or as .ply/.obj/.stl
  dfast priors                                   the diffusion models it can use
  dfast evaluate runs/chair                      how good is it
  dfast doctor                                   what is installed, what is missing
  dfast bench --quick                            how fast it is here
"""

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit codes. Commands return 1 when they did their work and its outcome is a failure. Others are
`output.READER_GONE`, and 128 more than the signal for SIGTERM and SIGHUP."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print `message` in one line and exit with 2."""
        self.exit(BAD_INPUT, f"dfast: error: {message} (see `{self.prog} --help`)\n")


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
    options = parser().parse_args(argv)
    try:
        code = int(options.run(options) or OK)
        flush_output()
        return code
    except BrokenPipeError:
        return READER_GONE
    except DfastError as error:
        print(f"dfast: error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:  # a path given by the user that cannot be read or written
        print(f"dfast: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        interrupted()
        return INTERRUPTED
    finally:
        drop_output()


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `run` of what it parses is the command's function."""
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
    results.add_render(commands)
    results.add_export(commands)
    evaluate.add_evaluate(commands)
    info.add_config(commands)
    info.add_priors(commands)
    bench.add_bench(commands)
    doctor.add_doctor(commands)
    return top
