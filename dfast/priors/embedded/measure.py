"""Measure the embedded prior.

    python -m dfast.priors.embedded.measure --weights FOLDER --out FILE.json

An attribute classifier is trained on true renders only, then asked what it sees in images sampled
from the prior: shape, colours, order of parts, view. It is never used in training. Its own accuracy
on true renders of the same views is reported beside, since it bounds what can be measured.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.embedded.dataset import Batch, Geometries, Pool, Views
from dfast.priors.embedded.model import build_tokenizer, load_folder
from dfast.scene.views import VIEW_WORDS
from dfast.world.objects import PRIMITIVES
from dfast.world.scenes import COLORS

ELEVATIONS = (-10.0, 50.0)
"""Views in which every attribute can be seen; from straight above objects look alike."""
LEAST_PIXELS = 240
"""Least visible pixels (of 128 x 128) of every coloured part of a measured view."""


class Classifier(nn.Module):
    """64 x 64 image to (geometry, colour of each slot, view word) logits."""

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
        """Logits of geometry, of two colours and of the view, from images in [0, 1]."""
        h = self.body(image.contiguous(memory_format=torch.channels_last) * 2 - 1)
        return self.geometry(h), self.colors(h).unflatten(1, (2, -1)), self.view(h)


class Labels:
    """What an image shows, as seen: a pair seen from behind has left and right exchanged."""

    def __init__(self, geometries: Geometries) -> None:
        self.scenes = geometries.scenes
        device = geometries.device
        index = {s.shape: i for i, s in enumerate(self.scenes)}

        def mirrored(shape: str) -> int:
            """Index of the same geometry seen from behind."""
            left, found, right = shape.partition(" next to ")
            return index[f"{right} next to {left}"] if found else index[shape]

        self.mirror = torch.tensor([mirrored(s.shape) for s in self.scenes], device=device)
        self.pair = torch.tensor([s.kind == "pair" for s in self.scenes], device=device)
        self.two = torch.tensor([len(s.slots) == 2 for s in self.scenes], device=device)

    def __call__(self, batch: Batch, azimuth: Tensor) -> tuple[Tensor, Tensor]:
        """(geometry [B], colours [B, 2]) as seen from those azimuths in degrees."""
        behind = self.pair[batch.geometry] & (torch.cos(torch.deg2rad(azimuth)) < 0)
        geometry = torch.where(behind, self.mirror[batch.geometry], batch.geometry)
        colors = torch.where(behind[:, None], batch.colors.flip(1), batch.colors)
        return geometry, colors


def train_classifier(
    pool: Pool, labels: Labels, seconds: float, batch_size: int = 512
) -> Classifier:
    """A classifier of the pool's pictures, trained for that many seconds."""
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


@torch.no_grad()
def sample(
    unet: Any, text_encoder: Any, scheduler: Any, batch: Batch, guidance: float, steps: int,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Images [B, 3, 64, 64] in [0, 1]; guidance is the paper's w, (1 + w) cond - w uncond."""
    scheduler.set_timesteps(steps)
    text = text_encoder(torch.cat([batch.tokens, torch.zeros_like(batch.tokens)])).last_hidden_state
    camera, rays = batch.camera.repeat(2, 1), batch.rays.repeat(2, 1, 1, 1)
    z = torch.randn(batch.image.shape, device=batch.image.device, generator=generator)
    for t in scheduler.timesteps:
        with torch.autocast("cuda", torch.bfloat16, enabled=z.is_cuda):
            v = unet(
                torch.cat([z.repeat(2, 1, 1, 1), rays], 1), t, text, class_labels=camera
            ).sample
        cond, uncond = v.float().chunk(2)
        z = scheduler.step(
            classifier_free_guidance(cond, uncond, guidance), t, z, use_clipped_model_output=True
        ).prev_sample
    return (z / 2 + 0.5).clamp(0, 1)


def _accuracies(
    model: Classifier, labels: Labels, image: Tensor, batch: Batch, azimuth: Tensor
) -> dict[str, Tensor]:
    with torch.no_grad():
        shape_logits, color_logits, view_logits = model(image)
    geometry, colors = labels(batch, azimuth)
    two = labels.two[batch.geometry]
    color_ok = color_logits.argmax(-1) == colors
    color = color_ok[:, 0] & (color_ok[:, 1] | ~two)
    shape = shape_logits.argmax(-1) == geometry
    return {"color": color, "shape": shape, "view": view_logits.argmax(-1) == batch.view}


def caption_class(scene: Any) -> str:
    """The class a caption is counted in: its noun, or "stack of"/"pair with" its first solid."""
    if scene.kind == "stack":
        return f"{scene.shape.split()[0]} on top"
    if scene.kind == "pair":
        return f"{scene.shape.split()[0]} beside"
    return str(scene.shape)


def measure(
    model: Classifier, labels: Labels, pool: Pool, pipeline: tuple[Any, Any, Any], *, count: int,
    held_out: bool, guidance: float, told: str, steps: int = 40,
) -> dict[str, Any]:  # fmt: skip
    """Accuracies over `count` samples.

    told: how the view is said, by the "camera" (all captions), by the paper's "words" or by "both"
    (only objects that have a front).
    """
    g = pool.geometries
    seen = torch.arange(len(pool.geometry), device=g.device)
    probe = pool.batch(len(seen), chosen=seen, textureless=0.0) if len(seen) <= 6000 else None
    assert probe is not None, "the measuring pool is small"
    heading = torch.cos(torch.deg2rad(pool.azimuth))
    fits = (pool.elevation > ELEVATIONS[0]) & (pool.elevation < ELEVATIONS[1])
    fits &= probe.visible >= LEAST_PIXELS
    fits &= ~labels.pair[pool.geometry] | (heading.abs() > 0.4)
    if told != "camera":
        fits &= torch.tensor([s.has_front for s in labels.scenes], device=g.device)[pool.geometry]
        edge = ((pool.azimuth.abs() % 90) - 45).abs()  # degrees from a border between two words
        fits &= edge > 10
    rows = seen[fits]
    rows = rows[torch.randperm(len(rows), device=g.device, generator=pool.generator)[:count]]
    views = Views(float(told != "camera"), float(told != "words"), empty_caption=0.0)
    batch = pool.batch(len(rows), chosen=rows, textureless=0.0, views=views, held_out=held_out)
    parts = zip(*(field.split(500) for field in batch), strict=True)
    image = torch.cat(
        [sample(*pipeline, Batch(*p), guidance, steps, pool.generator) for p in parts]
    )
    azimuth = pool.azimuth[rows]
    got = _accuracies(model, labels, image, batch, azimuth)
    true = _accuracies(model, labels, batch.image, batch, azimuth)
    stack = torch.tensor([s.kind == "stack" for s in labels.scenes], device=g.device)
    is_stack = stack[batch.geometry]
    same = torch.tensor(
        [s.kind == "stack" and len(set(_solids(s.shape))) == 1 for s in labels.scenes],
        device=g.device,
    )[batch.geometry]
    order = torch.where(same, got["color"], got["shape"])
    classes: dict[str, list[float]] = {}
    right = got["color"] & got["shape"]
    for row, ok in zip(batch.geometry.tolist(), right.tolist(), strict=True):
        classes.setdefault(caption_class(labels.scenes[row]), []).append(float(ok))
    return {
        "samples": len(rows), "held_out": held_out, "guidance": guidance,
        "view_told_by": told,
        **{k: round(float(v.float().mean()), 4) for k, v in got.items()},
        "order_of_stack": (
            round(float(order[is_stack].float().mean()), 4) if is_stack.any() else None
        ),
        "classifier_on_truth": {k: round(float(v.float().mean()), 4) for k, v in true.items()},
        "by_class": {k: [round(sum(v) / len(v), 3), len(v)] for k, v in sorted(classes.items())},
    }  # fmt: skip


def _solids(shape: str) -> list[str]:
    return [w for w in shape.split() if w in PRIMITIVES]


def main() -> None:
    """Measure a prior from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, help="also write a sheet of samples")
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=80, help="classifier training time")
    parser.add_argument(
        "--wait", action="store_true", help="train the classifier, then wait for weights"
    )
    args = parser.parse_args()
    device = torch.device("cuda")
    geometries = Geometries(build_tokenizer(), device)
    labels = Labels(geometries)
    pool = Pool(geometries, 60_000, 4242, compiled=True)
    model = train_classifier(pool, labels, args.seconds)
    small = Pool(geometries, 6000, 999, compiled=True, elevation=ELEVATIONS)
    while args.wait and not (args.weights / "scheduler").exists():
        time.sleep(1)
    unet, text_encoder, _, scheduler = load_folder(args.weights)
    pipeline = (unet.to(device).eval(), text_encoder.to(device).eval(), scheduler)
    results = []
    for held_out, told, guidance in (
        (False, "camera", 2.0), (True, "camera", 2.0), (False, "both", 2.0), (False, "words", 2.0),
        (False, "words", 5.0), (False, "camera", 10.0),
    ):  # fmt: skip
        row = measure(
            model, labels, small, pipeline, count=args.count, held_out=held_out, guidance=guidance,
            told=told,
        )  # fmt: skip
        results.append(row)
        print(json.dumps(row), flush=True)
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    if args.picture:
        from PIL import Image

        batch = small.batch(96, textureless=0.0, views=Views(0.0, 1.0, 0.0))
        image = sample(*pipeline, batch, 2.0, 40, small.generator)
        sheet = torch.cat([batch.image, image], 3).view(8, 12, 3, 64, 128).permute(0, 3, 1, 4, 2)
        pixels = (sheet.reshape(8 * 64, 12 * 128, 3) * 255).byte().cpu().numpy()
        Image.fromarray(pixels).save(args.picture)


if __name__ == "__main__":
    main()
