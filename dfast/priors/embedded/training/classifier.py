"""A classifier of what images of the world show, to measure the embedded prior by.

It is told the camera, without which "next to" seen from behind is another sentence; the view word
it reads from the image alone. Colours, patterns and sizes belong to a thing, and a size is relative
to what such a thing usually is: for these it is told the nouns that the caption names. Nouns,
relations and counts it finds without.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dfast.priors.embedded.model import CAMERA_FEATURES, camera_features
from dfast.priors.embedded.training.captions import SLOTS
from dfast.priors.embedded.training.pool import Batch, Pool
from dfast.priors.embedded.training.questions import Attributes
from dfast.priors.embedded.training.things import WHITE
from dfast.scene.views import VIEW_WORDS
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES

CHANNELS = (96, 192, 384, 512)
"""Of the levels, from 32 x 32 pixels to 4 x 4."""
WIDTH, HEADS = 256, 8
"""Numbers of a question, and heads of the attention."""
FREE = ("noun", "relation", "number")
TOLD = ("color", "pattern", "size")
"""Attributes that are found without the nouns of the caption, and with them."""


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        """Build it with untrained weights."""
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(8, channels) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, H, W] for x [B, C, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Reading(nn.Module):
    """Questions look at the cells of an image."""

    def __init__(self) -> None:
        """Build it with untrained weights."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.ask, self.give = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.merge = nn.Linear(WIDTH, WIDTH)
        self.wide = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU())
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        """Return [B, Q, WIDTH] for questions x [B, Q, WIDTH] and cells [B, N, WIDTH]."""
        parts = self.ask(self.norm1(x)), *self.give(cells).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in parts)
        x = x + self.merge(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.narrow(self.wide(self.norm2(x)))


class Classifier(nn.Module):
    """A convolutional network whose cells questions look at."""

    about: Tensor
    """[8] which thing each question of `TOLD` is about, 0 or 1."""

    def __init__(self, nouns: int, channels: tuple[int, ...] = CHANNELS) -> None:
        """Build it with untrained weights.

        Args:
            nouns: of the world.
            channels: of four levels.
        """
        super().__init__()
        self.nouns, self.channels = nouns, channels
        self.conv_in = nn.Conv2d(12, channels[0], 3, padding=1)
        levels: list[nn.Module] = []
        for i, out in enumerate(channels):
            first = [nn.Conv2d(channels[i - 1], out, 3, 2, padding=1)] if i else []
            levels.append(nn.Sequential(*first, Block(out), Block(out)))
        self.levels = nn.ModuleList(levels)
        self.last_norm = nn.GroupNorm(8, channels[3])
        self.fine, self.coarse = nn.Linear(channels[2], WIDTH), nn.Linear(channels[3], WIDTH)
        # Of 8 x 8 fine cells and 4 x 4 coarse ones.
        self.cell_embedding = nn.Parameter(0.02 * torch.randn(64 + 16, WIDTH))
        self.cell_norm = nn.LayerNorm(WIDTH)
        self.whole = nn.Linear(16 * channels[3], 2 * WIDTH)
        self.joint = nn.Sequential(
            nn.Linear(2 * WIDTH + CAMERA_FEATURES, 2 * WIDTH),
            nn.SiLU(),
            nn.Linear(2 * WIDTH, WIDTH),
        )
        self.shapes = {
            "noun": (2, nouns),
            "relation": (1, len(RELATIONS) + 1),
            "number": (1, 3),
            "color": (SLOTS, WHITE + 1),
            "pattern": (2, len(PATTERNS) + 1),
            "size": (2, len(SIZES) + 1),
        }
        counts = [self.shapes[name][0] for name in (*FREE, *TOLD)]
        self.counts, self.free = counts, sum(counts[: len(FREE)])
        self.question_embedding = nn.Parameter(torch.randn(sum(counts), WIDTH))
        # Of the thing that a question is about, and of the other one; the last row is no thing.
        self.own_embedding = nn.Embedding(nouns + 1, WIDTH)
        self.other_embedding = nn.Embedding(nouns + 1, WIDTH)
        about = [i // 2 for i in range(SLOTS)] + [0, 1] * 2
        self.register_buffer("about", torch.tensor(about), persistent=False)
        self.readings = nn.ModuleList(Reading() for _ in range(2))
        self.answer_norm = nn.LayerNorm(WIDTH)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(WIDTH, classes) for name, (_, classes) in self.shapes.items()}
        )
        self.view = nn.Linear(2 * WIDTH, len(VIEW_WORDS))

    def forward(self, image: Tensor, camera: Tensor, nouns: Tensor) -> Attributes:
        """Return the logits of all attributes.

        Args:
            image: [B, 3, 64, 64] in [0, 1].
            camera: [B, CAMERA_FEATURES].
            nouns: [B, 2] rows of the things that the caption names, negative for none.
        """
        x = F.pixel_unshuffle(image * 2 - 1, 2).contiguous(memory_format=torch.channels_last)
        x = self.conv_in(x)
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        last = F.silu(self.last_norm(x))
        fine, coarse = (m.flatten(2).transpose(1, 2) for m in (maps[2], last))
        cells = torch.cat([self.fine(fine), self.coarse(coarse)], 1) + self.cell_embedding
        cells = self.cell_norm(cells)
        seen = F.silu(self.whole(last.flatten(1)))
        joint = self.joint(torch.cat([seen, camera], 1))
        row = torch.where(nouns < 0, self.nouns, nouns)
        own, other = row[:, self.about], row[:, 1 - self.about]
        told = self.own_embedding(own) + self.other_embedding(other)
        told = F.pad(told, (0, 0, self.free, 0))
        x = self.question_embedding + joint[:, None] + told
        for reading in self.readings:
            x = reading(x, cells)
        parts = self.answer_norm(x).split(self.counts, 1)
        named = zip((*FREE, *TOLD), parts, strict=True)
        found = {name: self.heads[name](part) for name, part in named}
        return Attributes(**found, view=self.view(seen)[:, None])


def ask(model: Classifier, pool: Pool, batch: Batch, image: Tensor) -> Attributes:
    """Return the logits for images of the captions and cameras of a batch.

    The true camera is told, whether or not the prior was.

    Args:
        model: the classifier.
        pool: that the batch is of.
        batch: B captions and cameras.
        image: [B, 3, 64, 64], of the batch or of a prior.
    """
    camera = camera_features(*(values[batch.chosen] for values in pool.camera))
    with torch.autocast(image.device.type, torch.bfloat16):
        logits = model(image, camera, pool.situations.noun[batch.chosen])
    return Attributes(*(each.float() for each in logits))


def save_classifier(model: Classifier, names: tuple[str, ...], file: Path) -> None:
    """Write a classifier in half precision.

    Args:
        model: what is written.
        names: of the world's nouns.
        file: where to.
    """
    weights = {name: t.detach().half().contiguous().cpu() for name, t in model.state_dict().items()}
    channels = " ".join(map(str, model.channels))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file, metadata={"nouns": " ".join(names), "channels": channels})


def load_classifier(file: Path, names: tuple[str, ...], device: torch.device) -> Classifier:
    """Read a classifier that `save_classifier` wrote, in eval mode.

    Args:
        file: to read.
        names: of the world's nouns.
        device: where it computes.

    Raises:
        ValueError: if it was trained on other nouns.
    """
    with safe_open(file, "pt") as data:
        metadata = data.metadata()
        weights = {name: data.get_tensor(name) for name in data.keys()}  # noqa: SIM118
    trained = metadata["nouns"].split()
    if trained != list(names):
        different = len(set(trained) ^ set(names))
        raise ValueError(
            f"classifier: expected one of the world's {len(names)} nouns, got {file} of "
            f"{len(trained)}; {different} differ, or their order does"
        )
    first, second, third, last = map(int, metadata["channels"].split())
    model = Classifier(len(names), (first, second, third, last))
    model.load_state_dict(weights)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()
