"""`dfast reproduce`: tables of the paper again, methods side by side or an ablation."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from dfast.cli.checks import check_device, check_prompt, read_lines
from dfast.cli.importing import import_runs
from dfast.cli.options import Commands, UsageError, add_device, add_overrides
from dfast.cli.output import say
from dfast.cli.signals import exit_code, interrupted
from dfast.config.methods import METHODS
from dfast.config.overrides import parse_override
from dfast.config.parsing import overlay

FAILED = 1
"""Exit code: some run failed."""


def add_reproduce(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    p = commands.add_parser(
        "reproduce", help="tables of DreamFusion again: methods side by side, an ablation"
    )
    p.set_defaults(run=reproduce)
    p.add_argument(
        "what",
        choices=("table1", "ablation"),
        help="table1: methods side by side, by CLIP R-Precision and against the procedural world; "
        "ablation: one method with more and more of wide views, view words, light, textureless "
        "views",
    )
    p.add_argument("--out", required=True, metavar="DIR", help="runs, scores and the table")
    p.add_argument(
        "--methods",
        metavar="NAMES",
        help=f"of table1, some of {','.join(METHODS)} (default: those of the paper, and dfast)",
    )
    p.add_argument(
        "--method", metavar="NAME", help="that the ablation takes apart (default: dfast)"
    )
    p.add_argument("--prompts", metavar="FILE", help="a prompt a line (# begins a comment)")
    p.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="seeds 0..N-1 of each prompt (default: 1)"
    )
    p.add_argument(
        "--prior", metavar="NAME", help="diffusion model, as of dfast train (default: shapes)"
    )
    p.add_argument(
        "--clip",
        action="append",
        default=[],
        metavar="NAME",
        help="CLIP that scores: a folder of transformers, a hub id or shapes, the embedded one "
        "(default: shapes; may be repeated)",
    )
    p.add_argument("--no-clip", action="store_true", help="leave R-Precision out")
    p.add_argument(
        "--guide",
        metavar="NAME",
        help="CLIP of the methods that a CLIP guides (default: shapes beside the prior shapes; "
        "others need one)",
    )
    p.add_argument(
        "--among", metavar="FILE", help="more prompts, among which the CLIPs retrieve objects"
    )
    p.add_argument("--download", action="store_true", help="fetch models that are not there")
    p.add_argument(
        "--quick", action="store_true", help="small, short runs: minutes on a CPU, rough objects"
    )
    p.add_argument("--steps", type=int, metavar="N", help="of each run, if not its method's")
    add_overrides(
        p,
        "change one setting of all runs, or of those of a method with METHOD: before it, such as "
        "dreamfusion:train.steps=5000 (may be repeated)",
    )
    add_device(p)
    p.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: what fits)")
    p.add_argument("--threads", type=int, metavar="N", help="of each run, on its CPU")
    p.add_argument(
        "--retries",
        type=int,
        default=2,
        metavar="N",
        help="how often a run is started again that crashed (default: %(default)s)",
    )
    p.add_argument("--quiet", action="store_true", help="do not show how it proceeds")


def reproduce(options: Namespace) -> int:
    """Make and score the runs, and write the table; return 1 if some run failed."""
    if options.no_clip and options.clip:
        raise UsageError("--no-clip: expected without --clip")
    for name, needed in (("methods", "table1"), ("method", "ablation")):
        if getattr(options, name) is not None and options.what != needed:
            raise UsageError(f"--{name}: expected with {needed}, got {options.what}")
    check_device(options.device)
    prior = options.prior or "shapes"
    prompts = read_lines(options.prompts, "--prompts", "prompt") or None
    among = read_lines(options.among, "--among", "prompt")
    for prompt in prompts or ():
        check_prompt(prompt, prior)
    config, by_method = _settings(options.set)
    import_runs()
    from dfast.reproduction.reproduce import reproduce as run

    try:
        found = run(
            options.what,
            options.out,
            methods=_names(options.methods),
            method=options.method or "dfast",
            prompts=prompts,
            seeds=options.seeds,
            prior=prior,
            clips=() if options.no_clip else options.clip or ("shapes",),
            guide=options.guide,
            among=among,
            download=options.download,
            quick=options.quick,
            steps=options.steps,
            config=config,
            method_config=by_method,
            jobs=options.jobs,
            threads=options.threads,
            retries=options.retries,
            device=options.device,
            progress=not options.quiet,
        )
    except (KeyboardInterrupt, SystemExit) as stopped:
        interrupted("the same command goes on")
        return exit_code(stopped)
    say(found.report.text())
    for path in found.files:
        say(f"{path}")
    return FAILED if found.batch.failed else 0


def _settings(texts: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the settings of all runs, and those of single methods by their names."""
    config: dict[str, Any] = {}
    by_method: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, _, own = text.partition(":")
        if name in METHODS:
            by_method[name] = overlay(by_method.get(name, {}), parse_override(own))
        else:
            config = overlay(config, parse_override(text))
    return config, by_method


def _names(text: str | None) -> list[str] | None:
    """Return the methods that --methods names."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
