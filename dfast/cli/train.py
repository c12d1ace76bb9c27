"""`dfast train`: make an object, or resume a run."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast.cli.options import Commands, add_settings, gives_settings, prior_name, read_config
from dfast.config import Config
from dfast.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from dfast.runs.result import Result


def add_train(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    p = commands.add_parser("train", help="make a 3D object from a sentence")
    p.set_defaults(run=train)
    p.add_argument("prompt", nargs="?", help='what to make, such as "a red chair"')
    p.add_argument("--out", metavar="DIR", help="run folder (default: runs/<prompt>)")
    p.add_argument(
        "--resume", action="store_true", help="continue the run in --out from its checkpoint"
    )
    p.add_argument("--seed", type=int, help="another seed gives another object (default: 0)")
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


def train(options: Namespace) -> int:
    """Make an object, or resume a run; then write its mesh and images."""
    _check_options(options)
    out = Path(options.out or f"runs/{slug(options.prompt)}")
    config = _take_from_run(options, out) if options.resume else None
    if gives_settings(options):
        config = read_config(options, resumed=config)
    if options.dry_run:
        return _print_estimate(options, config)
    try:
        result = _train(options, out, config)
    except KeyboardInterrupt:
        saved = (out / "checkpoint.safetensors").exists()
        hint = (
            f"resume with: dfast train --resume --out {out}" if saved else "nothing was saved yet"
        )
        print(f"dfast: interrupted; {hint}", file=sys.stderr)
        return 130
    print(f"{out}/result.safetensors")
    if not options.no_export:
        _export(result, out)
    return 0


def slug(prompt: str) -> str:
    """Return a prompt as the name of a folder: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "run"


def _check_options(options: Namespace) -> None:
    if options.dry_run and options.download:
        raise ConfigError("--dry-run: expected without --download, since it fetches nothing")
    if options.resume and not options.out and not options.prompt:
        raise ConfigError("--resume: expected the run folder in --out")
    if options.prompt is None and not options.resume:
        raise ConfigError('prompt: expected what to make, such as: dfast train "a red chair"')


def _take_from_run(options: Namespace, out: Path) -> Config:
    """Fill in prompt, seed and prior where they are not given; return the run's configuration."""
    from dfast.runs.paths import as_path
    from dfast.runs.records import ABOUT, IDENTITY, read_about, read_settings

    if not (as_path(out, "--out") / ABOUT).exists():
        raise RunFolderError(f"--resume: no dfast run in '{out}'; start one without --resume")
    about = read_about(out)
    for key in IDENTITY:
        if getattr(options, key) is None:
            setattr(options, key, about[key])
    return read_settings(out)


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


def _train(options: Namespace, out: Path, config: Config | None) -> Result:
    import dfast

    return dfast.train(
        options.prompt,
        prior=prior_name(options),
        download=options.download,
        out=out,
        steps=options.steps,
        seed=options.seed or 0,
        device=options.device,
        config=config,
        progress=not options.quiet,
        resume=options.resume,
    )


def _export(result: Result, out: Path) -> None:
    """Write the mesh and the images into the run folder, and print their names."""
    result.mesh(out / "object.glb")
    print(f"{out}/object.glb")
    result.contact_sheet(out / "contact_sheet.png")
    print(f"{out}/contact_sheet.png")
    result.turntable(out / "turntable.gif")
    print(f"{out}/turntable.gif")
