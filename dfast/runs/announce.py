"""What is said when a run begins."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch

from dfast.config import Config


def opening(
    prompt: str,
    understood: str,
    *,
    prior: str,
    device: torch.device,
    config: Config,
    seed: int,
    out: Path | None,
    done: int,
) -> list[str]:
    """Return lines that say what a run makes, with what, where, and what comes when.

    Args:
        prompt: what to make.
        understood: the same as the prior reads it.
        prior: name of the prior.
        device: where it runs.
        config: all settings.
        seed: of all randomness.
        out: the run folder, None without one.
        done: steps done before, in a run that is resumed.
    """
    plan = config.train
    read = "" if understood == prompt else f' (understood from "{prompt}")'
    where = str(device) + (f" ({torch.get_num_threads()} threads)" if device.type == "cpu" else "")
    verb = f"going on from step {done} with" if done else "making"
    first = f'{verb} "{understood}"{read}: prior {prior}, {where}, {plan.steps} steps, seed {seed}'
    if out is None:
        return [first]
    parts = [f"into {shlex.quote(str(out))}"]
    if plan.preview_every:
        parts.append(f"a preview every {plan.preview_every} steps in its folder previews")
    if plan.checkpoint_every:
        parts.append(f"a checkpoint every {plan.checkpoint_every}")
    return [first, ", ".join(parts) + "; Ctrl-C saves and stops"]


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
