"""Train the embedded CLIP on the procedural world.

    python -m dfast.clip.training --out FOLDER --seconds 1200

Needs a CUDA GPU. Images and captions are those of the embedded prior's training, made on the GPU
while they are used; the loss is the symmetric cross entropy of CLIP (Radford et al. 2021, arXiv
2103.00020) over the pairs of a batch. The learning rate follows the fraction of the time budget
that has passed. A checkpoint is written every minute and at the end; the same command continues
from it. `FOLDER/weights` is then an ordinary CLIP folder; copied to `dfast/clip/weights` it is the
embedded one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.clip.captions import Captions, all_words
from dfast.clip.loss import contrastive_loss
from dfast.clip.networks import build_model, build_tokenizer, save_folder
from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.training.loop import Options, TrainingLoop
from dfast.priors.embedded.training.networks import words
from dfast.priors.embedded.training.pool import Batch, Odds, Pool
from dfast.priors.embedded.training.softening import Softening
from dfast.priors.embedded.training.train import open_pool

ODDS = Odds(view_words=0.5, camera=0.0, empty_caption=0.0, textureless=0.25, unseen=0.8)
"""What images and captions are like. The CLIP is told no camera, and asked for shapes alone: R geo
retrieves a prompt with its colours by a textureless image."""
SEEN = replace(ODDS, textureless=0.0)
"""What it is measured on: a caption can be told from others by its image."""
NOISE, BLURRED = 0.02, 0.5
"""Standard deviation of the noise on images, and share of them that are blurred: fields of runs are
softer than traced things."""
MOST_LOGIT_SCALE = math.log(100.0)
"""Largest logarithm of the factor of cosines, as published."""


class ClipTraining(TrainingLoop):
    """Model and optimizer, and the step that trains them."""

    warmup = 500
    largest_decay = 0.999
    items = "pairs"

    def __init__(self, options: Options, images: Pool, model: Any = None) -> None:
        """Build the networks, and continue from a checkpoint if there is one.

        Args:
            options: of the command line.
            images: to train on; their device is that of the training.
            model: another CLIPModel than `build_model`.
        """
        torch.manual_seed(options.seed)
        self.images, self.device = images, images.things.device
        self.tokenizer = build_tokenizer(all_words(words()))
        self.captions = Captions(words(), self.tokenizer, self.device)
        made = (model or build_model(self.tokenizer)).to(self.device).train()
        plain = [p for p in made.parameters() if p.ndim < 2]
        weights = [p for p in made.parameters() if p.ndim >= 2]
        groups = [{"params": weights}, {"params": plain, "weight_decay": 0.0}]
        super().__init__(options, ProcessGroup(0, 1, self.device), made, groups, weight_decay=0.1)
        self.model: Any = made
        self.soften = Softening(NOISE, BLURRED, self.device)

    def generators(self) -> list[torch.Generator]:
        """Return what `loss` draws from, beside `generator`."""
        return [self.images.generator]

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep the factor of cosines from growing without end."""
        self.model.logit_scale.clamp_(max=MOST_LOGIT_SCALE)

    def loss(self) -> Tensor:
        """Return the loss of a new batch, with its graph."""
        batch = self.images.batch(self.options.batch, odds=ODDS)
        images, texts = self.embed(self.soften(batch.image, self.generator), batch)
        scale = self.model.logit_scale.exp()
        return contrastive_loss(images, texts, batch.tokens, scale)

    def embed(self, image: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the embeddings of images and of the captions of their batch, [B, D] each.

        Args:
            image: [B, 3, 64, 64] in [0, 1].
            batch: whose captions are read.
        """
        tokens = self.captions(batch.tokens, self.generator)
        with torch.autocast(self.device.type, torch.bfloat16):
            seen = self.model.vision_model(pixel_values=2.0 * image - 1.0).pooler_output
            read = self.model.text_model(input_ids=tokens).pooler_output
            images, texts = self.model.visual_projection(seen), self.model.text_projection(read)
        return F.normalize(images.float(), dim=1), F.normalize(texts.float(), dim=1)

    @torch.no_grad()
    def retrieval(self, images: Pool, *, held_out: bool = False, count: int = 256) -> float:
        """Return the share of images whose caption is found among those of `count` images.

        Captions that are equal count as one.

        Args:
            images: a pool that is not trained on.
            held_out: colours of the things that training never shows with them.
            count: images.
        """
        batch = images.batch(count, odds=SEEN, held_out=held_out)
        seen, read = self.embed(batch.image, batch)
        found = batch.tokens[(seen @ read.mT).argmax(1)]
        return float((found == batch.tokens).all(1).float().mean())

    @torch.no_grad()
    def finish(self, others: Pool) -> None:
        """Write checkpoint, averaged weights and the record of the training.

        Args:
            others: images that are not trained on.
        """
        out, options = self.options.out, self.options
        self.checkpoint.save(self.step, options.seconds)
        self.copy_average(self.model)
        self.model.eval()
        save_folder(out / "weights", self.model, self.tokenizer)
        record = self.record() | {
            "pool": len(self.images),
            "top1_of_256": self.retrieval(others),
            "top1_of_256_held_out_colors": self.retrieval(others, held_out=True),
        }
        (out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        print(json.dumps(record), flush=True)


def train(options: Options, device: torch.device) -> None:
    """Trace a pool, train on it, and write the averaged weights.

    Args:
        options: of the command line.
        device: that computes.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    began = time.time()
    images = open_pool(options.pool, options.seed * 1000, device)
    print(f"pool of {len(images)} views in {time.time() - began:.0f} s", flush=True)
    training = ClipTraining(options, images)
    training.run()
    training.finish(open_pool(4096, options.seed * 1000 + 999, device))


def main() -> None:
    """Train the CLIP from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--seconds", type=float, default=1200, help="training time, setup excluded")
    parser.add_argument("--batch", type=int, default=1024, help="pairs a step")
    parser.add_argument("--pool", type=int, default=150_000, help="traced views")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    train(Options(**vars(parser.parse_args())), torch.device("cuda"))


if __name__ == "__main__":
    main()
