"""What to change when a device runs out of memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dfast._device import ran_out
from dfast.config import Config
from dfast.errors import OutOfMemoryError
from dfast.guidance.clip import Guide
from dfast.runs.memory import available_bytes, least_bytes, state_bytes

SMALL_IMAGE = 32
"""Pixels a side of the training images below which a lower resolution is not suggested."""


@contextmanager
def explain_out_of_memory(device: torch.device, config: Config, prior: Guide) -> Iterator[None]:
    """Turn an error that says that memory ran out into one that says what to change.

    Nothing is written or removed: the run can be resumed from its last checkpoint.

    Args:
        device: the device of the run.
        config: its configuration.
        prior: its prior.

    Raises:
        OutOfMemoryError: memory ran out in the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemoryError(_message(str(error), device, config, prior)) from error


def check_memory(device: torch.device, config: Config, prior: Guide) -> None:
    """Raise for settings that cannot fit into the memory, before anything is allocated.

    Args:
        device: the device of the run.
        config: its configuration.
        prior: its prior.

    Raises:
        OutOfMemoryError: field, optimiser and rays alone take more than what is free.
    """
    need, free = least_bytes(config), available_bytes(device)
    if free is None or need <= free:
        return
    advice = memory_suggestions(config, prior, can_offload=device.type == "cuda")
    if state_bytes(config) > free // 2 and config.field.kind == "hash":
        entries = config.field.grid.log2_entries
        advice.insert(0, f"lower field.grid.log2_entries, now {entries}")
    raise OutOfMemoryError(
        f"out of memory: the settings need at least {need / 2**30:.1f} GiB, and {device} has "
        f"{free / 2**30:.1f} GiB free. In this order: {'; '.join(advice)}"
    )


def _message(reason: str, device: torch.device, config: Config, prior: Guide) -> str:
    """Return one line from the message of the original error."""
    requested = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", reason)
    amount = f"{requested[1]} more" if requested else "more than there is"
    memory = ""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        memory = f" ({total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of it free)"
    advice = (
        "; ".join(memory_suggestions(config, prior, can_offload=device.type == "cuda"))
        or "use a smaller model"
    )
    return f"out of memory: {device}{memory} was asked for {amount}. In this order: {advice}"


def memory_suggestions(config: Config, prior: Guide, *, can_offload: bool = True) -> list[str]:
    """Return the changes of settings that would lower the memory, the cheapest first.

    Args:
        config: the configuration of the run; what it sets already is left out.
        prior: its prior; only what applies to it is suggested.
        can_offload: whether weights can stay in other memory, which they cannot on the CPU.
    """
    latent, has_options = prior.is_latent, prior.options is not None
    options, guidance = config.prior, config.guidance
    pixels = max(size for _, size in config.camera.resolution)
    views = config.camera.views
    candidates = [
        (views > config.camera.ring, f"lower camera.views, now {views}"),
        (latent and not options.vae_checkpointing, "set prior.vae_checkpointing = true"),
        (latent and not options.vae_tiling, "set prior.vae_tiling = true"),
        (has_options and not options.attention_slicing, "set prior.attention_slicing = true"),
        (has_options and can_offload and options.offload == "none", 'set prior.offload = "model"'),
        (latent and guidance.linear_until < 1, "set guidance.linear_until = 1"),
        (has_options, "use a smaller model"),
        (pixels > SMALL_IMAGE, f"lower camera.resolution, now {pixels}"),
    ]
    return [text for applies, text in candidates if applies]
