"""Train the embedded prior.

    python -m dfast.priors.embedded.training.train --out FOLDER --seconds 1200

Needs a CUDA GPU, and uses all visible ones under `torchrun --nproc-per-node N -m ...`. The learning
rate follows the fraction of the time budget that has passed. A checkpoint is written every minute
and at the end; the same command continues from it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfast.priors.embedded.distributed import ProcessGroup, process_group
from dfast.priors.embedded.training.captions import Captions
from dfast.priors.embedded.training.denoising import DenoiserOptions, DenoiserTraining
from dfast.priors.embedded.training.networks import (
    DESIGNS,
    TEXT_LENGTH,
    Denoiser,
    build_world_tokenizer,
    words,
)
from dfast.priors.embedded.training.pool import Batch, Pool
from dfast.priors.embedded.training.things import Things

LEVELS = (0.3, 0.6, 0.85, 0.97)
"""Noise levels, fractions of the timesteps, at which the loss is measured apart."""


@dataclass(frozen=True)
class WorldOptions(DenoiserOptions):
    """What the command line sets."""

    design: str
    """of the UNet, a key of `DESIGNS`"""


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


class Training(DenoiserTraining):
    """The training of one process on the world."""

    pool_seed = 0
    """Added to the seed of the views."""

    def __init__(
        self,
        options: WorldOptions,
        group: ProcessGroup,
        images: Pool,
        model: Denoiser | None = None,
    ) -> None:
        """Build the networks, and continue from a checkpoint if there is one.

        Args:
            options: of the command line.
            group: the processes that train together.
            images: to train on.
            model: another network than that of `options.design`.
        """
        torch.manual_seed(options.seed)  # the same initial weights in every process
        super().__init__(options, group, model or Denoiser(DESIGNS[options.design]))
        self.images, self.design = images, options.design

    def generators(self) -> list[torch.Generator]:
        """Return what `loss` draws from, beside `generator`."""
        return [self.images.generator]

    def loss(self) -> Tensor:
        """Return the loss of a new batch, with its graph."""
        return self._error(self.images.batch(self.options.batch), self.draw_levels())

    def _error(self, batch: Batch, u: Tensor) -> Tensor:
        """Return the mean squared error of v at fractions u of the timesteps."""
        z, t, v = self.add_noise(batch.image, u)
        with torch.autocast(u.device.type, torch.bfloat16):
            predicted = self.model(z, t, batch.tokens, batch.camera, batch.rays)
        return (predicted.float() - v).square().mean()

    def record(self) -> dict[str, Any]:
        """Return what is written about the training."""
        views = len(self.images) * self.group.size
        return super().record() | {"design": self.design, "pool": views}

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
            # With a graph, which is not used, as in training: the network is compiled once.
            rows = [float(self._error(images.batch(size), u).detach()) for _ in range(count)]
            totals.append(sum(rows) / count)
        return totals


def train(options: WorldOptions, kind: type[Training] = Training) -> None:
    """Trace a pool, train on it, and save the averaged weights.

    Args:
        options: of the command line.
        kind: of training.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    with process_group() as group:
        began = time.time()
        seed = options.seed * 1000 + kind.pool_seed + group.rank
        images = open_pool(options.pool, seed, group.device)
        training = kind(options, group, images)
        training.print(f"pool of {len(images)} views a GPU in {time.time() - began:.0f} s")
        training.run()
        training.finish(build_world_tokenizer())


def main() -> None:
    """Train the prior from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--seconds", type=float, default=1200, help="training time, setup excluded")
    parser.add_argument("--design", choices=DESIGNS, default="middle")
    parser.add_argument("--batch", type=int, default=512, help="images a step on each GPU")
    parser.add_argument("--pool", type=int, default=150_000, help="traced views on each GPU")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    started = "pipeline folder to start from, distilled or not"
    parser.add_argument("--init", type=Path, help=started)
    parser.add_argument("--seed", type=int, default=0)
    train(WorldOptions(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
