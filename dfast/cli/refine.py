"""`dfast refine`: optimise the mesh of a finished run, or resume that."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast.cli.checks import check_device, check_finished
from dfast.cli.options import Commands, UsageError, add_device, add_overrides, read_overrides
from dfast.cli.running import run_and_export
from dfast.config import Config, RefineConfig
from dfast.config.checks import check_seed, check_steps
from dfast.config.parsing import overlay
from dfast.config.stages import check_replaced
from dfast.runs.exports import REFINED

if TYPE_CHECKING:
    from dfast.runs.refined import Refined


def add_refine(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    defaults = RefineConfig()
    p = commands.add_parser(
        "refine", help="optimise the mesh of a finished run at a high resolution"
    )
    p.set_defaults(run=refine)
    p.add_argument(
        "path", nargs="?", metavar="RUN", help="run folder or result.safetensors of a finished run"
    )
    p.add_argument(
        "--out", metavar="DIR", help=f"run folder of the stage (default: {REFINED} in that of RUN)"
    )
    p.add_argument(
        "--resume", action="store_true", help="continue the stage in --out from its checkpoint"
    )
    p.add_argument(
        "--steps", type=int, help=f"length of the stage (default: refine.steps, {defaults.steps})"
    )
    p.add_argument("--seed", type=int, help="of all randomness (default: that of RUN)")
    add_device(p)
    p.add_argument(
        "--prior", metavar="NAME", help="diffusion model to distil (default: that of RUN)"
    )
    p.add_argument(
        "--download", action="store_true", help="fetch the prior if it is not on this machine"
    )
    add_overrides(
        p,
        f"change one setting of RUN, such as refine.resolution=256 (default: "
        f"{defaults.resolution}; may be repeated)",
    )
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--no-export", action="store_true", help="do not write the mesh and the images")


def refine(options: Namespace) -> int:
    """Refine the mesh of a finished run, or resume that; then write its mesh and images."""
    if options.path is None and not (options.resume and options.out):
        raise UsageError("RUN: expected a finished run, or --resume with the folder in --out")
    changes: dict[str, Any] = {}
    for table in read_overrides(options):
        changes = overlay(changes, table)
    check_replaced(changes)
    Config().replace(**changes)  # names a wrong setting before torch loads
    if options.steps is not None:
        check_steps(options.steps)
    if options.seed is not None:
        check_seed(options.seed)
    check_device(options.device)
    if options.path is not None:
        check_finished(options.path)
    out = _stage_folder(options)
    return run_and_export(options, out, lambda: _refine(options, out, changes or None))


def _stage_folder(options: Namespace) -> Path:
    """Return the run folder of the stage: --out, or a folder in that of the run."""
    if options.out:
        return user_path(options.out)
    path = user_path(options.path)
    return (path if path.is_dir() else path.parent) / REFINED


def _refine(options: Namespace, out: Path, changes: dict[str, Any] | None) -> Refined:
    import dfast

    return dfast.refine(
        options.path,
        prior=options.prior,
        download=options.download,
        out=out,
        steps=options.steps,
        seed=options.seed,
        device=options.device,
        config=changes,
        progress=not options.quiet,
        resume=options.resume,
    )
