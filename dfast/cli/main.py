"""The `dfast` command: its arguments, exit codes and one-line errors. What a command does is in
`commands`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from dfast._version import __version__
from dfast.cli import bench, evaluate, info, results, train
from dfast.errors import DfastError

EPILOG = """examples:
  dfast train "a red chair" --out runs/chair     make an object (GLB, pictures, checkpoint)
  dfast train --resume --out runs/chair          go on after an interruption
  dfast render runs/chair --out chair.png        a picture from any side
  dfast export runs/chair chair.glb              the mesh again, finer or as .ply/.obj/.stl
  dfast priors                                   the diffusion models it can use
  dfast evaluate runs/chair                      how good is it
  dfast doctor                                   what is installed, what is missing
  dfast bench --quick                            how fast it is here
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Say `message` in one line and exit with 2."""
        self.exit(2, f"dfast: error: {message} (see `{self.prog} --help`)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    options = parser().parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except DfastError as error:
        print(f"dfast: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:  # a path given by the user that cannot be read or written
        print(f"dfast: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dfast: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="dfast",
        description="Text to 3D by score distillation.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"dfast {__version__}")
    subs = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    p = subs.add_parser("train", help="make a 3D object from a sentence")
    p.set_defaults(run=train.train)
    p.add_argument("prompt", nargs="?", help='what to make, such as "a red chair"')
    p.add_argument("--out", metavar="DIR", help="run folder (default: runs/<prompt>)")
    p.add_argument(
        "--resume", action="store_true", help="continue the run in --out from its checkpoint"
    )
    p.add_argument("--seed", type=int, help="another seed gives another object (default: 0)")
    _training_options(p)
    p.add_argument("--negative", metavar="TEXT", help="what it should not look like")
    p.add_argument(
        "--download", action="store_true", help="fetch the prior if it is not on this machine"
    )
    p.add_argument(
        "--dry-run", action="store_true", help="estimate memory and time, load and write nothing"
    )
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument(
        "--no-export", action="store_true", help="do not write the mesh and the pictures"
    )

    p = subs.add_parser("render", help="a picture, a contact sheet or a film of a finished run")
    p.set_defaults(run=results.render)
    p.add_argument("path", metavar="RUN", help="run folder or result.safetensors")
    p.add_argument(
        "--out", required=True, metavar="FILE", help=".png or .jpg; .gif or .mp4 for a turntable"
    )
    p.add_argument(
        "--sheet", action="store_true", help="a contact sheet of views instead of one view"
    )
    p.add_argument(
        "--azimuth", type=float, default=30.0, help="degrees; 0 is the front (default: %(default)s)"
    )
    p.add_argument("--elevation", type=float, default=15.0, help="degrees (default: %(default)s)")
    p.add_argument("--resolution", type=int, default=256, help="pixels (default: %(default)s)")
    looks = ("diffuse", "albedo", "textureless", "normal")
    p.add_argument("--shading", choices=looks, default="diffuse", help="(default: %(default)s)")
    p.add_argument("--frames", type=int, default=36, help="of a turntable (default: %(default)s)")
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")

    p = subs.add_parser("export", help="a mesh of a finished run")
    p.set_defaults(run=results.export)
    p.add_argument("path", metavar="RUN", help="run folder or result.safetensors")
    p.add_argument("out", metavar="FILE", help=".glb (for viewers), .ply, .obj or .stl")
    p.add_argument(
        "--resolution", type=int, default=128, help="cells along a side (default: %(default)s)"
    )
    p.add_argument(
        "--level", type=float, help="density of the surface (default: the rendered silhouettes')"
    )
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")

    p = subs.add_parser("evaluate", help="score runs against the procedural world")
    p.set_defaults(run=evaluate.evaluate)
    p.add_argument("paths", nargs="*", metavar="RUN", help="finished run folders to score")
    p.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="train and score it (may be repeated)",
    )
    p.add_argument(
        "--prompts", metavar="FILE", help="train and score every line (# begins a comment)"
    )
    p.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="seeds 0..N-1 of each prompt (default: 1)"
    )
    p.add_argument(
        "--json", metavar="FILE", help="write everything measured as JSON (- for stdout)"
    )
    p.add_argument("--out", metavar="DIR", help="keep the trained runs in this folder")
    _training_options(p)

    p = subs.add_parser("config", help="print the settings, to edit and pass to --config")
    p.set_defaults(run=info.config)
    _training_options(p)

    p = subs.add_parser("priors", help="the diffusion models: sizes, licences, what is here")
    p.set_defaults(run=info.priors)

    p = subs.add_parser("bench", help="how fast every part is on this machine")
    p.set_defaults(run=bench.bench)
    p.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    p.add_argument(
        "--workloads", metavar="LIST",
        help="A hash grid, B marching, C compositing, D field, E whole step (default: A,B,C,D,E)",
    )  # fmt: skip
    p.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    p.add_argument(
        "--prior", metavar="LIST",
        help="whole steps with these diffusion models instead, such as sd15,if-m",
    )  # fmt: skip
    p.add_argument(
        "--random", action="store_true",
        help="of the same sizes as --prior, with random weights: nothing is fetched",
    )  # fmt: skip
    p.add_argument("--steps", type=int, help="with --prior (default: 100)")
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="with --prior: change one setting, such as prior.compile=true (may be repeated)",
    )  # fmt: skip
    p.add_argument("--out", metavar="FILE", help="write every measurement as JSON")
    p.add_argument("--profile", metavar="DIR", help="a Chrome trace of each case, stages named")

    p = subs.add_parser("doctor", help="what is installed, what is missing, how to mend it")
    p.set_defaults(run=info.doctor)
    return top


def _training_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--steps", type=int, help="length of the run (default: the configuration's)")
    p.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    p.add_argument(
        "--prior", metavar="NAME",
        help="diffusion model to distil: a name from `dfast priors`, a folder or a hub id "
        "(default: shapes, the embedded one)",
    )  # fmt: skip
    p.add_argument(
        "--config", metavar="FILE", help="settings as .toml or .json (see `dfast config`)"
    )
    p.add_argument("--preset", choices=("default", "dreamfusion"), help="named settings")
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change one setting, such as guidance.scale=20 (may be repeated)",
    )  # fmt: skip
