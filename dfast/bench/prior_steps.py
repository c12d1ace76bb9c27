"""Time whole training steps with diffusion priors.

step_ms        time of a step on the host's clock, when the trainer's steps are queued
unet_ms ...    times of the parts of a step, see `dfast.bench.step_parts`
ratio          step_ms over unet_ms; ratio_encode: over unet_ms + encode_ms
load_s         reading the prompt and loading the weights; first_step_s: the step after that
peak_mib       most memory allocated in a step; reserved_mib: kept by torch, with CUDA graphs' pools
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from dfast.bench import machine, report
from dfast.bench.measurement import TIMES, error_line
from dfast.bench.step_parts import part_times
from dfast.bench.stepping import free, seconds, wait
from dfast.bench.timing import MIB, Record
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.guidance.variants import conditions_of
from dfast.priors import load_prior
from dfast.priors.loading.families import detect_family
from dfast.priors.loading.hub import find_folder
from dfast.runs.timed_steps import PLAIN_STEPS
from dfast.testing.model_sizes import FAMILIES
from dfast.testing.transformer_sizes import PUBLISHED
from dfast.training.build import build_trainer
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.trainer import Trainer

PROMPT = "a red chair"
RANDOM = (*FAMILIES, *PUBLISHED)
"""Short names of models that can have random weights."""
COLUMNS = (
    "step_ms",
    "unet_ms",
    "encode_ms",
    "render_ms",
    "backward_ms",
    "optimizer_ms",
    "ratio",
    "ratio_encode",
    "peak_mib",
    "reserved_mib",
    "load_s",
    "first_step_s",
)
"""Of the table."""
LIT = {"albedo": 0.0, "textureless": 0.0, "diffuse": 1.0, "ambient_only": 0.0, "ramp": 0.0}
STILL: dict[str, Any] = {
    "shading": LIT,
    "optimizer": {"lr_grid": 1e-6, "lr_mlp": 1e-6, "lr_background": 1e-6},
}
"""Settings of a comparable step: every view is lit, which costs most, and the scene stays as it is
whatever the prior predicts."""


def run(
    names: Sequence[str],
    device: torch.device,
    *,
    settings: Callable[[Config], Config] = lambda config: config,
    steps: int = 100,
    random: bool = False,
    tiny: bool = False,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Record]:
    """Measure priors. One that fails leaves its message in "error", and the others go on.

    Args:
        names: of the priors, as for `load_prior`.
        device: where they run.
        settings: changes each prior's configuration.
        steps: number of steps to time.
        random: names other than "shapes" are those of `RANDOM`; each is written with random weights
            to a temporary folder first.
        tiny: random models are tiny ones.
        out: a file that is written after each prior.
        say: shows a line of progress.

    Returns:
        A record for each prior.

    Raises:
        ConfigError: if a name or a setting is not valid, before anything is measured.
        PriorError: if there is no such prior, before anything is measured.
    """
    plans = [(name, settings(default_settings(name, random, device))) for name in names]
    about = machine.describe(device)
    records: list[Record] = []
    for name, made in plans:
        drawn = random and name != "shapes"
        with tempfile.TemporaryDirectory(prefix="dfast-") as temporary:
            try:
                folder = random_folder(name, Path(temporary), device, tiny) if drawn else name
                found = measure(folder, device, made, steps)
            except Exception as error:  # any error of a prior is its result
                found = {TIMES: error_line(error)}
        records.append({"model": name, "random": drawn} | found | about)
        say(f"{name}: {found.get('error') or found['step_ms']}")
        if out is not None:
            report.save(records, out)
        free(device)
    return records


def default_settings(name: str, random: bool, device: torch.device) -> Config:
    """Return the settings that a run would have.

    Args:
        name: of the prior.
        random: a name other than "shapes" is a family of random weights.
        device: where it would run.

    Raises:
        ConfigError: if there is no such family.
        PriorError: if there is no such prior.
    """
    family = "shapes" if name == "shapes" else family_of(name, random)
    return Config.default(device.type) if family == "shapes" else Config.for_prior(family)


def family_of(name: str, random: bool) -> str:
    """Return the name under which `Config.for_prior` knows a prior.

    Raises:
        ConfigError: if there is no such model with random weights.
        PriorError: if there is no such prior.
    """
    if random and name not in RANDOM:
        expected = ", ".join(RANDOM)
        raise ConfigError(f"prior: expected one of {expected} with random weights, got {name!r}")
    if random:
        return name
    return detect_family(find_folder(name))


def random_folder(name: str, to: Path, device: torch.device, tiny: bool) -> str:
    """Write a model of random weights and return its folder."""
    from dfast.testing.random_models import write
    from dfast.testing.random_transformers import write_transformer

    chosen = write if name in FAMILIES else write_transformer
    return str(chosen(name, to / name, size="tiny" if tiny else "full", device=device))


def table(records: Sequence[Record]) -> str:
    """Return the records as aligned text."""
    return report.model_table(
        COLUMNS,
        records,
        lambda record, shown: [str(record["error"])] if "error" in record else shown,
    )


def measure(name: str, device: torch.device, config: Config, steps: int) -> Record:
    """Measure one prior.

    Args:
        name: of the prior.
        device: where it runs.
        config: the run's configuration, of which `STILL` replaces a part.
        steps: number of steps to time.

    Returns:
        Its record, without the machine.
    """
    settle = _settled(config) if device.type == "cuda" else 1
    config = config.replace(**STILL, train={"steps": 10 * (steps + settle)})
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = perf_counter()
    prior = load_prior(name, device, options=config.prior)
    trainer = build_trainer(config, prior, PROMPT, 0, device)
    wait(device)
    load = perf_counter() - began
    loading = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first = _steps(trainer, 1)
    _steps(trainer, settle)
    whole = _steps(trainer, steps) / steps
    found: Record = {
        "variant": config.guidance.variant,
        "views": config.camera.views,
        "resolution": config.camera.resolution[0][1],
        "steps": steps,
        "step_ms": 1e3 * whole,
        "load_s": load,
        "first_step_s": first,
        "captures": trainer.graphs.captures,
    }
    if device.type == "cuda":
        found["peak_mib"] = torch.cuda.max_memory_allocated(device) / MIB
        found["reserved_mib"] = torch.cuda.memory_reserved(device) / MIB
        found["loading_mib"] = loading / MIB
    times = part_times(trainer, max(3, min(steps, 50)))
    found |= times | {
        "unet_batch": config.camera.views
        * len(conditions_of(config.guidance, prior.largest_scale)),
        "ratio": 1e3 * whole / times["unet_ms"],
        "ratio_encode": 1e3 * whole / (times["unet_ms"] + times["encode_ms"]),
    }
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in found.items()}


def _settled(config: Config) -> int:
    """Return after how many steps all CUDA graphs of a long run are recorded."""
    o = config.occupancy
    return max(PLAIN_STEPS, o.warmup_steps + (CudaGraphCache.WARMUP + 2) * o.every)


def _steps(trainer: Trainer, count: int) -> float:
    """Return the seconds that `count` steps take."""
    return seconds(trainer.train_step, count, trainer.device)
