"""Distil guidance into the prior: one call of the network instead of two.

    python -m dfast.priors.embedded.training.distill --init WEIGHTS --out FOLDER --seconds 300

A copy of the trained network learns to predict what classifier-free guidance makes of the
original's two predictions, told the guidance scale (Meng et al. 2022, arXiv 2210.03142). For the
scale 0, and for the empty caption, it stays what it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.embedded.checkpoint import load_weights
from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.model import LARGEST_SCALE, scale_features
from dfast.priors.embedded.training.networks import DESIGNS, Denoiser
from dfast.priors.embedded.training.pool import Batch, Pool
from dfast.priors.embedded.training.train import Training, WorldOptions, train

UNGUIDED = 0.3
"""Share of images for which the scale is 0."""


class Distillation(Training):
    """Trains a copy of the network to predict guided noise."""

    pool_seed = 500
    """For other views than those of the network's training."""

    def __init__(self, options: WorldOptions, group: ProcessGroup, images: Pool) -> None:
        """Load the network twice, and continue from a checkpoint if there is one.

        Args:
            options: of the command line; `init` is the folder of the trained network.
            group: the processes that train together.
            images: to train on.
        """
        student = Denoiser(DESIGNS[options.design], guided=True)
        super().__init__(options, group, images, student)
        assert options.init is not None
        self.teacher = Denoiser(DESIGNS[options.design]).to(group.device).requires_grad_(False)
        self.teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        load_weights(self.teacher, options.init)
        if group.device.type == "cuda":
            self.teacher.get_submodule("unet").compile()

    def _error(self, batch: Batch, u: Tensor) -> Tensor:
        """Return the mean squared error against guided predictions, relative to the scale."""
        z, t, _ = self.add_noise(batch.image, u)
        size, device, generator = len(z), z.device, self.generator
        low, high = torch.tensor([0.5, LARGEST_SCALE]).log().tolist()
        scale = torch.rand(size, device=device, generator=generator) * (high - low) + low
        plain = torch.rand(size, device=device, generator=generator) < UNGUIDED
        scale = torch.where(plain | (batch.tokens == 0).all(1), 0.0, scale.exp())
        given = z, t, batch.tokens, batch.camera, batch.rays
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                text, empty = self.teacher.predict_both(*given)
            found = self.model(*given, scale_features(scale))
        w = scale.view(-1, 1, 1, 1)
        error = found.float() - classifier_free_guidance(text, empty, w)
        return (error.square() / (1 + w)).mean()

    def record(self) -> dict[str, Any]:
        """Return what is written about the training."""
        return super().record() | {"largest_scale": LARGEST_SCALE}


def main() -> None:
    """Distil from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--init", type=Path, required=True, help="folder of the trained network")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--seconds", type=float, default=300, help="training time, setup excluded")
    parser.add_argument("--design", choices=DESIGNS, default="middle")
    parser.add_argument("--batch", type=int, default=512, help="images a step on each GPU")
    parser.add_argument("--pool", type=int, default=100_000, help="traced views on each GPU")
    parser.add_argument("--rate", type=float, default=3e-4, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    train(WorldOptions(**vars(parser.parse_args())), Distillation)


if __name__ == "__main__":
    main()
