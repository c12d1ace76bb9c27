"""Time the parts of a training step with a diffusion prior, each on its own.

unet_ms       the UNet or transformer as a step calls it: the same arguments, the same batch
encode_ms     image to latents, and back again to the image's gradient (0 without a VAE), by the
              encoder that the step uses
render_ms     rendering forward; backward_ms: from the image back to every parameter
optimizer_ms  Adam over every parameter

On CUDA the parts are replays of a CUDA graph, queued one after the other, except for a network that
cannot be recorded; times are medians of five batches.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dfast.bench.stepping import seconds
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.guidance.sds import sds_loss
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.trainer import Trainer


def part_times(trainer: Trainer, runs: int) -> dict[str, float]:
    """Time each part of the trainer's step, in its present state.

    Args:
        trainer: a trainer of a diffusion prior that has taken some steps.
        runs: calls in a batch.

    Returns:
        Milliseconds by name.
    """
    guidance = trainer.guidance
    assert isinstance(guidance, DiffusionGuidance), "only a diffusion prior has a UNet"
    device, step = trainer.device, trainer.begin_step()
    inputs = step.inputs
    parameters = list(trainer.optimizer.parameters.values())
    timed = partial(milliseconds, device=device, runs=runs, generators=[trainer.generators.device])

    def render() -> Any:
        return trainer.render(step)

    sds_gradient = torch.randn_like(render().image)

    def render_and_backward() -> Sequence[Tensor]:
        loss = sds_loss(render().image, sds_gradient)
        return torch.autograd.grad(loss, parameters, materialize_grads=True)

    image = render().image.detach().requires_grad_()

    def encode(image: Tensor) -> Tensor:
        return guidance.encode_images(image, approximate=step.approximate)

    def encode_and_backward() -> Tensor:
        return torch.autograd.grad(encode(image).sum(), image)[0]

    latent = encode(image).detach()
    network, noise = guidance.prior.network, trainer.generators.device
    assert network is not None, "the prior loaded it when the guidance was built"
    args, options = last_arguments(
        network, lambda: guidance.gradient(latent, inputs.guidance_batch(), noise)
    )
    gradients = [torch.zeros_like(p) for p in parameters]
    half_copies = trainer.scene.half_copies()

    def optimize() -> None:
        trainer.optimizer.step(gradients, inputs.rate_factor, half_copies)

    forward, both = timed(render), timed(render_and_backward)
    return {
        "unet_ms": timed(
            torch.no_grad()(lambda: network(*args, **options)), recorded=guidance.cuda_graph_safe
        ),
        "encode_ms": timed(encode_and_backward) if guidance.prior.is_latent else 0.0,
        "render_ms": forward,
        "backward_ms": max(both - forward, 0.0),
        "optimizer_ms": timed(optimize),
    }


def last_arguments(network: torch.nn.Module, call: Callable[[], object]) -> tuple[Any, Any]:
    """Return (args, kwargs) of the last call of `network` that `call` makes."""
    seen: list[tuple[Any, Any]] = []
    hook = network.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    try:
        call()
    finally:
        hook.remove()
    return seen[-1]


def milliseconds(
    call: Callable[[], object],
    device: torch.device,
    runs: int,
    generators: Sequence[torch.Generator],
    recorded: bool = True,
) -> float:
    """Return the milliseconds of a call, on CUDA as a queued graph and the median of five batches.

    Args:
        call: what to time.
        device: where it runs.
        runs: calls in a batch.
        generators: of the device that `call` draws from.
        recorded: False never makes a graph.
    """
    graphs = CudaGraphCache(device, generators, enabled=recorded)
    again = partial(graphs.run, "part", call)
    for _ in range(CudaGraphCache.WARMUP + 1 if graphs.enabled else 1):
        again()
    times = []
    for _ in range(5 if device.type == "cuda" else 1):
        times.append(seconds(again, runs, device) / runs)
    graphs.drop()
    return 1e3 * statistics.median(times)
