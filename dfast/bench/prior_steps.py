"""A whole step with a diffusion model, and its parts, each recorded and timed on its own.

step_ms        the trainer's own steps queued one behind the other, on the host's clock, per step
unet_ms        the UNet as a step calls it: the same arguments, the same batch
encode_ms      picture to latents and back again to the picture's gradient (0 without a VAE)
render_ms      rendering forward; backward_ms: its way back to every parameter
optimizer_ms   Adam over every parameter
ratio          step_ms over unet_ms; ratio_encode: over unet_ms + encode_ms
load_s         reading the prompt and loading the weights; first_step_s: the step after that
peak_mib       most memory allocated in a step; reserved_mib: kept by torch, with CUDA graphs' pools

On CUDA parts are replays of a CUDA graph, queued one behind the other; medians of five batches.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dfast.bench import machine, report
from dfast.bench.timing import MIB, Record
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.guidance.sds import sds_loss
from dfast.guidance.variants import conditions_of
from dfast.priors import load_prior
from dfast.priors.loading.families import detect_family
from dfast.priors.loading.hub import find_folder
from dfast.testing.model_sizes import FAMILIES
from dfast.training.build import build_trainer
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.sample_budget import SampleBudget
from dfast.training.trainer import Trainer

PROMPT = "a red chair"
COLUMNS = (
    "step_ms", "unet_ms", "encode_ms", "render_ms", "backward_ms", "optimizer_ms", "ratio",
    "ratio_encode", "peak_mib", "reserved_mib", "load_s", "first_step_s",
)  # fmt: skip
STILL: dict[str, Any] = {
    "shading": {
        "albedo": 0.0,
        "textureless": 0.0,
        "diffuse": 1.0,
        "ambient_only": 0.0,
        "ramp": 0.0,
    },
    "optimizer": {"lr_grid": 1e-6, "lr_mlp": 1e-6, "lr_background": 1e-6},
}
"""Every view lit, the dearest look, and a scene that stays as it is whatever the model says."""


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
    """Measure priors by name; a record each, written to `out` as they come.

    settings: changes each prior's own. random: the names are families of `model_sizes`, and
    each is written with random weights to a temporary folder first; tiny: of no real size. A prior
    that fails leaves its message in "error" and the others go on.

    Raises ConfigError and PriorError before anything is measured, for names and settings that
    cannot be.
    """
    plans = [(name, settings(Config.for_prior(_family(name, random)))) for name in names]
    about = machine.describe(device)
    records: list[Record] = []
    for name, made in plans:
        with tempfile.TemporaryDirectory(prefix="dfast-") as temporary:
            try:
                folder = _random(name, Path(temporary), device, tiny) if random else name
                found = measure(folder, device, made, steps)
            except Exception as error:  # whatever a model does wrong is its result
                lines = str(error).splitlines() or [""]
                found = {"error": f"{type(error).__name__}: {lines[0]}"[:300]}
        records.append({"model": name, "random": random} | found | about)
        say(f"{name}: {found.get('error') or found['step_ms']}")
        if out is not None:
            report.save(records, out)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return records


def _family(name: str, random: bool) -> str:
    """As `Config.for_prior` knows it. Raises ConfigError or PriorError if there is no such."""
    if random and name not in FAMILIES:
        expected = ", ".join(FAMILIES)
        raise ConfigError(f"prior: expected one of {expected} with random weights, got {name!r}")
    if random:
        return name
    return name if name == "shapes" else detect_family(find_folder(name))


def _random(family: str, to: Path, device: torch.device, tiny: bool) -> str:
    from dfast.testing.random_models import write

    return str(write(family, to / family, size="tiny" if tiny else "full", device=device))


def table(records: Sequence[Record]) -> str:
    """The records as aligned text."""
    rows = [["model", *COLUMNS]]
    for record in records:
        values = [record.get(key) for key in COLUMNS]
        shown = [f"{v:.4g}" if isinstance(v, float | int) else "-" for v in values]
        rows.append(
            [str(record["model"]), *([str(record["error"])] if "error" in record else shown)]
        )
    widths = [max(len(row[i]) for row in rows if len(row) > 2) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def measure(name: str, device: torch.device, config: Config, steps: int) -> Record:
    """One prior's record, without the machine."""
    settle = _settled(config) if device.type == "cuda" else 1
    config = config.replace(**STILL, train={"steps": 10 * (steps + settle)})
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = perf_counter()
    prior = load_prior(name, device, options=config.prior)
    trainer = build_trainer(config, prior, PROMPT, 0, device)
    _wait(device)
    load = perf_counter() - began
    loading = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first = _steps(trainer, 1)
    _steps(trainer, settle)
    whole = _steps(trainer, steps) / steps
    found: Record = {
        "variant": config.guidance.variant, "views": config.camera.views,
        "resolution": config.camera.resolution[0][1], "steps": steps, "step_ms": 1e3 * whole,
        "load_s": load, "first_step_s": first, "captures": trainer.graphs.captures,
    }  # fmt: skip
    if device.type == "cuda":
        found["peak_mib"] = torch.cuda.max_memory_allocated(device) / MIB
        found["reserved_mib"] = torch.cuda.memory_reserved(device) / MIB
        found["loading_mib"] = loading / MIB
    times = parts(trainer, max(3, min(steps, 50)))
    found |= times | {
        "unet_batch": config.camera.views * len(conditions_of(config.guidance)),
        "ratio": 1e3 * whole / times["unet_ms"],
        "ratio_encode": 1e3 * whole / (times["unet_ms"] + times["encode_ms"]),
    }
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in found.items()}


def _settled(config: Config) -> int:
    """Steps after which all that a long run repeats has been recorded, occupancy updates too."""
    o = config.occupancy
    step = SampleBudget.EXACT_STEPS + CudaGraphCache.WARMUP + 1
    return max(step, o.warmup_steps + (CudaGraphCache.WARMUP + 2) * o.every)


def parts(trainer: Trainer, runs: int) -> dict[str, float]:
    """Milliseconds of each part of the trainer's step, as it is now."""
    guidance: Any = trainer.guidance
    device, config = trainer.device, trainer.config
    inputs, size = trainer.draw(), config.camera.resolution[0][1]
    max_samples = trainer.budget.max_samples(size)
    parameters = list(trainer.optimizer.parameters.values())
    timed = partial(_milliseconds, device=device, runs=runs, generators=[trainer.generators.device])

    def picture() -> Any:
        return trainer.render(inputs, size, max_samples)

    pulled = torch.randn_like(picture().image)

    def drawn() -> Sequence[Tensor]:
        loss = sds_loss(picture().image, pulled)
        return torch.autograd.grad(loss, parameters, materialize_grads=True)

    image = picture().image.detach().requires_grad_()

    def encoded() -> Tensor:
        return torch.autograd.grad(guidance.encode_images(image).sum(), image)[0]

    latent = guidance.encode_images(image).detach()
    network, noise = guidance.prior.network, trainer.generators.device
    assert network is not None, "the prior loaded it when the guidance was built"
    args, options = _arguments(
        network, lambda: guidance.gradient(latent, inputs.guidance_batch(), noise)
    )
    gradients = [torch.zeros_like(p) for p in parameters]
    half_copies = trainer.scene.half_copies()

    def optimized() -> None:
        trainer.optimizer.step(gradients, inputs.rate_factor, half_copies)

    forward, both = timed(picture), timed(drawn)
    return {
        "unet_ms": timed(torch.no_grad()(lambda: network(*args, **options))),
        "encode_ms": timed(encoded) if guidance.prior.is_latent else 0.0,
        "render_ms": forward,
        "backward_ms": max(both - forward, 0.0),
        "optimizer_ms": timed(optimized),
    }


def _arguments(network: torch.nn.Module, call: Callable[[], object]) -> tuple[Any, Any]:
    """(args, kwargs) of the last call of `network` that `call` makes."""
    seen: list[tuple[Any, Any]] = []
    hook = network.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    try:
        call()
    finally:
        hook.remove()
    return seen[-1]


def _steps(trainer: Trainer, count: int) -> float:
    """Seconds that `count` steps take."""
    _wait(trainer.device)
    began = perf_counter()
    for _ in range(count):
        trainer.train_step()
    _wait(trainer.device)
    return perf_counter() - began


def _milliseconds(
    call: Callable[[], object],
    device: torch.device,
    runs: int,
    generators: Sequence[torch.Generator],
) -> float:
    """Of a call: recorded and queued on CUDA, median of five batches; plain on the CPU."""
    graphs = CudaGraphCache(device, generators)
    again = partial(graphs.run, "part", call)
    for _ in range(CudaGraphCache.WARMUP + 1 if graphs.enabled else 1):
        again()
    times = []
    for _ in range(5 if device.type == "cuda" else 1):
        _wait(device)
        began = perf_counter()
        for _ in range(runs):
            again()
        _wait(device)
        times.append((perf_counter() - began) / runs)
    graphs.drop()
    return 1e3 * statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
