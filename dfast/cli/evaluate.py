"""`dfast evaluate`: score runs against the procedural world."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._files import replacing
from dfast._version import __version__
from dfast.cli.options import prior_name, settings
from dfast.cli.train import _slug
from dfast.errors import CollapsedError, ConfigError, NonFiniteError

if TYPE_CHECKING:
    from dfast.evaluation.scorecard import Score


def evaluate(options: Namespace) -> int:
    """Score finished runs, or train prompts and score them."""
    prompts = [*options.prompt, *_read_prompts(options.prompts)]
    if bool(options.paths) == bool(prompts):
        raise ConfigError(
            "evaluate: expected run folders, or --prompt/--prompts to train and score"
        )
    if options.seeds < 1:
        raise ConfigError(f"--seeds: expected a whole number >= 1, got {options.seeds}")

    from dfast._device import pick_device
    from dfast.evaluation import scorecard

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
    from dfast.evaluation.score import score

    scores = []
    for path in paths:
        result = dfast.load(path, device)
        scores.append(score(result, seed=result.seed))
    return scores


def _train_and_score(prompts: list[str], device: str, options: Namespace) -> list[Score]:
    """Every prompt with every seed; a run that ends in a named failure counts as an empty one."""
    from dfast.evaluation.score import Nothing, score
    from dfast.priors import load_prior
    from dfast.world.grammar import parse

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


def timed_training(prompt: str, *, seed: int, **options: Any) -> tuple[Any, float]:
    """Train one prompt with `dfast.train`: (result, seconds)."""
    from dfast import train

    start = time.perf_counter()
    result = train(prompt, seed=seed, **options)
    return result, time.perf_counter() - start
