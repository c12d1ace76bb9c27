"""Measure the embedded prior: do its images show what their captions say?

    python -m dfast.priors.embedded.training.measure --weights FOLDER --out FILE.json

A classifier is trained on true renders only, and applied to images that are sampled from the prior;
with `--classifier FILE` it is trained once and used again. Its accuracy on true renders of the same
views is reported, too, because it bounds what can be measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast.priors.diffusion import classifier_free_guidance
from dfast.priors.embedded.model import load_folder, scale_features
from dfast.priors.embedded.training.classifier import Classifier, ask, load_classifier
from dfast.priors.embedded.training.classify import ELEVATIONS, make_classifier
from dfast.priors.embedded.training.networks import Networks
from dfast.priors.embedded.training.pool import Batch, Odds, Pool
from dfast.priors.embedded.training.questions import Attributes, labels, right
from dfast.priors.embedded.training.train import open_pool

STEPS = 40
"""Of the sampler."""
AT_ONCE = 500
"""Images sampled together."""
Denoise = Callable[[Tensor, Tensor, Batch, float], Tensor]
"""(z [B, 3, H, W], t [B], captions and cameras, guidance scale) -> v [B, 3, H, W]."""


class Setting(NamedTuple):
    """What samples are asked for, and how."""

    held_out: bool
    """In colours that training never showed with their things."""
    camera: bool
    """The prior is told the camera."""
    view_words: bool
    """It is told the view in words."""
    guidance: float
    """w in (1 + w) eps_c - w eps_u."""


SETTINGS = (
    Setting(False, True, False, 2.0),
    Setting(True, True, False, 2.0),
    Setting(False, True, True, 2.0),
    Setting(False, False, True, 2.0),
    Setting(False, True, False, 5.0),
)
"""What is measured."""


def denoiser(networks: Networks) -> Denoise:
    """Return the guided prediction of trained networks: without the empty caption if distilled."""
    is_distilled = networks.unet.config.time_cond_proj_dim is not None

    def denoise(z: Tensor, t: Tensor, batch: Batch, scale: float) -> Tensor:
        given = z, t, batch.tokens, batch.camera, batch.rays
        if is_distilled:
            told = scale_features(torch.full((len(z),), scale, device=z.device))
            v: Tensor = networks(*given, told)
            return v.float()
        return classifier_free_guidance(*networks.predict_both(*given), scale)

    return denoise


@torch.no_grad()
def sample(
    denoise: Denoise, scheduler: Any, batch: Batch, guidance: float, generator: torch.Generator
) -> Tensor:
    """Sample images from the prior, [B, 3, 64, 64] in [0, 1].

    Args:
        denoise: predicts guided v.
        scheduler: of the prior.
        batch: captions and cameras.
        guidance: w in (1 + w) eps_c - w eps_u.
        generator: on the device.
    """
    scheduler.set_timesteps(STEPS)
    z = torch.randn(batch.image.shape, device=batch.image.device, generator=generator)
    for t in scheduler.timesteps:
        times = torch.full((len(z),), int(t), device=z.device)
        with torch.autocast(z.device.type, torch.bfloat16):
            v = denoise(z, times, batch, guidance)
        z = scheduler.step(v, t, z, use_clipped_model_output=True).prev_sample
    return (z / 2 + 0.5).clamp(0, 1)


def measure(
    model: Classifier,
    pool: Pool,
    denoise: Denoise,
    scheduler: Any,
    setting: Setting,
    count: int,
) -> dict[str, Any]:
    """Return the accuracy of samples, by attribute, noun and colour.

    Args:
        model: the classifier.
        pool: of true renders.
        denoise: the prior.
        scheduler: of the prior.
        setting: what is asked for.
        count: samples.
    """
    odds = Odds(
        view_words=float(setting.view_words),
        camera=float(setting.camera),
        empty_caption=0.0,
        textureless=0.0,
        albedo_only=0.3,
        patterned=0.25,
    )
    sums: dict[str, list[float]] = {}
    nouns: dict[str, list[float]] = {}
    for start in range(0, count, AT_ONCE):
        batch = pool.batch(min(AT_ONCE, count - start), odds=odds, held_out=setting.held_out)
        truth, asked = labels(pool, batch)
        image = sample(denoise, scheduler, batch, setting.guidance, pool.generator)
        with torch.no_grad():
            of_samples = right(ask(model, pool, batch, image), truth)
            of_truth = right(ask(model, pool, batch, batch.image), truth)
        for name in Attributes._fields:
            mask = getattr(asked, name)
            ours, true = getattr(of_samples, name) & mask, getattr(of_truth, name) & mask
            row = sums.setdefault(name, [0.0] * 4)
            for i, each in enumerate((ours, true, ours & true, mask)):
                row[i] += float(each.sum())
        for b, i in asked.noun.nonzero().tolist():
            word = pool.things.names[int(truth.noun[b, i])]
            nouns.setdefault(word, []).append(float(of_samples.noun[b, i]))
    return {
        "samples": count,
        **setting._asdict(),
        "accuracy": {k: round(a / max(n, 1.0), 4) for k, (a, *_, n) in sums.items()},
        "classifier_on_truth": {k: round(b / max(n, 1.0), 4) for k, (_, b, _, n) in sums.items()},
        # Of what the classifier reads in the true render of the same caption and camera.
        "accuracy_where_truth_is_read": {
            k: round(c / max(b, 1.0), 4) for k, (_, b, c, _) in sums.items()
        },
        "asked": {k: int(n) for k, (*_, n) in sums.items()},
        "by_noun": {k: [round(sum(v) / len(v), 3), len(v)] for k, v in sorted(nouns.items())},
    }


def main() -> None:
    """Measure a prior from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--classifier", type=Path, help="file of it: read, or trained and written")
    parser.add_argument("--seconds", type=float, default=200, help="classifier training time")
    parser.add_argument("--pool", type=int, default=250_000, help="views that it is trained on")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    small = open_pool(args.count * 4, 999, device, elevation=ELEVATIONS)
    if args.classifier is not None and args.classifier.exists():
        model = load_classifier(args.classifier, small.things.names, device)
    else:
        model = make_classifier(args.classifier, device, args.seconds, args.pool)
    unet, text_encoder, _, scheduler = load_folder(args.weights)
    denoise = denoiser(Networks(unet, text_encoder).to(device).eval())
    rows = []
    for setting in SETTINGS:
        row = measure(model, small, denoise, scheduler, setting, args.count)
        rows.append(row)
        print(json.dumps({k: v for k, v in row.items() if k != "by_noun"}), flush=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
