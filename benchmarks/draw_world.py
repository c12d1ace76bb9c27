"""Draw the things of the procedural world, and check that they are sound.

    python benchmarks/draw_world.py OUT.png [WORD ...] [--category animals] [--across 2]
    python benchmarks/draw_world.py benchmarks/results/world.png --views 1 --across 20

A row shows a thing from the front right, the front, right, behind, left above and from below, or as
many of these views as asked for, at the 64 pixels at which the embedded prior sees it. A thing that
leaves the unit sphere, is small, or has too many parts is told.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from dfast.scene.cameras import aimed
from dfast.world.nouns import CATEGORIES
from dfast.world.nouns.noun import Noun
from dfast.world.parts import NOUN_PARTS
from dfast.world.scenes import ProceduralScene
from dfast.world.tracer import render_scene

AZIMUTHS = (40.0, 0.0, 90.0, 180.0, -60.0, -130.0)
ELEVATIONS = (20.0, 10.0, 10.0, 15.0, 55.0, -25.0)
PIXELS, LABEL = 64, 12


def scene_of(word: str, noun: Noun) -> ProceduralScene:
    """Return a thing in its own colours."""
    slots = (noun.color,) if noun.part is None else (noun.color, noun.part[1])
    return ProceduralScene(word, "composed", word, noun.parts, slots, noun.has_front)


def row(word: str, noun: Noun, views: int) -> Image.Image:
    """Return the first views of a thing, its name above."""
    scene = scene_of(word, noun)
    azimuth, elevation = torch.tensor(AZIMUTHS[:views]), torch.tensor(ELEVATIONS[:views])
    cameras = aimed(azimuth, elevation, torch.full((views,), 3.0), torch.full((views,), 40.0))
    light = F.normalize(cameras.origin + torch.tensor([0.3, -0.5, 1.2]), dim=-1)
    images = render_scene(scene, cameras, PIXELS, light=light, ambient=0.4)
    pixels = (images.permute(2, 0, 3, 1).reshape(PIXELS, views * PIXELS, 3) * 255).byte().numpy()
    sheet = Image.new("RGB", (views * PIXELS, PIXELS + LABEL), (235, 235, 235))
    sheet.paste(Image.fromarray(pixels), (0, LABEL))
    text = f"{word} ({len(noun.parts)} parts)" if views > 1 else word
    ImageDraw.Draw(sheet).text((2, 0), text, (0, 0, 0), ImageFont.load_default(10))
    return sheet


def faults(word: str, noun: Noun) -> list[str]:
    """Return what is wrong with a thing, a line each."""
    scene, told = scene_of(word, noun), []
    x = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    inside = x[scene.occupancy(x)]
    reach = float(inside.norm(dim=-1).max()) if len(inside) else 0.0
    if not 0.7 < reach < 0.97:
        told.append(f"{word}: reaches {reach:.2f} of the unit sphere (expected 0.7 to 0.97)")
    if len(noun.parts) > NOUN_PARTS:
        told.append(f"{word}: {len(noun.parts)} parts (at most {NOUN_PARTS})")
    nearest = scene.sdf(inside)[1] if len(inside) else torch.zeros(0)
    for k, part in enumerate(noun.parts):
        if part.color not in (0, 1) and isinstance(part.color, int):
            told.append(f"{word}: part {k} has the colour slot {part.color}")
        if not (nearest == k).any() and len(inside) > 500:
            told.append(f"{word}: part {k} ({part.kind}) is tiny or hidden")
    slots = {p.color for p in noun.parts if isinstance(p.color, int)}
    if slots != ({0} if noun.part is None else {0, 1}):
        told.append(f"{word}: its parts have the colour slots {sorted(slots)}")
    return told


def main() -> None:
    """Draw things from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("words", nargs="*", help="by default every one")
    parser.add_argument("--category", choices=CATEGORIES)
    parser.add_argument("--views", type=int, default=6, choices=range(1, 7), help="of each")
    parser.add_argument("--across", type=int, default=2, help="things in a row")
    parser.add_argument("--scale", type=int, default=1, help="enlarge the picture")
    args = parser.parse_args()
    things = {
        w: n for c, ns in CATEGORIES.items() for w, n in ns.items() if args.category in (None, c)
    }
    chosen = {w: things[w] for w in args.words or things}
    for word, noun in chosen.items():
        print(*faults(word, noun), sep="\n", end="\n" if faults(word, noun) else "")
    rows = [row(word, noun, args.views) for word, noun in chosen.items()]
    down = -(-len(rows) // args.across)
    width, height = rows[0].size
    sheet = Image.new("RGB", (args.across * (width + 8), down * height), (255, 255, 255))
    for i, picture in enumerate(rows):
        sheet.paste(picture, ((i % args.across) * (width + 8), (i // args.across) * height))
    size = (sheet.width * args.scale, sheet.height * args.scale)
    sheet.resize(size, Image.Resampling.NEAREST).save(args.out)


if __name__ == "__main__":
    main()
