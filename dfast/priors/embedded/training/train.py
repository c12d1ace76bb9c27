"""Train the embedded prior.

    python -m dfast.priors.embedded.training.train --out FOLDER --seconds 1200

Needs a CUDA GPU, and uses all visible ones under `torchrun --nproc-per-node N -m ...`. The learning
rate follows the fraction of the time budget that has passed. A checkpoint is written every minute
and at the end; the same command continues from it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dfast.priors.embedded.checkpoint import Checkpoint
from dfast.priors.embedded.distributed import ProcessGroup, flatten_gradients, process_group
from dfast.priors.embedded.model import build_scheduler
from dfast.priors.embedded.training.captions import Captions
from dfast.priors.embedded.training.networks import DESIGNS, TEXT_LENGTH, Denoiser, words
from dfast.priors.embedded.training.pool import Batch, Pool
from dfast.priors.embedded.training.things import Things

LOG_EVERY = 200
"""Steps between printed lines."""
SAVE_SECONDS = 60.0
"""Seconds between checkpoints."""
LEVELS = (0.3, 0.6, 0.85, 0.97)
"""Noise levels, fractions of the timesteps, at which the loss is measured apart."""


@dataclass(frozen=True)
class Options:
    """What the command line sets."""

    out: Path
    """folder of checkpoint and weights"""
    seconds: float
    """training time, setup excluded"""
    design: str
    """of the UNet, a key of `DESIGNS`"""
    batch: int
    """images a step on each GPU"""
    pool: int
    """traced views on each GPU"""
    rate: float
    """peak learning rate"""
    init: Path | None
    """pipeline folder to start from"""
    seed: int


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, "cpu" for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def noisy_batch(batch: Batch, alphas_bar: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Return (z_t, t, v) of a batch at given timesteps; v = alpha eps - sigma x0.

    Args:
        batch: B images.
        alphas_bar: [T], alpha^2.
        u: [B] in [0, 1), the fraction of the timesteps.
        noise: as the images.
    """
    x0 = batch.image * 2 - 1
    t = (u * len(alphas_bar)).long().clamp_max(len(alphas_bar) - 1)
    alpha = alphas_bar[t].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alphas_bar[t]).sqrt().view(-1, 1, 1, 1)
    return alpha * x0 + sigma * noise, t, alpha * noise - sigma * x0


def open_pool(
    count: int,
    seed: int,
    device: torch.device,
    elevation: tuple[float, float] = (-35.0, 88.0),
) -> Pool:
    """Trace a pool of views of the whole world.

    Args:
        count: views.
        seed: of everything random.
        device: of the pool.
        elevation: range of the cameras in degrees.
    """
    things = Things(device)
    captions = Captions(things, words(), TEXT_LENGTH)
    return Pool(things, captions, count, seed, elevation=elevation)


class Training:
    """Model, optimizer and data of one process, and the step that trains them."""

    def __init__(self, options: Options, group: ProcessGroup, images: Pool) -> None:
        """Build everything, and continue from a checkpoint if there is one.

        Args:
            options: of the command line.
            group: the processes that train together.
            images: to train on.
        """
        self.options, self.group, device = options, group, group.device
        torch.manual_seed(options.seed)  # the same initial weights in every process
        self.scheduler, self.images = build_scheduler(), images
        self.alphas_bar = self.scheduler.alphas_cumprod.to(device)
        self.model = Denoiser(options.design).to(device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.gradient = flatten_gradients(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=options.rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=True,
        )
        self.checkpoint = Checkpoint(
            options.out / "checkpoint", self.model, self.average, self.optimizer
        )
        self.step, self.spent = self.checkpoint.load()
        if options.init is not None and self.step == 0:
            self.checkpoint.start_from(options.init)
        seed = options.seed * 77 + group.rank + self.step
        self.generator = torch.Generator(device).manual_seed(seed)
        if device.type == "cuda":
            self.model.unet.compile()

    def print(self, line: str) -> None:
        """Print a line in the first process."""
        if self.group.is_first:
            print(line, flush=True)

    def _loss(self, batch: Batch, u: Tensor) -> Tensor:
        """Return the mean squared error of v at fractions u of the timesteps."""
        noise = torch.randn(batch.image.shape, device=u.device, generator=self.generator)
        z, t, v = noisy_batch(batch, self.alphas_bar, u, noise)
        with torch.autocast(u.device.type, torch.bfloat16):
            predicted = self.model(z, t, batch.tokens, batch.camera, batch.rays)
        return (predicted.float() - v).square().mean()

    def compute_gradient(self) -> Tensor:
        """Fill the gradient of one batch, clipped to norm 1, and return the loss.

        Half of the timesteps are uniform, half in the noisiest quarter. There the caption and the
        camera, not the image, must tell what is shown, and there score distillation begins.
        """
        batch = self.images.batch(self.options.batch)
        u = torch.rand(self.options.batch, device=self.group.device, generator=self.generator)
        u[::2] = 0.75 + 0.25 * u[::2]
        loss = self._loss(batch, u)
        self.gradient.zero_()
        loss.backward()
        self.group.average(self.gradient)
        norm = self.gradient.norm()
        self.gradient.mul_((1.0 / norm).clamp_max(1.0))
        return loss.detach()

    def train_step(self, progress: float) -> Tensor:
        """Take one step, and return the loss.

        Args:
            progress: fraction of the time budget that has passed.
        """
        warmup = min(1.0, (self.step + 1) / 300)
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate * warmup * cosine
        loss = self.compute_gradient()
        self.optimizer.step()
        self.step += 1
        decay = min(0.9993, (1 + self.step) / (10 + self.step))
        parameters: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(self.average, parameters, 1 - decay)
        return loss

    @torch.no_grad()
    def losses(self, images: Pool, count: int = 4) -> list[float]:
        """Return the loss at each of `LEVELS`, on `count` batches of other images.

        Args:
            images: a pool that is not trained on.
            count: batches.
        """
        size, device = self.options.batch, self.group.device
        totals = []
        for level in LEVELS:
            u = torch.full((size,), level, device=device)
            rows = [float(self._loss(images.batch(size), u)) for _ in range(count)]
            totals.append(sum(rows) / count)
        return totals

    @torch.no_grad()
    def take_average(self) -> None:
        """Give the model its averaged weights."""
        for parameter, average in zip(self.model.parameters(), self.average, strict=True):
            parameter.copy_(average)

    def finish(self, tokenizer: object) -> None:
        """Write checkpoint, averaged weights and a record of the training.

        Args:
            tokenizer: saved with the weights.
        """
        options, size = self.options, self.group.size
        if not self.group.is_first:
            return
        self.checkpoint.save(self.step, options.seconds)
        self.checkpoint.export(options.out / "weights", tokenizer, self.scheduler)
        record = {
            "steps": self.step,
            "images": self.step * options.batch * size,
            "seconds": options.seconds,
            "gpus": size,
            "design": options.design,
            "rate": options.rate,
            "batch": options.batch * size,
            "pool": len(self.images) * size,
            "device": device_name(self.group.device),
            "started_from": (None if options.init is None else "an earlier run's averaged weights"),
        }
        (options.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def run(training: Training) -> None:
    """Train for `options.seconds` of wall time, setup excluded."""
    options, group = training.options, training.group
    started = time.time()
    training.compute_gradient()  # compiles
    torch.cuda.synchronize()
    begin, saved, logged = time.time() - training.spent, time.time(), time.time()
    total = torch.zeros((), device=group.device)
    training.print(f"ready after {time.time() - started:.0f} s")
    progress = 0.0
    while True:
        if training.step % 10 == 0:  # all processes stop after the same step
            elapsed = torch.tensor((time.time() - begin) / options.seconds, device=group.device)
            group.broadcast(elapsed)
            progress = float(elapsed)
            if progress >= 1:
                break
        total += training.train_step(progress)
        if training.step % LOG_EVERY == 0 and group.is_first:
            images = LOG_EVERY * options.batch * group.size
            speed, mean = images / (time.time() - logged), float(total) / LOG_EVERY
            training.print(
                f"step {training.step} loss {mean:.5f} {speed:.0f} images/s {progress:.0%}"
            )
            total.zero_()
            logged = time.time()
        if group.is_first and time.time() - saved > SAVE_SECONDS:
            training.checkpoint.save(training.step, time.time() - begin)
            saved = time.time()


def train(options: Options) -> None:
    """Trace a pool, train on it, and save the averaged weights."""
    from dfast.priors.embedded.training.tokens import build_tokenizer

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    with process_group() as group:
        began = time.time()
        images = open_pool(options.pool, options.seed * 1000 + group.rank, group.device)
        training = Training(options, group, images)
        training.print(f"pool of {len(images)} views a GPU in {time.time() - began:.0f} s")
        run(training)
        training.finish(build_tokenizer())


def main() -> None:
    """Train the prior from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--seconds", type=float, default=1200, help="training time, setup excluded")
    parser.add_argument("--design", choices=DESIGNS, default="middle")
    parser.add_argument("--batch", type=int, default=512, help="images a step on each GPU")
    parser.add_argument("--pool", type=int, default=150_000, help="traced views on each GPU")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--init", type=Path, help="pipeline folder to start from")
    parser.add_argument("--seed", type=int, default=0)
    train(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
