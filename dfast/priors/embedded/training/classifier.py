"""A classifier of what images of the world show, to measure the embedded prior by.

It is trained on true renders only and never used to train the prior. It is told the camera, without
which "next to" seen from behind is another sentence; the view word it reads from the image alone.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfast.priors.embedded.model import CAMERA_FEATURES, camera_features
from dfast.priors.embedded.training.captions import SLOTS
from dfast.priors.embedded.training.pool import Batch, Odds, Pool
from dfast.priors.embedded.training.things import WHITE
from dfast.scene.views import VIEW_WORDS
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES

LEAST_PIXELS = 240
"""Fewest pixels (of 128 x 128) of a colour or a thing that is asked for."""
WIDTH = 64


class Attributes(NamedTuple):
    """What B images show; the same fields hold labels [B, n] and logits [B, n, classes]."""

    noun: Tensor
    """[B, 2] row of `Things`."""
    size: Tensor
    """[B, 2] index of `SIZES`, the last for none."""
    relation: Tensor
    """[B, 1] index of `RELATIONS`, the last for none."""
    number: Tensor
    """[B, 1] count less one."""
    color: Tensor
    """[B, SLOTS] colour index."""
    pattern: Tensor
    """[B, 2] index of `PATTERNS`, the last for none."""
    view: Tensor
    """[B, 1] index of VIEW_WORDS."""


def labels(pool: Pool, batch: Batch) -> tuple[Attributes, Attributes]:
    """Return the true attributes of images, and where each can be asked for, bool.

    Args:
        pool: that the images are of.
        batch: B images.
    """
    s = pool.situations
    noun, size = s.noun[batch.chosen], s.size[batch.chosen]
    relation, number = s.relation[batch.chosen, None], s.number[batch.chosen, None]
    slots, things = pool.visible(batch.chosen)
    there = (noun >= 0) & (things >= LEAST_PIXELS)
    whole = there[:, :1] & (there[:, 1:] | (noun[:, 1:] < 0))
    colored = (slots >= LEAST_PIXELS) & (batch.colors != WHITE)
    front = pool.things.has_front.to(noun.device)[noun[:, :1].clamp_min(0)]
    truth = Attributes(
        noun.clamp_min(0),
        torch.where(size >= 0, size, len(SIZES)),
        torch.where(relation >= 0, relation, len(RELATIONS)),
        number - 1,
        batch.colors.clamp_max(WHITE),
        torch.where(batch.pattern >= 0, batch.pattern, len(PATTERNS)),
        batch.view[:, None],
    )
    asked = Attributes(
        there, there & front, whole, whole, colored, there & colored[:, ::2], front & whole
    )
    return truth, asked


class Classifier(nn.Module):
    """A convolutional classifier of all attributes."""

    def __init__(self, nouns: int) -> None:
        """Build it with untrained weights.

        Args:
            nouns: of the world.
        """
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH):
            for _ in range(2):
                layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.1))
        self.joint = nn.Sequential(nn.Linear(channels * 16 + CAMERA_FEATURES, 1024), nn.ReLU())
        self.shapes = {
            "noun": (2, nouns),
            "size": (2, len(SIZES) + 1),
            "relation": (1, len(RELATIONS) + 1),
            "number": (1, 3),
            "color": (SLOTS, WHITE + 1),
            "pattern": (2, len(PATTERNS) + 1),
        }
        self.heads = nn.ModuleDict(
            {name: nn.Linear(1024, n * classes) for name, (n, classes) in self.shapes.items()}
        )
        self.view = nn.Linear(channels * 16, len(VIEW_WORDS))

    def forward(self, image: Tensor, camera: Tensor) -> Attributes:
        """Return the logits of all attributes.

        Args:
            image: [B, 3, 64, 64] in [0, 1].
            camera: [B, CAMERA_FEATURES].
        """
        h = self.body(image.contiguous(memory_format=torch.channels_last) * 2 - 1)
        joint = self.joint(torch.cat([h, camera], 1))
        found = {k: self.heads[k](joint).unflatten(1, shape) for k, shape in self.shapes.items()}
        return Attributes(**found, view=self.view(h)[:, None])


def true_camera(pool: Pool, batch: Batch) -> Tensor:
    """Return the camera vectors of images, whether or not the prior was told, [B, 14]."""
    return camera_features(*(values[batch.chosen] for values in pool.camera))


def right(logits: Attributes, truth: Attributes) -> Attributes:
    """Return where each attribute is right, bool."""
    pairs = zip(logits, truth, strict=True)
    return Attributes(*(found.argmax(-1) == label for found, label in pairs))


def train_classifier(pool: Pool, seconds: float, batch_size: int = 512) -> Classifier:
    """Train a classifier on images of a pool.

    Args:
        pool: of true renders.
        seconds: training time.
        batch_size: images a step.

    Returns:
        The classifier in eval mode.
    """
    device = pool.things.device
    model = Classifier(len(pool.things.names)).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    begin, step, progress = time.time(), 0, 0.0
    while progress < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        batch = pool.batch(batch_size, odds=Odds(patterned=0.3))
        truth, asked = labels(pool, batch)
        noisy = batch.image + 0.02 * torch.randn_like(batch.image)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(noisy, true_camera(pool, batch))
        loss = torch.zeros((), device=device)
        for found, label, mask in zip(logits, truth, asked, strict=True):
            each = F.cross_entropy(found.float().flatten(0, 1), label.flatten(), reduction="none")
            loss = loss + (each * mask.flatten()).sum() / mask.sum().clamp_min(1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 20 == 0:
            if device.type == "cuda":
                torch.cuda.synchronize()
            progress = (time.time() - begin) / seconds
        if step % 400 == 0:
            print(f"classifier step {step} loss {float(loss):.3f}", flush=True)
    return model.eval()
