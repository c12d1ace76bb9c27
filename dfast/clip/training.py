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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.clip.captions import Captions, all_words
from dfast.clip.loss import contrastive_loss
from dfast.clip.networks import build_model, build_tokenizer, save_folder
from dfast.priors.embedded.checkpoint import Checkpoint
from dfast.priors.embedded.distributed import flatten_gradients
from dfast.priors.embedded.training.networks import words
from dfast.priors.embedded.training.pool import Batch, Odds, Pool
from dfast.priors.embedded.training.train import open_pool

ODDS = Odds(view_words=0.5, camera=0.0, empty_caption=0.0)
"""What images and captions are like; the CLIP is told no camera."""
NOISE, BLURRED = 0.02, 0.5
"""Standard deviation of the noise on images, and share of them that are blurred: fields of runs are
softer than traced things."""
MOST_LOGIT_SCALE = math.log(100.0)
"""Largest logarithm of the factor of cosines, as published."""
LOG_EVERY, SAVE_SECONDS = 100, 60.0
"""Steps between printed lines, seconds between checkpoints."""


@dataclass(frozen=True)
class Options:
    """What the command line sets."""

    out: Path
    """folder of checkpoint and weights"""
    seconds: float
    """training time, setup excluded"""
    batch: int
    """pairs a step"""
    pool: int
    """traced views"""
    rate: float
    """peak learning rate"""
    seed: int


class ClipTraining:
    """Model and optimizer, and the step that trains them."""

    def __init__(self, options: Options, images: Pool, model: Any = None) -> None:
        """Build the networks, and continue from a checkpoint if there is one.

        Args:
            options: of the command line.
            images: to train on; their device is that of the training.
            model: another CLIPModel than `build_model`.
        """
        torch.manual_seed(options.seed)
        self.options, self.images, self.device = options, images, images.things.device
        self.tokenizer = build_tokenizer(all_words(words()))
        self.captions = Captions(words(), self.tokenizer, self.device)
        self.model: Any = (model or build_model(self.tokenizer)).to(self.device).train()
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.gradient = flatten_gradients(self.model)
        plain = [p for p in self.model.parameters() if p.ndim < 2]
        weights = [p for p in self.model.parameters() if p.ndim >= 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": weights, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
            lr=options.rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.checkpoint = Checkpoint(
            options.out / "checkpoint", self.model, self.average, self.optimizer
        )
        self.step, self.spent = self.checkpoint.load()
        self.generator = torch.Generator(self.device).manual_seed(options.seed * 77 + self.step)
        row = torch.tensor([0.25, 0.5, 0.25], device=self.device)
        self.blur = (row[:, None] * row).expand(3, 1, 3, 3).contiguous()
        self.dropped = torch.zeros((), dtype=torch.int64, device=self.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def loss(self) -> Tensor:
        """Return the loss of a new batch, with its graph."""
        batch = self.images.batch(self.options.batch, odds=ODDS)
        images, texts = self.embed(self._soften(batch.image), batch)
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

    def _soften(self, image: Tensor) -> Tensor:
        """Return images with noise, of which some are blurred."""
        device, generator = self.device, self.generator
        blurred = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), self.blur, groups=3)
        chosen = torch.rand(len(image), 1, 1, 1, device=device, generator=generator) < BLURRED
        noise = torch.randn(image.shape, device=device, generator=generator)
        return torch.where(chosen, blurred, image) + NOISE * noise

    def _backward(self) -> Tensor:
        """Fill the gradient of one batch, and return the loss."""
        loss = self.loss()
        self.gradient.zero_()
        loss.backward()
        return loss.detach()

    def capture(self) -> None:
        """Capture a batch's gradient in a CUDA graph: launching its kernels takes longer."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._backward()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        for generator in (self.generator, self.images.generator):
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=stream):
            self.captured = self._backward()
        torch.cuda.synchronize()
        self.graph = graph

    @torch.no_grad()
    def train_step(self, progress: float) -> Tensor:
        """Take one step, and return the loss.

        Args:
            progress: fraction of the time budget that has passed.
        """
        warmup = min(1.0, (self.step + 1) / 500)
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate * warmup * cosine
        if self.graph is None:
            with torch.enable_grad():
                loss = self._backward()
        else:
            self.graph.replay()
            loss = self.captured
        norm = self.gradient.norm()
        # One batch that overflows must not end the training: its gradient is dropped, and counted.
        finite = norm.isfinite()
        self.dropped += ~finite
        self.gradient.mul_((1.0 / norm).clamp_max(1.0)).masked_fill_(~finite, 0.0)
        self.optimizer.step()
        self.model.logit_scale.clamp_(max=MOST_LOGIT_SCALE)
        self.step += 1
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, list(self.model.parameters()), 1 - decay)
        return loss

    def run(self) -> None:
        """Train for `options.seconds` of wall time, setup excluded.

        Raises:
            RuntimeError: if more than one in a hundred steps had no finite gradient.
        """
        if self.device.type == "cuda":
            self.capture()
        begin, saved, logged = time.time() - self.spent, time.time(), time.time()
        total, progress = torch.zeros((), device=self.device), 0.0
        while True:
            if self.step % 10 == 0:
                progress = (time.time() - begin) / self.options.seconds
                if progress >= 1:
                    break
            total += self.train_step(progress)
            if self.step % LOG_EVERY == 0:
                mean = float(total) / LOG_EVERY  # waits for the device, so that times are true
                speed = LOG_EVERY * self.options.batch / (time.time() - logged)
                line = f"step {self.step} loss {mean:.4f} {speed:.0f} pairs/s {progress:.0%}"
                print(line, flush=True)
                if (dropped := int(self.dropped)) > max(3, self.step // 100):
                    raise RuntimeError(f"{dropped} gradients of {self.step} were not finite")
                total.zero_()
                logged = time.time()
            if time.time() - saved > SAVE_SECONDS:
                self.checkpoint.save(self.step, time.time() - begin)
                saved = time.time()

    @torch.no_grad()
    def retrieval(self, images: Pool, *, held_out: bool = False, count: int = 256) -> float:
        """Return the share of images whose caption is found among those of `count` images.

        Captions that are equal count as one.

        Args:
            images: a pool that is not trained on.
            held_out: colours of the things that training never shows with them.
            count: images.
        """
        batch = images.batch(count, odds=ODDS, held_out=held_out)
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
        for parameter, average in zip(self.model.parameters(), self.average, strict=True):
            parameter.copy_(average)
        self.model.eval()
        save_folder(out / "weights", self.model, self.tokenizer)
        record = {
            "steps": self.step,
            "dropped": int(self.dropped),
            "pairs": self.step * options.batch,
            "seconds": options.seconds,
            "rate": options.rate,
            "batch": options.batch,
            "pool": len(self.images),
            "gpu": torch.cuda.get_device_name() if self.device.type == "cuda" else "none",
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
