"""What is said when a run begins."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from dfast._numbers import amount
from dfast.config import Config
from dfast.config.methods import DEFAULT, METHODS


def opening(
    subject: str,
    *,
    prior: str,
    device: torch.device,
    config: Config,
    seed: int,
    out: Path | None,
    done: int,
    seconds: float | None,
    lora: Sequence[str] = (),
    verb: str = "making",
) -> list[str]:
    """Return lines that say what a run makes, with what, where, how long, and what comes when.

    Args:
        subject: what it makes, see `understood`.
        prior: name of the prior, or of the CLIP.
        device: where it runs.
        config: all settings.
        seed: of all randomness.
        out: the run folder, None without one.
        done: steps done before, in a run that is resumed.
        seconds: about how long the rest takes, None where that is not known.
        lora: what LoRA files change the prior, see `Prior.lora`.
        verb: what happens to it.
    """
    plan = config.train
    where = str(device)
    if device.type == "cpu":
        where += f" ({amount(torch.get_num_threads(), 'thread')})"
    verb = f"going on from step {done} with" if done else verb
    steps = amount(plan.steps, "step")
    if seconds is not None:
        steps += f" ({roughly(seconds)}{' left' if done else ''})"
    name = config.method.name
    guide = "" if name == DEFAULT else f"{name}, "
    guide += f"{METHODS[name].guide} {prior}"
    first = f"{verb} {subject}: {guide}, {where}, {steps}, seed {seed}"
    if out is None:
        return [first, *lora]
    parts = [f"into {shlex.quote(str(out))}"]
    if 0 < plan.preview_every <= plan.steps:
        parts.append(f"a preview every {plan.preview_every} steps in its folder previews")
    if 0 < plan.checkpoint_every <= plan.steps:
        parts.append(f"a checkpoint every {plan.checkpoint_every}")
    return [first, *lora, ", ".join(parts) + "; Ctrl-C saves and stops"]


def understood(prompt: str, normal_form: str, parts: Sequence[str] = ()) -> str:
    """Return what a run makes, in quotes, as its prior reads it.

    Args:
        prompt: what to make.
        normal_form: of the prompt, see `Prior.normal_form`.
        parts: names of the parts of a layout.
    """
    of = f" of {len(parts)} parts ({', '.join(parts)})" if parts else ""
    read = "" if normal_form == prompt else f' (understood from "{prompt}")'
    return f'"{normal_form}"{of}{read}'


def roughly(seconds: float) -> str:
    """Return a time that is known to a third or so as text, such as "about 4 min".

    Args:
        seconds: the time.
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {10 * round(seconds / 10)} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {round(seconds / 3600)} h"


def duration(seconds: float) -> str:
    """Return a time as text, such as "4 min 30 s".

    Args:
        seconds: the time.
    """
    if seconds < 1.0:
        return f"{1e3 * seconds:.3g} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
