"""What several runs that are made side by side begin with: arguments, seeds and folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dfast._numbers import shown
from dfast.clip import ClipEncoder
from dfast.config import Config
from dfast.config.checks import check_seed
from dfast.errors import ConfigError, PromptError
from dfast.guidance.clip import ClipGuide
from dfast.priors import Prior
from dfast.runs.arguments import RunArguments, resolve_arguments
from dfast.runs.folder import RunFolder
from dfast.runs.layouts import notes_of
from dfast.runs.names import digest, slug
from dfast.runs.records import about_run


def check_prompts(prompts: Sequence[str]) -> Sequence[str]:
    """Return prompts if there are any; what each says is checked with its run.

    Raises:
        PromptError: there are none.
    """
    if not prompts:
        raise PromptError("prompt: expected a description or a list of them, got an empty list")
    return prompts


def arguments_of_each(
    prompts: Sequence[str],
    method: str | None,
    clip: str | Path | ClipEncoder | None,
    prior: str | Prior,
    download: bool,
    device: str | torch.device | None,
    config: Config | Mapping[str, Any] | None,
    steps: int | None,
) -> list[RunArguments]:
    """Return the checked arguments of each run; the prior or CLIP is loaded once.

    The arguments, and what is raised for them, are those of `dfast.train`.
    """
    check_prompts(prompts)
    found: list[RunArguments] = []
    for prompt in prompts:
        first = found[0].prior if found else None
        settings = found[0].config if found else config
        found.append(
            resolve_arguments(
                prompt,
                method=method,
                clip=first if isinstance(first, ClipGuide) else clip,
                prior=first if isinstance(first, Prior) else prior,
                download=download,
                device=device,
                config=settings,
                steps=steps,
            )
        )
    return found


def seeds_of_each(seed: int | Sequence[int], count: int) -> list[int]:
    """Return the seed of each run.

    Args:
        seed: of every run, or one for each.
        count: of the runs.

    Raises:
        ConfigError: a number that is no seed, or not one for each run.
    """
    seeds = list(seed) if isinstance(seed, list | tuple | range) else [seed] * count
    if len(seeds) != count:
        raise ConfigError(f"seed: expected a number or {count} of them, got {len(seeds)}")
    return [check_seed(number) for number in seeds]


def names_of_each(each: Sequence[RunArguments], seeds: Sequence[int]) -> list[str]:
    """Return the name of each run: made of its prompt, with its seed where that is needed.

    Published models read case and punctuation, which a name leaves out: names of prompts that
    differ in nothing else end in a digest.

    Args:
        each: arguments of the runs.
        seeds: of the runs.
    """
    meanings = [arguments.prior.normal_form(arguments.prompt) for arguments in each]
    slugs = [slug(meaning) for meaning in meanings]
    count = Counter(slugs)
    names = [
        f"{name}-seed-{number}" if count[name] > 1 else name
        for name, number in zip(slugs, seeds, strict=True)
    ]
    twice = Counter(names)
    return [
        f"{name}-{digest(meaning)}" if twice[name] > 1 else name
        for name, meaning in zip(names, meanings, strict=True)
    ]


def folders_of_each(
    each: Sequence[RunArguments],
    seeds: Sequence[int],
    out: str | Path | None,
    resume: bool,
    particles: bool,
) -> list[RunFolder | None]:
    """Return the folder of each run, with the name of `names_of_each`.

    Args:
        each: arguments of the runs.
        seeds: of the runs.
        out: the folder of the folders; None for none.
        resume: continue the runs that are already there.
        particles: the runs are particles, which is recorded.

    Raises:
        ConfigError: two runs that are the same.
        RunFolderError: a folder that cannot be used.
    """
    meanings = [arguments.prior.normal_form(arguments.prompt) for arguments in each]
    twice = [pair for pair, n in Counter(zip(meanings, seeds, strict=True)).items() if n > 1]
    if twice:
        prompt, number = twice[0]
        raise ConfigError(f'seed: expected different ones for "{prompt}", got {number} twice')
    if out is None:
        return [None] * len(each)
    if not isinstance(out, str | Path):
        raise ConfigError(f"out: expected a folder or None, got {shown(out)}")
    folders: list[RunFolder | None] = []
    names = names_of_each(each, seeds)
    for arguments, name, number in zip(each, names, seeds, strict=True):
        prompt, _, config, model = arguments
        about = about_run(prompt, number, model, config, notes_of(config, model, prompt))
        if particles:
            about["particles"] = len(each)
        path = Path(out) / name
        again = resume and path.exists()
        form = arguments.prior.normal_form
        folders.append(RunFolder(path, arguments.config, about, resume=again, normal_form=form))
    return folders
