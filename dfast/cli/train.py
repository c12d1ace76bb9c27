"""What each `dfast` command does. Heavy modules are imported inside: `dfast --help` stays quick."""

from __future__ import annotations

import json
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from dfast.cli.options import prior_name, settings, unsaid
from dfast.config import Config
from dfast.errors import ConfigError, RunFolderError


def train(options: Namespace) -> int:
    """Make an object, or go on with one; then its mesh and pictures."""
    prompt, seed, begun = options.prompt, options.seed, None
    if options.dry_run and options.download:
        raise ConfigError("--dry-run: expected without --download, since it fetches nothing")
    if options.resume and not options.out and not prompt:
        raise ConfigError("--resume: expected the run folder in --out")
    if prompt is None and not options.resume:
        raise ConfigError('prompt: expected what to make, such as: dfast train "a red chair"')
    out = Path(options.out or f"runs/{_slug(prompt)}")
    if options.resume:
        about = _read_run(out)
        prompt = about["prompt"] if prompt is None else prompt
        seed = about["seed"] if seed is None else seed
        options.prior = about["prior"] if options.prior is None else options.prior
        begun = Config.load(out / "config.toml")
    made, prior = settings(options, begun), prior_name(options)

    import dfast

    if options.dry_run:
        made = made or unsaid(options)
        print(
            dfast.estimate(
                prompt, prior=prior, device=options.device, config=made, steps=options.steps
            )
        )  # fmt: skip
        return 0
    try:
        result = dfast.train(
            prompt,
            prior=prior,
            download=options.download,
            out=out,
            steps=options.steps,
            seed=seed or 0,
            device=options.device,
            config=made,
            progress=not options.quiet,
            resume=options.resume,
        )
    except KeyboardInterrupt:
        saved = (out / "checkpoint.safetensors").exists()
        hint = (
            f"resume with: dfast train --resume --out {out}" if saved else "nothing was saved yet"
        )
        print(f"dfast: interrupted; {hint}", file=sys.stderr)
        return 130
    print(f"{out}/result.safetensors")
    if not options.no_export:
        result.mesh(out / "object.glb")
        print(f"{out}/object.glb")
        result.contact_sheet(out / "contact_sheet.png")
        print(f"{out}/contact_sheet.png")
        result.turntable(out / "turntable.gif")
        print(f"{out}/turntable.gif")
    return 0


def _read_run(out: Path) -> dict[str, Any]:
    try:
        about = json.loads((out / "run.json").read_text(encoding="utf-8"))
        return {key: about[key] for key in ("prompt", "seed", "prior")}
    except FileNotFoundError:
        raise RunFolderError(
            f"--resume: no dfast run in '{out}'; start one without --resume"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"--resume: '{out / 'run.json'}' cannot be read ({error})") from error


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "run"
