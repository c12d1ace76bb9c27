"""Measure the embedded prior.

    python -m dfast.priors.embedded.measure --weights FOLDER --out FILE.json

A classifier of attributes (shape, colours, order of parts, view) is trained on true renders only,
and applied to images sampled from the prior. It is never used to train the prior. Its accuracy on
true renders of the same views is reported, too, because it bounds what can be measured.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.embedded.classifier import Classifier, Labels, train_classifier
from dfast.priors.embedded.dataset import Batch, Pool, Views
from dfast.priors.embedded.geometries import Geometries
from dfast.priors.embedded.model import build_tokenizer, load_folder
from dfast.world.objects import PRIMITIVES

ELEVATIONS = (-10.0, 50.0)
"""Range in degrees in which every attribute is visible; from above, objects look alike."""
LEAST_PIXELS = 240
"""Fewest visible pixels (of 128 x 128) of every coloured part of a measured view."""
SETTINGS = (
    (False, "camera", 2.0),
    (True, "camera", 2.0),
    (False, "both", 2.0),
    (False, "words", 2.0),
    (False, "words", 5.0),
    (False, "camera", 10.0),
)
"""What is measured: held-out colours or not, view conditioning, guidance scale."""
Pipeline = tuple[Any, Any, Any]
"""UNet, text encoder and scheduler."""


@torch.no_grad()
def sample(
    pipeline: Pipeline, batch: Batch, guidance: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Sample images from the prior, [B, 3, 64, 64] in [0, 1].

    Args:
        pipeline: UNet, text encoder and scheduler.
        batch: captions and cameras.
        guidance: w in (1 + w) eps_c - w eps_u.
        steps: of the scheduler.
        generator: on the device.
    """
    unet, text_encoder, scheduler = pipeline
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
    """Return whether each attribute of each image is classified right, [B] bool by name."""
    with torch.no_grad():
        shape_logits, color_logits, view_logits = model(image)
    geometry, colors = labels(batch, azimuth)
    two = labels.two[batch.geometry]
    color_ok = color_logits.argmax(-1) == colors
    color = color_ok[:, 0] & (color_ok[:, 1] | ~two)
    shape = shape_logits.argmax(-1) == geometry
    return {"color": color, "shape": shape, "view": view_logits.argmax(-1) == batch.view}


def caption_class(scene: Any) -> str:
    """Return the class that a caption is counted in: its noun, or its first solid and relation."""
    if scene.kind == "stack":
        return f"{scene.shape.split()[0]} on top"
    if scene.kind == "pair":
        return f"{scene.shape.split()[0]} beside"
    return str(scene.shape)


def choose_views(
    labels: Labels, pool: Pool, visible: Tensor, count: int, view_conditioning: str
) -> Tensor:
    """Return the indices of at most `count` views of a pool in which all attributes are visible.

    Args:
        labels: of the pool's images.
        pool: of true renders.
        visible: [N] pixels of the least visible colour slot of each view.
        count: views.
        view_conditioning: "camera", "words" or "both"; without "camera" alone, only objects with a
            front are chosen, away from the borders between two view words.
    """
    device = pool.geometries.device
    heading = torch.cos(torch.deg2rad(pool.azimuth))
    fits = (pool.elevation > ELEVATIONS[0]) & (pool.elevation < ELEVATIONS[1])
    fits &= visible >= LEAST_PIXELS
    fits &= ~labels.pair[pool.geometry] | (heading.abs() > 0.4)
    if view_conditioning != "camera":
        fits &= torch.tensor([s.has_front for s in labels.scenes], device=device)[pool.geometry]
        edge = ((pool.azimuth.abs() % 90) - 45).abs()  # degrees from a border between two words
        fits &= edge > 10
    rows = torch.arange(len(pool.geometry), device=device)[fits]
    return rows[torch.randperm(len(rows), device=device, generator=pool.generator)[:count]]


def measure(
    model: Classifier,
    labels: Labels,
    pool: Pool,
    pipeline: Pipeline,
    *,
    count: int,
    held_out: bool,
    guidance: float,
    view_conditioning: str,
    steps: int = 40,
) -> dict[str, Any]:
    """Measure the accuracy of samples.

    Args:
        model: the classifier.
        labels: of the pool's images.
        pool: of at most 6000 views.
        pipeline: UNet, text encoder and scheduler.
        count: samples.
        held_out: colours that training never showed.
        guidance: w in (1 + w) eps_c - w eps_u.
        view_conditioning: "camera" (all captions), "words" or "both" (objects that have a front).
        steps: of the scheduler.
    """
    g = pool.geometries
    every = torch.arange(len(pool.geometry), device=g.device)
    assert len(every) <= 6000, "all views of the pool are shaded in one batch"
    visible = pool.batch(len(every), chosen=every, textureless=0.0).visible
    rows = choose_views(labels, pool, visible, count, view_conditioning)
    words, camera = view_conditioning != "camera", view_conditioning != "words"
    views = Views(float(words), float(camera), empty_caption=0.0)
    batch = pool.batch(len(rows), chosen=rows, textureless=0.0, views=views, held_out=held_out)
    parts = zip(*(field.split(500) for field in batch), strict=True)
    image = torch.cat([sample(pipeline, Batch(*p), guidance, steps, pool.generator) for p in parts])
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
        "samples": len(rows),
        "held_out": held_out,
        "guidance": guidance,
        "view_told_by": view_conditioning,
        **{k: round(float(v.float().mean()), 4) for k, v in got.items()},
        "order_of_stack": (
            round(float(order[is_stack].float().mean()), 4) if is_stack.any() else None
        ),
        "classifier_on_truth": {k: round(float(v.float().mean()), 4) for k, v in true.items()},
        "by_class": {k: [round(sum(v) / len(v), 3), len(v)] for k, v in sorted(classes.items())},
    }


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
    pool = Pool(geometries, 60_000, 4242)
    model = train_classifier(pool, labels, args.seconds)
    small = Pool(geometries, 6000, 999, elevation=ELEVATIONS)
    while args.wait and not (args.weights / "scheduler").exists():
        time.sleep(1)
    unet, text_encoder, _, scheduler = load_folder(args.weights)
    pipeline = (unet.to(device).eval(), text_encoder.to(device).eval(), scheduler)
    results = []
    for held_out, view_conditioning, guidance in SETTINGS:
        row = measure(
            model,
            labels,
            small,
            pipeline,
            count=args.count,
            held_out=held_out,
            guidance=guidance,
            view_conditioning=view_conditioning,
        )
        results.append(row)
        print(json.dumps(row), flush=True)
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    if args.picture:
        from PIL import Image

        batch = small.batch(96, textureless=0.0, views=Views(0.0, 1.0, 0.0))
        image = sample(pipeline, batch, 2.0, 40, small.generator)
        sheet = torch.cat([batch.image, image], 3).view(8, 12, 3, 64, 128).permute(0, 3, 1, 4, 2)
        pixels = (sheet.reshape(8 * 64, 12 * 128, 3) * 255).byte().cpu().numpy()
        Image.fromarray(pixels).save(args.picture)


if __name__ == "__main__":
    main()
