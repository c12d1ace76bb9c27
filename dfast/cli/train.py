"""`dfast train`: make an object, or resume a run."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast.cli.checks import check_run
from dfast.cli.layouts import add_layout, check_asked, lay_out
from dfast.cli.options import (
    Commands,
    UsageError,
    add_method,
    add_settings,
    gives_settings,
    prior_name,
    read_config,
)
from dfast.cli.output import say
from dfast.cli.running import run_and_export
from dfast.cli.several import (
    AT_ONCE,
    check_dry_run,
    print_estimate,
    train_particles,
    train_several,
)
from dfast.cli.view import add_address, check_view_options, page
from dfast.config import Config
from dfast.config.checks import check_seed
from dfast.config.methods import METHODS, guided_by
from dfast.config.stages import check_refinable
from dfast.errors import RunFolderError
from dfast.host.torchrun import is_started_by_torchrun
from dfast.runs.exports import REFINED
from dfast.runs.names import run_name
from dfast.runs.unfinished import last_metrics

if TYPE_CHECKING:
    from dfast.runs.result import Result
    from dfast.viewer.live import Viewer


def add_train(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    p = commands.add_parser("train", help="make a 3D object from a sentence")
    p.set_defaults(run=train)
    p.add_argument("prompt", nargs="?", help='what to make, such as "a red chair"')
    p.add_argument(
        "--out", metavar="DIR", help="run folder (default: runs/<prompt>, as it was understood)"
    )
    p.add_argument(
        "--resume", action="store_true", help="continue the run in --out from its checkpoint"
    )
    p.add_argument(
        "--prompts", metavar="FILE", help="make an object for each line, side by side, in --out"
    )
    p.add_argument(
        "--at-once", type=int, metavar="K",
        help=f"most objects of --prompts side by side (default: {AT_ONCE})",
    )  # fmt: skip
    p.add_argument(
        "--fit", action="store_true",
        help="with --prompts or --particles: as many side by side as fit into the free memory",
    )  # fmt: skip
    p.add_argument("--seed", type=int, help="another seed gives another object (default: 0)")
    p.add_argument(
        "--best-of", type=int, default=1, metavar="N",
        help="begin with N seeds, go on with the best (default: 1)",
    )  # fmt: skip
    p.add_argument(
        "--particles", type=int, metavar="K",
        help="make K objects with seeds of their own, which share all calls of the prior",
    )  # fmt: skip
    add_layout(p)
    add_method(p)
    add_settings(p)
    p.add_argument("--negative", metavar="TEXT", help="what it should not look like")
    p.add_argument(
        "--download", action="store_true", help="fetch the prior if it is not on this machine"
    )
    p.add_argument(
        "--dry-run", action="store_true",
        help="estimate memory, time and disk space; load and write nothing",
    )  # fmt: skip
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--no-export", action="store_true", help="do not write the mesh and the images")
    p.add_argument(
        "--refine", action="store_true",
        help=f"then refine its mesh as `dfast refine` does, in the folder {REFINED} of the run",
    )  # fmt: skip
    p.add_argument(
        "--view", action="store_true", help="show it in a browser while it trains, until Ctrl-C"
    )
    add_address(p)


def train(options: Namespace) -> int:
    """Make an object, or resume a run; then write its mesh and images."""
    _check_refine(options)
    lay_out(options)
    if options.prompts is not None:
        return train_several(options)
    if options.particles is not None:
        return train_particles(options)
    _check_options(options)
    out = _run_folder(options)
    config = _take_from_run(options, out) if options.resume else None
    check_asked(options, check_run(options, config))
    if gives_settings(options):
        config = read_config(options, resumed=config)
    if options.dry_run:
        code = print_estimate(options, options.prompt, config)
        if options.resume and (done := last_metrics(out).get("step")):
            say(f"'{out}': {done:.0f} steps or more are done; this is for all of them")
        return code
    if options.refine:
        check_refinable(options.method or (config or Config()).method.name)
    with page(options) as viewer:
        code = run_and_export(options, out, lambda: _train(options, out, config, viewer), viewer)
    return _refine(options, out) if options.refine and code == 0 else code


def _run_folder(options: Namespace) -> Path:
    """Return the run folder: --out, or one named after the prompt."""
    if options.out:
        return user_path(options.out)
    return Path("runs") / run_name(options.prompt, prior_name(options))


def _check_refine(options: Namespace) -> None:
    for name, given in (
        ("--prompts", options.prompts is not None),
        ("--particles", options.particles is not None),
        ("--view", options.view),
        ("--dry-run", options.dry_run),
        ("torchrun", is_started_by_torchrun()),
    ):
        if options.refine and given:
            raise UsageError(f"--refine: expected without {name}; use `dfast refine` afterwards")


def _check_options(options: Namespace) -> None:
    check_view_options(options)
    if options.fit:
        raise UsageError("--fit: expected with --prompts or --particles, got one object")
    if options.at_once is not None:
        raise UsageError("--at-once: expected with --prompts, got one object")
    for name, given in (
        ("--best-of", options.best_of != 1),
        (f"--method {options.method}", guided_by(options.method, "clip")),
    ):
        if given and is_started_by_torchrun():
            raise UsageError(
                f"{name}: expected without torchrun, whose processes make one object together"
            )
    if options.dry_run:
        check_dry_run(options)
    if options.resume and not options.out and not options.prompt:
        raise UsageError("--resume: expected the run folder in --out")
    if options.prompt is None and not options.resume:
        raise UsageError('prompt: expected what to make, such as: dfast train "a red chair"')
    if options.seed is not None:
        check_seed(options.seed)


def _take_from_run(options: Namespace, out: Path) -> Config | None:
    """Fill in prompt, seed and prior or CLIP where not given; return the settings, if any."""
    from dfast.runs.paths import as_path
    from dfast.runs.records import ABOUT, IDENTITY, read_about, read_settings
    from dfast.runs.unfinished import begun_only

    if not (as_path(out, "--out") / ABOUT).exists():
        if not begun_only(out):
            raise RunFolderError(f"--resume: no dfast run in '{out}'; start one without --resume")
        if options.prompt:
            return None  # its process was killed before it wrote what the run is: start it again
        raise RunFolderError(
            f"--resume: '{out}' was begun and stopped before anything was saved; start it again "
            f"with: dfast train PROMPT --out {shlex.quote(str(out))}"
        )
    about, config = read_about(out), read_settings(out)
    if METHODS[config.method.name].guide == "clip":
        recorded = about.pop("prior")
        options.clip = options.clip or recorded
    for key in IDENTITY:
        if getattr(options, key) is None:
            setattr(options, key, about.get(key))
    return config


def _train(options: Namespace, out: Path, config: Config | None, viewer: Viewer | None) -> Result:
    import dfast

    return dfast.train(
        options.prompt,
        method=options.method,
        clip=options.clip,
        prior=prior_name(options),
        download=options.download,
        out=out,
        steps=options.steps,
        seed=options.seed or 0,
        best_of=options.best_of,
        device=options.device,
        config=config,
        progress=not options.quiet,
        callbacks=() if viewer is None else (viewer,),
        resume=options.resume,
        distributed=is_started_by_torchrun(),
    )


def _refine(options: Namespace, out: Path) -> int:
    """Refine the mesh of the run, or go on with that; return the exit code."""
    import dfast
    from dfast.runs.records import ABOUT

    stage = out / REFINED
    return run_and_export(
        options,
        stage,
        lambda: dfast.refine(
            out,
            prior=options.prior,
            download=options.download,
            out=stage,
            device=options.device,
            progress=not options.quiet,
            resume=(stage / ABOUT).exists(),
        ),
    )
