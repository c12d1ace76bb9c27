"""Train the embedded prior: `python -m dfast.priors.embedded.train --out FOLDER --seconds 480`.

Needs a CUDA GPU; uses every visible one (start it with `torchrun --nproc-per-node N -m ...`). The
learning rate follows the share of the time budget that has passed. A checkpoint is written every
minute and at the end, atomically; the same command continues from it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dfast.priors.embedded.dataset import Batch, Geometries, Pool
from dfast.priors.embedded.model import (
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    save_folder,
)


class Denoiser(nn.Module):
    """UNet and text encoder as one module: noisy images, times and captions to v."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text_encoder = build_text_encoder(vocabulary)

    def forward(self, noisy: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """v predicted for noisy images [B,3,H,W] at times [B]."""
        text = self.text_encoder(batch.tokens).last_hidden_state
        seen = torch.cat([noisy, batch.rays], 1).contiguous(memory_format=torch.channels_last)
        return self.unet(seen, t, text, class_labels=batch.camera, return_dict=False)[0]


def flatten_gradients(module: nn.Module) -> Tensor:
    """One buffer that every parameter's gradient is a view of: a single all-reduce a step."""
    parameters = list(module.parameters())
    flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    start = 0
    for p in parameters:
        p.grad = torch.as_strided(flat, p.size(), p.stride(), start)  # the layout of p itself
        start += p.numel()
    return flat


def noisy_batch(batch: Batch, alphas_bar: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
    """(z_t, t, v) of a batch at random times; v = alpha eps - sigma x0.

    Half of the times are uniform, half in the noisiest quarter: there the caption and the camera,
    not the image, must say what is seen, and there score distillation begins.
    """
    x0 = batch.image * 2 - 1
    n = x0.shape[0]
    u = torch.rand(n, device=x0.device, generator=generator)
    u[::2] = 0.75 + 0.25 * u[::2]
    t = (u * len(alphas_bar)).long().clamp_max(len(alphas_bar) - 1)
    noise = torch.randn(x0.shape, device=x0.device, generator=generator)
    alpha = alphas_bar[t].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alphas_bar[t]).sqrt().view(-1, 1, 1, 1)
    return alpha * x0 + sigma * noise, t, alpha * noise - sigma * x0


def train(
    out: Path, seconds: float, batch_size: int, pool: int, rate: float, init: Path | None, seed: int
) -> None:
    """Train for `seconds` of wall time, set-up excluded; save the averaged weights under out."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl", device_id=device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(seed)  # the same initial weights on every rank
    tokenizer, scheduler = build_tokenizer(), build_scheduler()
    alphas_bar = scheduler.alphas_cumprod.to(device)
    model = Denoiser(len(tokenizer)).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = [p.detach().clone() for p in model.parameters()]
    gradient = flatten_gradients(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    state = _Checkpoint(out / "checkpoint", model, average, optimizer)
    step, spent = state.load()
    if init is not None and step == 0:
        state.load_folder(init)

    started = time.time()
    geometries = Geometries(tokenizer, device)
    images = Pool(geometries, pool, seed * 1000 + rank + 17 * step, compiled=True)
    torch.cuda.synchronize()
    if rank == 0:
        print(f"pool of {pool} views a GPU in {time.time() - started:.0f} s", flush=True)
    generator = torch.Generator(device).manual_seed(seed * 77 + rank + step)
    model.unet.compile()

    def one_step() -> Tensor:
        batch = images.batch(batch_size)
        z, t, v = noisy_batch(batch, alphas_bar, generator)
        with torch.autocast("cuda", torch.bfloat16):
            out_v = model(z, t, batch)
        loss = (out_v.float() - v).square().mean()
        gradient.zero_()
        loss.backward()
        if world > 1:
            dist.all_reduce(gradient, dist.ReduceOp.AVG)
        norm = gradient.norm()
        gradient.mul_((1.0 / norm).clamp_max(1.0))
        return loss.detach()

    one_step()  # compiles
    torch.cuda.synchronize()
    begin, saved = time.time() - spent, time.time()
    last, log = time.time(), 100
    total = torch.zeros((), device=device)
    if rank == 0:
        print(f"ready after {time.time() - started:.0f} s", flush=True)
    parameters: list[Tensor] = list(model.parameters())
    while True:
        share = torch.tensor((time.time() - begin) / seconds, device=device)
        if world > 1 and step % 10 == 0:
            dist.broadcast(share, 0)
        if step % 10 == 0:
            progress = float(share)
            if progress >= 1:
                break
        warm = min(1.0, (step + 1) / 300)
        lr = rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
        for group in optimizer.param_groups:
            group["lr"] = lr
        total += one_step()
        optimizer.step()
        step += 1
        torch._foreach_lerp_(average, parameters, 1 - min(0.9993, (1 + step) / (10 + step)))
        if step % log == 0 and rank == 0:
            rate_now = log * batch_size * world / (time.time() - last)
            mean = float(total) / log
            print(f"step {step} loss {mean:.5f} {rate_now:.0f} images/s {progress:.0%}", flush=True)
            total.zero_()
            last = time.time()
        if rank == 0 and time.time() - saved > 60:
            state.save(step, time.time() - begin)
            saved = time.time()
    if rank == 0:
        state.save(step, seconds)
        state.export(out / "weights", tokenizer, scheduler)
        images_seen = step * batch_size * world
        record = {
            "steps": step, "images": images_seen, "seconds": seconds, "gpus": world, "rate": rate,
            "batch": batch_size * world, "pool": pool * world,
            "gpu": torch.cuda.get_device_name(device),
            "started_from": None if init is None else "an earlier run's averaged weights",
        }  # fmt: skip
        (out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


class _Checkpoint:
    """Weights, their average and Adam's moments in one safetensors file."""

    def __init__(
        self, path: Path, model: Denoiser, average: list[Tensor], optimizer: torch.optim.Optimizer
    ) -> None:
        self.path, self.model, self.average, self.optimizer = path, model, average, optimizer
        self.names = [n for n, _ in model.named_parameters()]

    def save(self, step: int, spent: float) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for name, p, a in zip(self.names, self.model.parameters(), self.average, strict=True):
            tensors[f"weight.{name}"], tensors[f"average.{name}"] = p.detach(), a
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        tensors = {k: v.contiguous().cpu() for k, v in tensors.items()}
        target = self.path / "state.safetensors"
        save_file(tensors, f"{target}.tmp", metadata={"step": str(step), "spent": str(spent)})
        os.replace(f"{target}.tmp", target)

    def load(self) -> tuple[int, float]:
        """(step, seconds spent) of the checkpoint, or (0, 0) where there is none."""
        target = self.path / "state.safetensors"
        if not target.exists():
            return 0, 0.0
        from safetensors import safe_open

        tensors = load_file(target)
        with torch.no_grad():
            for name, p, a in zip(self.names, self.model.parameters(), self.average, strict=True):
                p.copy_(tensors[f"weight.{name}"])
                a.copy_(tensors[f"average.{name}"])
                self.optimizer.state[p] = {
                    key: tensors[f"adam.{key}.{name}"].to(p.device)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
        with safe_open(target, "pt") as file:
            meta = file.metadata()
        return int(meta["step"]), float(meta["spent"])

    def load_folder(self, folder: Path) -> None:
        """Start from the weights of a saved pipeline folder."""
        with torch.no_grad():
            for part in ("unet", "text_encoder"):
                (file,) = (folder / part).glob("*.safetensors")
                weights = load_file(file)
                for name, p in getattr(self.model, part).named_parameters():
                    if name == "conv_in.weight":  # a folder without ray maps lacks their channels
                        p.zero_()
                        p[:, : weights[name].shape[1]] = weights[name]
                    else:
                        p.copy_(weights[name])
            for a, p in zip(self.average, self.model.parameters(), strict=True):
                a.copy_(p)

    def export(self, folder: Path, tokenizer: Any, scheduler: Any) -> None:
        """Write the averaged weights as a pipeline folder."""
        with torch.no_grad():
            for p, a in zip(self.model.parameters(), self.average, strict=True):
                p.copy_(a)
        folder.mkdir(parents=True, exist_ok=True)
        save_folder(folder, self.model.unet, self.model.text_encoder, tokenizer, scheduler)


def main() -> None:
    """Train the prior from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--seconds", type=float, default=480, help="training time, set-up excluded")
    parser.add_argument("--batch", type=int, default=512, help="images a step on each GPU")
    parser.add_argument("--pool", type=int, default=150_000, help="traced views on each GPU")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--init", type=Path, help="pipeline folder to start from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.out, args.seconds, args.batch, args.pool, args.rate, args.init, args.seed)


if __name__ == "__main__":
    main()
