"""`dfast train`: make an object, or resume a run."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast.cli.checks import check_prompt, check_run
from dfast.cli.exporting import RESULT, export
from dfast.cli.importing import import_runs
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
from dfast.cli.several import train_several
from dfast.cli.signals import INTERRUPTED, hinting, interrupted
from dfast.cli.view import add_address, check_view_options, page, show
from dfast.config import Config
from dfast.config.checks import check_seed
from dfast.config.methods import METHODS
from dfast.errors import RunFolderError
from dfast.host.torchrun import is_first_process, is_started_by_torchrun
from dfast.runs.names import run_name

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
        "--at-once", type=int, default=8, metavar="K", help="most objects side by side (default: 8)"
    )
    p.add_argument("--seed", type=int, help="another seed gives another object (default: 0)")
    p.add_argument(
        "--best-of", type=int, default=1, metavar="N",
        help="begin with N seeds, go on with the best (default: 1)",
    )  # fmt: skip
    add_method(p)
    add_settings(p)
    p.add_argument("--negative", metavar="TEXT", help="what it should not look like")
    p.add_argument(
        "--download", action="store_true", help="fetch the prior if it is not on this machine"
    )
    p.add_argument(
        "--dry-run", action="store_true", help="estimate memory and time, load and write nothing"
    )
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--no-export", action="store_true", help="do not write the mesh and the images")
    p.add_argument(
        "--view", action="store_true", help="show it in a browser while it trains, until Ctrl-C"
    )
    add_address(p)


def train(options: Namespace) -> int:
    """Make an object, or resume a run; then write its mesh and images."""
    if options.prompts is not None:
        return train_several(options)
    _check_options(options)
    out = _run_folder(options)
    config = _take_from_run(options, out) if options.resume else None
    check_run(options, config)
    check_prompt(options.prompt, prior_name(options))
    if gives_settings(options):
        config = read_config(options, resumed=config)
    if options.dry_run:
        return _print_estimate(options, config)
    with page(options) as viewer:
        return _train_and_export(options, out, config, viewer)


def _train_and_export(
    options: Namespace, out: Path, config: Config | None, viewer: Viewer | None
) -> int:
    """Do what the command does after its arguments were checked; return its exit code."""
    before = _stamp(out)
    try:
        with hinting(_how_to_resume(out, options)):
            import_runs()
            result = _train(options, out, config, viewer)
    except (KeyboardInterrupt, SystemExit) as stopped:
        folder = getattr(stopped, "folder", None) or out  # another one if `out` was lost
        interrupted(_how_to_resume(folder, options))
        return INTERRUPTED if isinstance(stopped, KeyboardInterrupt) else int(stopped.code or 0)
    if not is_first_process():
        return 0  # the first one writes and speaks for all
    out = getattr(result, "folder", None) or out
    say(f"{out}/{RESULT}")
    if not options.no_export:
        if viewer is not None:
            viewer.announce(result, "writing")
        with hinting(f"the object is saved; {_how_to_resume(out, options)}"):
            export(result, out, keep=before is not None and before == _stamp(out))
    if viewer is not None:
        show(viewer, result, out)
    return 0


def _run_folder(options: Namespace) -> Path:
    """Return the run folder: --out, or one named after the prompt."""
    if options.out:
        return user_path(options.out)
    return Path("runs") / run_name(options.prompt, prior_name(options))


def _how_to_resume(out: Path, options: Namespace) -> str:
    """Return what can be done after an interruption."""
    from dfast.runs.unfinished import CHECKPOINT, resume_command

    if not (out / CHECKPOINT).exists():
        return "nothing was saved yet"
    device = f" --device {shlex.quote(options.device)}" if options.device else ""
    return f"resume with: {resume_command(out)}{device}"


def _stamp(out: Path) -> int | None:
    """Return when the result in a folder was written, None if there is none."""
    try:
        return (out / RESULT).stat().st_mtime_ns
    except OSError:
        return None


def _check_options(options: Namespace) -> None:
    check_view_options(options)
    if options.dry_run and options.best_of != 1:
        raise UsageError("--dry-run: expected without --best-of, since it estimates one seed")
    if options.dry_run and options.clip:
        raise UsageError("--dry-run: expected without --clip, since it estimates what priors guide")
    if options.dry_run and options.download:
        raise UsageError("--dry-run: expected without --download, since it fetches nothing")
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


def _print_estimate(options: Namespace, config: Config | None) -> int:
    import dfast

    found = dfast.estimate(
        options.prompt,
        prior=prior_name(options),
        device=options.device,
        config=config,
        steps=options.steps,
    )
    print(found)
    return 0


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
