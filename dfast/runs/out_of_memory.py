"""What to do when a device runs out of memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dfast._device import ran_out
from dfast.config import Config
from dfast.errors import OutOfMemoryError
from dfast.priors.base import Prior


@contextmanager
def explain_out_of_memory(device: torch.device, config: Config, prior: Prior) -> Iterator[None]:
    """Turn an error of `ran_out` into one that says which settings to turn.

    Nothing is written or removed: the run can go on from its last checkpoint.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemoryError(_message(str(error), device, config, prior)) from error


def _message(reason: str, device: torch.device, config: Config, prior: Prior) -> str:
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", reason)
    wanted = f"{asked[1]} more" if asked else "more than there is"
    room = ""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        room = f" ({total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of it free)"
    turns = (
        "; ".join(memory_suggestions(config, prior, streams=device.type == "cuda"))
        or "use a smaller model"
    )
    return f"out of memory: {device}{room} was asked for {wanted}. In this order: {turns}"


def memory_suggestions(config: Config, prior: Prior, *, streams: bool = True) -> list[str]:
    """Settings that lower the memory and are not turned yet, what costs least first.

    streams: whether weights could wait elsewhere, which on the CPU they cannot.
    """
    latent, real = hasattr(prior, "encode"), hasattr(prior, "meta_parts")
    options, guidance = config.prior, config.guidance
    pixels = max(size for _, size in config.camera.resolution)
    views = config.camera.views
    candidates = [
        (views > 1, f"lower camera.views, now {views}"),
        (latent and not options.vae_checkpointing, "set prior.vae_checkpointing = true"),
        (latent and not options.vae_tiling, "set prior.vae_tiling = true"),
        (real and not options.attention_slicing, "set prior.attention_slicing = true"),
        (real and streams and options.offload == "none", 'set prior.offload = "model"'),
        (latent and guidance.linear_until < 1, "set guidance.linear_until = 1"),
        (real, "use a smaller model"),
        (pixels > 32, f"lower camera.resolution, now {pixels}"),
    ]
    return [text for holds, text in candidates if holds]
