"""Train the embedded prior: `python -m dfast.priors.embedded.train --out FOLDER --seconds 480`.

Needs a CUDA GPU, and uses all visible ones under `torchrun --nproc-per-node N -m ...`. The learning
rate follows the fraction of the time budget that has passed. A checkpoint is written every minute
and at the end; the same command continues from it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from dfast.priors.embedded.dataset import Batch, Pool
from dfast.priors.embedded.distributed import ProcessGroup, process_group
from dfast.priors.embedded.geometries import Geometries
from dfast.priors.embedded.model import build_text_encoder, build_tokenizer, build_unet
from dfast.priors.embedded.training.denoising import DenoiserOptions, DenoiserTraining


class Denoiser(nn.Module):
    """UNet and text encoder as one module."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text_encoder = build_text_encoder(vocabulary)

    def forward(self, noisy: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """Predict v, [B, 3, H, W].

        Args:
            noisy: [B, 3, H, W].
            t: [B] int64 timesteps.
            batch: its captions, cameras and ray maps are used.
        """
        text = self.text_encoder(batch.tokens).last_hidden_state
        x = torch.cat([noisy, batch.rays], 1).contiguous(memory_format=torch.channels_last)
        return self.unet(x, t, text, class_labels=batch.camera, return_dict=False)[0]


class Training(DenoiserTraining):
    """The training of one process."""

    def __init__(self, options: DenoiserOptions, group: ProcessGroup) -> None:
        """Build everything, and continue from a checkpoint if there is one.

        Args:
            options: of the command line.
            group: the processes that train together.
        """
        torch.manual_seed(options.seed)  # the same initial weights in every process
        self.tokenizer = build_tokenizer()
        super().__init__(options, group, Denoiser(len(self.tokenizer)))
        began = time.time()
        geometries = Geometries(self.tokenizer, group.device)
        pool_seed = options.seed * 1000 + group.rank + 17 * self.step
        self.images = Pool(geometries, options.pool, pool_seed)
        torch.cuda.synchronize()
        self.print(f"pool of {options.pool} views a GPU in {time.time() - began:.0f} s")

    def generators(self) -> list[torch.Generator]:
        """Return what `loss` draws from, beside `generator`."""
        return [self.images.generator]

    def loss(self) -> Tensor:
        """Return the loss of a new batch, with its graph."""
        batch = self.images.batch(self.options.batch)
        z, t, v = self.add_noise(batch.image, self.draw_levels())
        with torch.autocast("cuda", torch.bfloat16):
            predicted = self.model(z, t, batch)
        return (predicted.float() - v).square().mean()


def train(options: DenoiserOptions) -> None:
    """Train for `options.seconds` of wall time, setup excluded, and save the averaged weights."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    with process_group() as group:
        training = Training(options, group)
        training.run()
        training.finish(training.tokenizer)


def main() -> None:
    """Train the prior from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--seconds", type=float, default=480, help="training time, setup excluded")
    parser.add_argument("--batch", type=int, default=512, help="images a step on each GPU")
    parser.add_argument("--pool", type=int, default=150_000, help="traced views on each GPU")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--init", type=Path, help="pipeline folder to start from")
    parser.add_argument("--seed", type=int, default=0)
    train(DenoiserOptions(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
