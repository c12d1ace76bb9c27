"""What each `dfast` command does. Heavy modules are imported inside: `dfast --help` stays quick."""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from ._files import replacing
from ._options import changed, prior_name, settings, unsaid
from .config import Config
from .errors import CollapsedError, ConfigError, NonFiniteError, RunFolderError

if TYPE_CHECKING:
    from .scorecard import Score


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


def render(options: Namespace) -> int:
    """A view, a contact sheet or a turntable of a finished run."""
    from .viewer import FILMS, save_image

    result = _load(options)
    look = {"resolution": options.resolution, "shading": options.shading}
    if Path(options.out).suffix.lower() in FILMS:
        result.turntable(options.out, frames=options.frames, elevation=options.elevation, **look)
    elif options.sheet:
        result.contact_sheet(options.out, resolution=options.resolution)
    else:
        image = result.render(azimuth=options.azimuth, elevation=options.elevation, **look)
        save_image(image, options.out)
    print(options.out)
    return 0


def export(options: Namespace) -> int:
    """The mesh of a finished run."""
    mesh = _load(options).mesh(options.out, resolution=options.resolution, level=options.level)
    print(f"{options.out}: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces")
    return 0


def _load(options: Namespace) -> Any:
    import dfast

    from ._device import pick_device

    return dfast.load(options.path, str(pick_device(options.device)))


def evaluate(options: Namespace) -> int:
    """Score finished runs, or train prompts and score them."""
    prompts = [*options.prompt, *_read_prompts(options.prompts)]
    if bool(options.paths) == bool(prompts):
        raise ConfigError(
            "evaluate: expected run folders, or --prompt/--prompts to train and score"
        )
    if options.seeds < 1:
        raise ConfigError(f"--seeds: expected a whole number >= 1, got {options.seeds}")

    from . import scorecard
    from ._device import pick_device

    device = str(pick_device(options.device))
    if options.paths:
        scores = _score_runs(options.paths, device)
    else:
        scores = _train_and_score(prompts, device, options)
    if options.json:
        about = {"dfast": __version__, "device": device, "device_name": _device_name(device)}
        text = json.dumps(scorecard.as_dict(scores, **about), indent=1) + "\n"
        if options.json == "-":
            print(text, end="")
            return 0
        try:
            with replacing(Path(options.json)) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"--json: '{options.json}' cannot be written ({error.strerror})"
            ) from error
    print(scorecard.table(scores))
    return 0


def _read_prompts(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = [
            line.partition("#")[0].strip()
            for line in Path(path).read_text(encoding="utf-8").splitlines()
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--prompts: '{path}' cannot be read ({error})") from error
    if not any(lines):
        raise ConfigError(f"--prompts: expected a sentence a line, got none in '{path}'")
    return [line for line in lines if line]


def _score_runs(paths: list[str], device: str) -> list[Score]:
    import dfast

    from .evaluate import score

    scores = []
    for path in paths:
        result = dfast.load(path, device)
        scores.append(score(result, seed=result.seed))
    return scores


def _train_and_score(prompts: list[str], device: str, options: Namespace) -> list[Score]:
    """Every prompt with every seed; a run that ends in a named failure counts as an empty one."""
    from .evaluate import Nothing, score, timed_training
    from .priors import load_prior
    from .shapes.grammar import parse

    for prompt in prompts:
        parse(prompt)  # complain before hours of work, not after
    made = settings(options)
    loaded = made.prior if made is not None else None
    prior = load_prior(prior_name(options), device, options=loaded)
    scores: list[Score] = []
    for prompt in prompts:
        for seed in range(options.seeds):
            out = Path(options.out) / f"{_slug(prompt)}-{seed}" if options.out else None
            try:
                result, seconds = timed_training(
                    prompt, seed=seed, prior=prior, out=out, steps=options.steps,
                    device=device, config=made, progress=False,
                )  # fmt: skip
                scores.append(score(result, prompt, seed=seed, seconds=seconds))
            except (CollapsedError, NonFiniteError) as error:
                print(f"dfast: {prompt!r}, seed {seed}: {error}", file=sys.stderr)
                scores.append(score(Nothing(), prompt, seed=seed))
            s = scores[-1]
            done = f"{len(scores)}/{len(prompts) * options.seeds}"
            print(
                f"{done} {prompt}, seed {seed}: IoU {s.iou:.2f}, "
                f"rank {s.rank}, colors {s.colors:.2f} {' '.join(s.faults)}",
                file=sys.stderr,
            )
    return scores


def _device_name(device: str) -> str:
    import platform

    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()


def priors(options: Namespace) -> int:
    """List the catalogue of diffusion models: sizes, terms, and which are on this machine."""
    from .priors.catalog import CATALOG
    from .priors.hub import cached, whole

    print("shapes  embedded; knows only its own small world")
    for entry in CATALOG.values():
        here = f"{entry.gigabytes:g} GB to fetch"
        if cached(entry.hub):
            here = "on this machine" if whole(entry.hub) else "in part on this machine"
        print(f"{entry.alias:7} {entry.about} ({entry.license}{', gated' * entry.gated}; {here})")
        print(f"        {entry.url}")
    print("or a diffusers folder of these families, or owner/name on the hub")
    return 0


def config(options: Namespace) -> int:
    """Print the settings as TOML."""
    made = settings(options) or unsaid(options)
    if options.steps is not None:
        made = made.replace(train={"steps": options.steps})
    print(made.dumps(), end="")
    return 0


def bench(options: Namespace) -> int:
    """Measure this machine and print the table; 1 when a case of dfast's own failed."""
    out = Path(options.out) if options.out else None
    if out is not None and out.is_dir():
        raise ConfigError(f"--out: expected a file to write, got the folder '{out}'")
    models = options.prior is not None
    others = ("workloads", "profile") if models else ("random", "steps", "set")
    if given := [name for name in others if getattr(options, name)]:
        raise ConfigError(f"--{given[0]}: expected {'no' if models else 'with'} --prior")
    if models:
        return _bench_priors(options, out)
    from .bench.cases import parse_letters

    # torch's profiler would announce each trace on stderr; it asks when torch is imported.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    letters = parse_letters(options.workloads)
    folder = Path(options.profile) if options.profile else None
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConfigError(f"--profile: expected a folder, got the file '{folder}'")

    from ._device import pick_device
    from ._native import library
    from .bench import report, runner

    library()
    records = runner.run(
        pick_device(options.device), letters, quick=options.quick, out=out, profile=folder,
        say=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    print(report.heading(records))
    print(report.table(records))
    return int(any("error" in r and str(r["variant"]).startswith("dfast") for r in records))


def _bench_priors(options: Namespace, out: Path | None) -> int:
    """Measure whole steps with diffusion models; 1 when one failed."""
    from ._device import pick_device
    from ._native import library
    from .bench import guidance

    library()
    steps = 100 if options.steps is None else options.steps
    if steps < 1:
        raise ConfigError(f"--steps: expected a whole number >= 1, got {steps}")
    records = guidance.run(
        [name.strip() for name in options.prior.split(",")],
        pick_device(options.device),
        settings=lambda made: changed(made, options.set),
        steps=steps,
        random=options.random,
        tiny=options.quick,
        out=out,
        say=lambda line: print(line, file=sys.stderr),
    )
    print(guidance.table(records))
    return int(any("error" in record for record in records))


def doctor(options: Namespace) -> int:
    """Print what is installed and what is missing; 1 when training cannot work."""
    from .doctor import examine, ready, report

    findings = examine()
    print(report(findings))
    return 0 if ready(findings) else 1
