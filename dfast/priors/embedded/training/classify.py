"""Train the classifier that measures the embedded prior, on true renders only.

    python -m dfast.priors.embedded.training.classify --out classifier.safetensors --seconds 200

Its accuracy on other true renders, which bounds what can be measured, is printed at the end. The
prior never learns from it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.training.classifier import (
    CHANNELS,
    Classifier,
    ask,
    save_classifier,
)
from dfast.priors.embedded.training.loop import Options, TrainingLoop
from dfast.priors.embedded.training.muon import hidden
from dfast.priors.embedded.training.pool import Odds, Pool
from dfast.priors.embedded.training.questions import Attributes, labels, right
from dfast.priors.embedded.training.softening import Softening
from dfast.priors.embedded.training.train import open_pool

ELEVATIONS = (-10.0, 50.0)
"""Range in degrees in which most attributes can be seen."""
ODDS = Odds(patterned=0.3, textureless=0.08)
"""What images are like; captions do not matter."""
NOISE, BLURRED, SHIFT = 0.02, 0.3, 2
"""Standard deviation of the noise on images, the share that is blurred, and the most pixels by
which one is moved: samples of a prior are less exact than true renders."""


class ClassifierTraining(TrainingLoop):
    """Classifier and optimizers, and the step that trains them."""

    warmup = 200
    largest_decay = 0.998

    def __init__(
        self, options: Options, images: Pool, channels: tuple[int, ...] = CHANNELS
    ) -> None:
        """Build the network.

        Args:
            options: of the training.
            images: to train on; their device is that of the training.
            channels: of the network's levels.
        """
        torch.manual_seed(options.seed)
        self.images, device = images, images.things.device
        model = Classifier(len(images.things.names), channels).to(device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inner, others = hidden(model)
        ends = {id(p) for part in (model.heads, model.view) for p in part.parameters()}
        matrices = [p for p in inner if id(p) not in ends]
        others += [p for p in inner if id(p) in ends]
        group = ProcessGroup(0, 1, device)
        super().__init__(options, group, model, others, 0.05, matrices)
        self.classifier = model
        self.soften = Softening(NOISE, BLURRED, device)
        if device.type == "cuda":
            model.compile()

    def generators(self) -> list[torch.Generator]:
        """Return what `loss` draws from, beside `generator`."""
        return [self.images.generator]

    def loss(self) -> Tensor:
        """Return the loss of a new batch, with its graph."""
        batch = self.images.batch(self.options.batch, odds=ODDS, held_out=None)
        truth, asked = labels(self.images, batch)
        image = self.soften(self._moved(batch.image), self.generator)
        logits = ask(self.classifier, self.images, batch, image)
        total = torch.zeros((), device=batch.image.device)
        for name, found, label, mask in zip(Attributes._fields, logits, truth, asked, strict=True):
            scores = found.log_softmax(-1)
            # A pattern's two colours are equally right.
            answers = label if name == "color" else label[..., None]
            each = -scores.gather(-1, answers).mean(-1)
            total = total + (each * mask).sum() / mask.sum().clamp_min(1)
        return total

    def _moved(self, image: Tensor) -> Tensor:
        """Return images that are moved by some pixels."""
        count, device, side = len(image), image.device, image.shape[-1]
        for dim in (2, 3):
            move = torch.randint(
                -SHIFT, SHIFT + 1, (count, 1), device=device, generator=self.generator
            )
            pixels = (torch.arange(side, device=device) + move).clamp(0, side - 1)
            shape = [count, 1, 1, 1]
            shape[dim] = side
            image = image.gather(dim, pixels.view(shape).expand_as(image))
        return image

    def finish(self) -> Classifier:
        """Return the classifier with its averaged weights, in eval mode and not compiled."""
        done = Classifier(self.classifier.nouns, self.classifier.channels)
        done.to(self.group.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.copy_average(done)
        return done.eval()


def train_classifier(
    pool: Pool, seconds: float, batch: int = 512, channels: tuple[int, ...] = CHANNELS
) -> Classifier:
    """Train a classifier on images of a pool.

    Args:
        pool: of true renders.
        seconds: training time, without that of compiling.
        batch: images a step.
        channels: of the network's levels.

    Returns:
        The classifier in eval mode.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = Options(Path(folder), seconds, batch, len(pool), 1e-3, 0)
        training = ClassifierTraining(options, pool, channels)
        training.run()
        return training.finish()


def make_classifier(
    file: Path | None, device: torch.device, seconds: float, views: int, batch: int = 512
) -> Classifier:
    """Trace a pool, train a classifier on it, and write it.

    Args:
        file: where to, in safetensors; None writes nothing.
        device: where it is trained.
        seconds: training time, without that of compiling.
        views: of the pool.
        batch: images a step.

    Returns:
        The classifier in eval mode.
    """
    pool = open_pool(views, 4242, device, elevation=ELEVATIONS)
    model = train_classifier(pool, seconds, batch)
    if file is not None:
        save_classifier(model, pool.things.names, file)
    return model


@torch.no_grad()
def accuracy(
    model: Classifier, pool: Pool, count: int = 4000, *, held_out: bool | None = None
) -> dict[str, float]:
    """Return the share of right answers about true renders, by attribute.

    Args:
        model: the classifier.
        pool: that it was not trained on.
        count: images.
        held_out: as in `Pool.batch`.
    """
    sums: dict[str, list[int]] = {}
    for start in range(0, count, 500):
        batch = pool.batch(min(500, count - start), odds=ODDS, held_out=held_out)
        truth, asked = labels(pool, batch)
        found = right(ask(model, pool, batch, batch.image), truth)
        for name, ok, mask in zip(Attributes._fields, found, asked, strict=True):
            row = sums.setdefault(name, [0, 0])
            row[0] += int((ok & mask).sum())
            row[1] += int(mask.sum())
    return {name: round(ok / max(1, n), 4) for name, (ok, n) in sums.items()}


def main() -> None:
    """Train a classifier from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="safetensors file")
    parser.add_argument("--seconds", type=float, default=200, help="training time, setup excluded")
    parser.add_argument("--batch", type=int, default=512, help="images a step")
    parser.add_argument("--pool", type=int, default=250_000, help="traced views")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = make_classifier(args.out, device, args.seconds, args.pool, args.batch)
    others = open_pool(8000, 4243, device, elevation=ELEVATIONS)
    print(json.dumps({"on_true_renders": accuracy(model, others)}), flush=True)


if __name__ == "__main__":
    main()
