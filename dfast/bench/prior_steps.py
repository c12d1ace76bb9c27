"""Time whole training steps with diffusion priors.

step_ms        time of a step on the host's clock, when the trainer's steps are queued
unet_ms ...    times of the parts of a step, see `dfast.bench.step_parts`
ratio          step_ms over unet_ms; ratio_encode: over unet_ms + encode_ms
load_s         reading the prompt and loading the weights; first_step_s: the step after that
peak_mib       most memory allocated in a step; reserved_mib: kept by torch, with CUDA graphs' pools
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import torch

from dfast.bench import priors, report
from dfast.bench.measurement import TIMES, error_line
from dfast.bench.priors import PROMPT, STILL, Options, Plan
from dfast.bench.step_parts import part_times
from dfast.bench.stepping import seconds, wait
from dfast.bench.timing import MIB, Record
from dfast.config import Config
from dfast.guidance.variants import conditions_of
from dfast.priors import load_prior
from dfast.runs.timed_steps import PLAIN_STEPS
from dfast.training.build import build_trainer
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.trainer import Trainer

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


def run(names: Sequence[str], options: Options) -> list[Record]:
    """Measure priors. One that fails leaves its message in "error", and the others go on.

    Args:
        names: of the priors.
        options: how they are measured.

    Returns:
        A record for each prior.

    Raises:
        ConfigError: if a name or a setting is not valid, before anything is measured.
        PriorError: if there is no such prior, before anything is measured.
    """

    def found(plan: Plan) -> Iterator[tuple[str, Record]]:
        try:
            with priors.weights(plan, options) as folder:
                record = measure(folder, options.device, plan.config, options.steps)
        except Exception as error:  # any error of a prior is its result
            record = {TIMES: error_line(error)}
        yield plan.name, record

    return priors.measure_each(priors.plans(names, options), options, found)


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
