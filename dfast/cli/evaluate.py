"""`dfast evaluate`: score runs against the procedural world."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast._numbers import shown
from dfast._version import __version__
from dfast.cli.checks import check_finished, check_prompt, check_run, read_lines
from dfast.cli.clip_scores import add_clip_options, check_clip_options, score_paths
from dfast.cli.options import Commands, UsageError, add_settings, prior_name, read_config
from dfast.cli.output import write_json
from dfast.config.checks import SEED_LIMIT
from dfast.errors import CollapsedError, ConfigError, NonFiniteError
from dfast.runs.names import run_name

if TYPE_CHECKING:
    from dfast.config import Config
    from dfast.evaluation.scorecard import Score
    from dfast.priors import Prior


def add_evaluate(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    p = commands.add_parser("evaluate", help="score runs against the procedural world or by a CLIP")
    p.set_defaults(run=evaluate)
    p.add_argument(
        "paths",
        nargs="*",
        metavar="RUN",
        help="finished run folders; with --clip also .glb files, and folders of both",
    )
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
    p.add_argument(
        "--jobs", type=int, default=1, metavar="N",
        help="score so many finished runs at a time (default: 1)",
    )  # fmt: skip
    p.add_argument("--out", metavar="DIR", help="keep the trained runs in this folder")
    add_clip_options(p)
    add_settings(p)


def evaluate(options: Namespace) -> int:
    """Score finished runs, or train prompts and score them."""
    check_clip_options(options)
    if options.clip:
        _check_json(options.json)
        report = score_paths(options, read_lines(options.prompts, "--prompts", "sentence"))
        _report(report.table(), report.as_dict, options)
        return 0
    prompts = [*options.prompt, *read_lines(options.prompts, "--prompts", "sentence")]
    if bool(options.paths) == bool(prompts):
        raise UsageError("evaluate: expected run folders, or --prompt/--prompts to train and score")
    if not 1 <= options.seeds <= SEED_LIMIT:
        raise ConfigError(f"--seeds: expected 1 to {SEED_LIMIT}, got {shown(options.seeds)}")
    _check_options(options)
    check_run(options)
    for prompt in prompts:
        check_prompt(prompt, "shapes")  # names a wrong prompt before hours of work, not after
    for path in options.paths:
        check_finished(path)

    from dfast._device import pick_device
    from dfast.evaluation import scorecard

    device = str(pick_device(options.device))
    if options.paths:
        scores = _score_runs(options.paths, device, options.jobs)
    else:
        scores = _train_and_score(prompts, device, options)
    as_dict = partial(scorecard.as_dict, scores, dfast=__version__)
    _report(scorecard.table(scores), as_dict, options)
    return 0


def _report(table: str, as_dict: Callable[..., dict[str, Any]], options: Namespace) -> None:
    """Print the table, and write everything measured with the device if --json asks for it."""
    from dfast._device import pick_device

    if options.json != "-":
        print(table)  # first, so that a file that cannot be written costs nothing
    if options.json:
        device = str(pick_device(options.device))
        write_json(options.json, as_dict(device=device, device_name=_device_name(device)), "--json")


def _check_json(path: str | None) -> None:
    """Raise ConfigError for a folder as --json."""
    if path not in (None, "-") and Path(str(path)).is_dir():
        raise ConfigError(f"--json: expected a file to write, got the folder '{path}'")


def _check_options(options: Namespace) -> None:
    """Raise ConfigError for options that finished runs leave unused, and a folder as --json."""
    if options.paths:
        unused = ("out", "steps", "prior", "config", "preset", "set")
        given = [name for name in unused if getattr(options, name)]
        if given := given + ["seeds"] * (options.seeds != 1):
            raise UsageError(
                f"--{given[0]}: expected with --prompt or --prompts; finished runs have their own"
            )
    elif options.jobs != 1:
        raise UsageError("--jobs: expected with finished runs; those of prompts are one at a time")
    if options.jobs < 1:
        raise UsageError(f"--jobs: expected at least 1, got {options.jobs}")
    _check_json(options.json)


def _score_runs(paths: list[str], device: str, jobs: int) -> list[Score]:
    """Score finished runs, some of them in processes of their own."""
    score = partial(_score_run, device=device)
    if jobs == 1:
        return [found for path in paths for found in score(path)]
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, get_context("spawn"), _share_threads, (jobs,)) as pool:
        return [found for some in pool.map(score, paths) for found in some]


def _score_run(path: str, device: str) -> list[Score]:
    """Score a finished run, of a layout each of its parts."""
    import dfast
    from dfast.evaluation.score import score, with_parts

    found = dfast.load(path, device)
    return [score(result, seed=result.seed) for result in with_parts(found)]


def _share_threads(jobs: int) -> None:
    """Take a share of the threads."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def _train_and_score(prompts: list[str], device: str, options: Namespace) -> list[Score]:
    """Train and score every prompt with every seed."""
    from dfast.priors import load_prior

    config = read_config(options)
    prior = load_prior(prior_name(options), device, options=config.prior)
    scores: list[Score] = []
    for prompt in prompts:
        for seed in range(options.seeds):
            out = (
                user_path(options.out) / f"{run_name(prompt, prior_name(options))}-{seed}"
                if options.out
                else None
            )
            scores.append(_train_one(prompt, seed, prior, config, device, out))
            s, total = scores[-1], len(prompts) * options.seeds
            found = [f"IoU {s.iou:.2f}", f"rank {s.rank}", f"colors {s.colors:.2f}"]
            found += [*s.attributes, *s.faults]
            print(
                f"{len(scores)}/{total} {prompt}, seed {seed}: {', '.join(found)}", file=sys.stderr
            )
    return scores


def _train_one(
    prompt: str, seed: int, prior: Prior, config: Config, device: str, out: Path | None
) -> Score:
    """Train and score one run; one that ends in a named failure is scored as an empty scene."""
    import dfast
    from dfast.evaluation.score import EmptyField, score

    start = time.perf_counter()
    try:
        result = dfast.train(
            prompt, prior=prior, out=out, seed=seed, device=device, config=config, progress=False
        )
    except (CollapsedError, NonFiniteError) as error:
        print(f"dfast: {prompt!r}, seed {seed}: {error}", file=sys.stderr)
        return score(EmptyField(), prompt, seed=seed)
    return score(result, prompt, seed=seed, seconds=time.perf_counter() - start)


def _device_name(device: str) -> str:
    import platform

    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
