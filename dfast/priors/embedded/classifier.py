"""A classifier of what images of the procedural world show, to measure the embedded prior."""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfast.priors.embedded.dataset import Batch, Pool
from dfast.priors.embedded.geometries import Geometries
from dfast.scene.views import VIEW_WORDS
from dfast.world.parts import COLORS


class Classifier(nn.Module):
    """A convolutional classifier of geometry, the colour of each slot, and the view word."""

    def __init__(self, geometries: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 4 * width, 4 * width):
            for _ in range(2):
                layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        self.geometry = nn.Linear(channels * 16, geometries)
        self.colors = nn.Linear(channels * 16, 2 * (len(COLORS) + 1))
        self.view = nn.Linear(channels * 16, len(VIEW_WORDS))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of geometry [B, G], colours [B, 2, len(COLORS) + 1] and view [B, 4].

        Args:
            image: [B, 3, 64, 64] in [0, 1].
        """
        h = self.body(image.contiguous(memory_format=torch.channels_last) * 2 - 1)
        return self.geometry(h), self.colors(h).unflatten(1, (2, -1)), self.view(h)


class Labels:
    """The true labels of images. A pair seen from behind has left and right exchanged."""

    def __init__(self, geometries: Geometries) -> None:
        self.scenes = geometries.scenes
        device = geometries.device
        index = {s.shape: i for i, s in enumerate(self.scenes)}

        def mirrored(shape: str) -> int:
            """Return the index of the geometry that looks the same from behind."""
            left, found, right = shape.partition(" next to ")
            return index[f"{right} next to {left}"] if found else index[shape]

        self.mirror = torch.tensor([mirrored(s.shape) for s in self.scenes], device=device)
        self.pair = torch.tensor([s.kind == "pair" for s in self.scenes], device=device)
        self.two = torch.tensor([len(s.slots) == 2 for s in self.scenes], device=device)

    def __call__(self, batch: Batch, azimuth: Tensor) -> tuple[Tensor, Tensor]:
        """Return (geometry [B], colours [B, 2]) as they appear.

        Args:
            batch: B images.
            azimuth: [B] degrees of their cameras.
        """
        behind = self.pair[batch.geometry] & (torch.cos(torch.deg2rad(azimuth)) < 0)
        geometry = torch.where(behind, self.mirror[batch.geometry], batch.geometry)
        colors = torch.where(behind[:, None], batch.colors.flip(1), batch.colors)
        return geometry, colors


def train_classifier(
    pool: Pool, labels: Labels, seconds: float, batch_size: int = 512
) -> Classifier:
    """Train a classifier on images of a pool.

    Args:
        pool: of true renders.
        labels: of its images.
        seconds: training time.
        batch_size: images a step.

    Returns:
        The classifier in eval mode.
    """
    device = pool.geometries.device
    model = Classifier(len(labels.scenes)).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    begin, step, progress = time.time(), 0, 0.0
    while progress < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        chosen = torch.randint(
            len(pool.geometry), (batch_size,), device=device, generator=pool.generator
        )
        batch = pool.batch(batch_size, chosen=chosen)
        geometry, colors = labels(batch, pool.azimuth[chosen])
        with torch.autocast("cuda", torch.bfloat16):
            shape_logits, color_logits, view_logits = model(
                batch.image + 0.02 * torch.randn_like(batch.image)
            )
        used = torch.stack([torch.ones_like(labels.two), labels.two], 1)[batch.geometry]
        color_loss = F.cross_entropy(
            color_logits.float().flatten(0, 1), colors.flatten(), reduction="none"
        )
        loss = F.cross_entropy(shape_logits.float(), geometry, label_smoothing=0.02)
        loss = loss + (color_loss * used.flatten()).mean()
        loss = loss + 0.3 * F.cross_entropy(view_logits.float(), batch.view)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 20 == 0:
            torch.cuda.synchronize()
            progress = (time.time() - begin) / seconds
        if step % 400 == 0:
            print(f"classifier step {step} loss {float(loss):.3f}", flush=True)
    return model.eval()
