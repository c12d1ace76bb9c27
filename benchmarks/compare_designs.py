"""Compare denoisers at equal training time: which learns the procedural world fastest?

    python benchmarks/compare_designs.py --out FOLDER --seconds 60

Needs a CUDA GPU. Each design trains on its own pool of the same views, one after the other; the
losses are those on views that none was trained on. `train --design` trains one of `DESIGNS`.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from dfast.priors.embedded.distributed import ProcessGroup
from dfast.priors.embedded.model import CAMERA_FEATURES
from dfast.priors.embedded.training.networks import DESIGNS, TEXT_WIDTH, UNSHUFFLE, Denoiser
from dfast.priors.embedded.training.train import LEVELS, Training, WorldOptions, open_pool

FULL = (32, 64, 128, 128)
"""Channels of a UNet on whole pixels, from 64 x 64 to 8 x 8."""
WIDTH, DEPTH, HEADS, PATCH = 384, 8, 6, 4
"""Of the patch transformer; a patch is so many unshuffled pixels a side."""


class Block(nn.Module):
    """Self-attention, attention to the text and a feed-forward layer, modulated by the time."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, elementwise_affine=False) for _ in range(3))
        self.own = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.text = nn.MultiheadAttention(
            WIDTH, HEADS, kdim=TEXT_WIDTH, vdim=TEXT_WIDTH, batch_first=True
        )
        self.wide = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )
        self.modulation = nn.Linear(WIDTH, 9 * WIDTH)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, text: Tensor, time: Tensor) -> Tensor:
        """Return [B, N, WIDTH] for rows x [B, N, WIDTH], text [B, M, D] and time [B, WIDTH]."""
        shift, scale, gate = self.modulation(time)[:, None].unflatten(-1, (3, 3, WIDTH)).unbind(2)
        for i, norm in enumerate(self.norms):
            h = norm(x) * (1 + scale[..., i, :]) + shift[..., i, :]
            if i == 0:
                h = self.own(h, h, h, need_weights=False)[0]
            elif i == 1:
                h = self.text(h, text, text, need_weights=False)[0]
            else:
                h = self.wide(h)
            x = x + gate[..., i, :] * h
        return x


class PatchTransformer(nn.Module):
    """A transformer over patches (Peebles and Xie 2022, arXiv 2212.09748) with text attention."""

    def __init__(self) -> None:
        super().__init__()
        inputs, outputs, cells = 6 * UNSHUFFLE**2, 3 * UNSHUFFLE**2, 64 // UNSHUFFLE // PATCH
        self.patches = nn.Conv2d(inputs, WIDTH, PATCH, stride=PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(cells**2, WIDTH))
        self.camera = nn.Linear(CAMERA_FEATURES, WIDTH)
        self.time = nn.Sequential(nn.Linear(128, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.out = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, outputs * PATCH**2))

    def forward(
        self, x: Tensor, t: Tensor, text: Tensor, class_labels: Tensor, **_: Any
    ) -> tuple[Tensor]:
        """Return (v,), as `UNet2DConditionModel` does."""
        rows = self.patches(x).flatten(2).transpose(1, 2) + self.position
        frequency = torch.exp(torch.arange(64, device=x.device) * (-9.2 / 63))
        angle = t[:, None] * frequency
        time = self.time(torch.cat([angle.sin(), angle.cos()], 1)) + self.camera(class_labels)
        for block in self.blocks:
            rows = block(rows, text, nn.functional.silu(time))
        cells = x.shape[-1] // PATCH
        v = self.out(rows).transpose(1, 2).unflatten(2, (cells, cells))
        return (nn.functional.pixel_shuffle(v, PATCH),)


def build(design: str) -> Denoiser:
    """Build an untrained denoiser: one of `DESIGNS`, "whole pixels" or "patches"."""
    if design == "whole pixels":
        return Denoiser(FULL, unshuffle=1)
    model = Denoiser(DESIGNS.get(design, DESIGNS["small"]))
    if design == "patches":
        model.unet = PatchTransformer()
    return model


def compare(design: str, args: argparse.Namespace) -> None:
    """Train one design as soon as no other trains, and write its losses."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.set_num_threads(2)
    device = torch.device("cuda", 0)
    out = args.out / design.replace(" ", "-")
    options = WorldOptions(out, args.seconds, args.batch, args.views, args.rate, 0, None, "")
    torch.manual_seed(0)
    model = build(design)
    views, others = open_pool(args.views, 1, device), open_pool(4096, 2, device)
    training = Training(options, ProcessGroup(0, 1, device), views, model)
    training.loss().backward()  # compiles
    with open(args.out / "turn", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        begin = time.time()
        training.run()
        training.copy_average(model)
        losses = training.losses(others, 16)
        row = {
            "design": design,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": args.seconds,
            "images": training.step * args.batch,
            "losses": dict(zip(map(str, LEVELS), losses, strict=True)),
            "took": time.time() - begin,
        }
    (out.with_suffix(".json")).write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row), flush=True)


def main() -> None:
    """Compare all designs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60, help="training time of each")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--views", type=int, default=60_000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--designs", nargs="*", default=["whole pixels", *DESIGNS, "patches"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    context = mp.get_context("spawn")
    workers = [context.Process(target=compare, args=(d, args)) for d in args.designs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a design failed; see above")


if __name__ == "__main__":
    main()
