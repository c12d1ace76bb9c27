"""The loop that trains a network: running average, checkpoints, a budget of time."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfast.priors.embedded.checkpoint import Checkpoint
from dfast.priors.embedded.distributed import ProcessGroup, flatten_gradients
from dfast.priors.embedded.training.muon import Muon

LOG_EVERY = 100
"""Steps between printed lines."""
SAVE_SECONDS = 60.0
"""Seconds between checkpoints."""
MUON_RATE = 10.0
"""Learning rate of Muon over that of AdamW, whose steps have other lengths."""


@dataclass(frozen=True)
class Options:
    """What the command line sets."""

    out: Path
    """folder of checkpoint and weights"""
    seconds: float
    """training time, setup excluded"""
    batch: int
    """images a step on each GPU"""
    pool: int
    """traced views on each GPU"""
    rate: float
    """peak learning rate"""
    seed: int


class TrainingLoop(ABC):
    """Model and optimizers of one process, and the step that trains them."""

    warmup = 300
    """Steps in which the learning rate rises."""
    largest_decay = 0.9993
    """Of the running average."""
    items = "images"
    """What a batch is made of."""

    def __init__(
        self,
        options: Options,
        group: ProcessGroup,
        model: nn.Module,
        parameters: Iterable[Any],
        weight_decay: float = 0.01,
        matrices: Sequence[nn.Parameter] = (),
    ) -> None:
        """Prepare the training, and continue from a checkpoint if there is one.

        Args:
            options: of the command line.
            group: the processes that train together.
            model: on the device of the group, the same in every process.
            parameters: that AdamW trains, or groups of them with a weight decay of their own.
            weight_decay: of the others.
            matrices: that Muon trains, the other parameters of the model.
        """
        self.options, self.group, device = options, group, group.device
        self.model = model
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.gradient = flatten_gradients(self.model)
        adam = torch.optim.AdamW(
            parameters,
            lr=options.rate,
            betas=(0.9, 0.98),
            weight_decay=weight_decay,
            fused=True,
            capturable=device.type == "cuda",
        )
        self.optimizers: list[torch.optim.Optimizer] = [adam]
        if matrices:
            self.optimizers.append(Muon(matrices, MUON_RATE * options.rate))
        # The schedule is on the device, where a CUDA graph reads it anew in every replay.
        self.rates = [torch.zeros((), device=device) for _ in self.optimizers]
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for parameter_group in optimizer.param_groups:
                parameter_group["lr"] = rate
        self.toward = torch.zeros((), device=device)
        """One less the decay of the running average."""
        self.checkpoint = Checkpoint(
            options.out / "checkpoint", self.model, self.average, self.optimizers
        )
        self.step, self.spent = self.checkpoint.load()
        seed = options.seed * 77 + group.rank + self.step
        self.generator = torch.Generator(device).manual_seed(seed)
        self.dropped = torch.zeros((), dtype=torch.int64, device=device)
        self.graphs: tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph] | None = None

    @abstractmethod
    def loss(self) -> Tensor:
        """Return the loss of a new batch, with its graph."""

    def print(self, line: str) -> None:
        """Print a line in the first process."""
        if self.group.is_first:
            print(line, flush=True)

    def _backward(self) -> Tensor:
        """Fill the gradient of one batch of this process, and return the loss."""
        loss = self.loss()
        self.gradient.zero_()
        loss.backward()
        return loss.detach()

    @abstractmethod
    def generators(self) -> list[torch.Generator]:
        """Return what `loss` draws from, beside `generator`."""

    def _tensors(self) -> list[Tensor]:
        """Return all that a step changes, beside the gradient."""
        moments = [t for o in self.optimizers for state in o.state.values() for t in state.values()]
        own = (*self.model.parameters(), *self.model.buffers())
        return [*own, *self.average, *moments, self.dropped]

    def _warm_up(self) -> None:
        """Take steps and undo them: after that, nothing is left to compile or to allocate."""
        before = self._tensors()
        copies = [t.detach().clone() for t in before]
        for _ in range(3):
            self._backward()
            self._update()
        known = {id(t) for t in before}
        with torch.no_grad():
            for tensor in self._tensors():
                if id(tensor) not in known:  # a moment that the first step made from zeros
                    tensor.zero_()
            for tensor, copy in zip(before, copies, strict=True):
                tensor.copy_(copy)

    def capture(self) -> None:
        """Compile, then capture the two halves of a step in CUDA graphs.

        The device finishes a step of a small network sooner than Python can launch its thousands of
        kernels. Between the halves processes average their gradients.
        """
        stream = torch.cuda.Stream()
        generators = (self.generator, *self.generators())
        states = [generator.get_state() for generator in generators]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._warm_up()
        torch.cuda.synchronize()
        backward, update = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
            backward.register_generator_state(generator)
        with torch.cuda.graph(backward, stream=stream):
            self.captured = self._backward()
        with torch.cuda.graph(update, stream=stream):
            self._update()
        torch.cuda.synchronize()
        self.graphs = backward, update

    def _schedule(self, progress: float) -> None:
        """Set the learning rates and the decay of the running average for the next step."""
        warmup = min(1.0, (self.step + 1) / self.warmup)
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            rate.fill_(optimizer.defaults["lr"] * warmup * cosine)
        after = self.step + 1
        self.toward.fill_(1 - min(self.largest_decay, (1 + after) / (10 + after)))

    def train_step(self, progress: float) -> Tensor:
        """Take one step, and return the loss.

        Args:
            progress: fraction of the time budget that has passed.
        """
        self._schedule(progress)
        if self.graphs is None:
            loss = self._backward()
            self.group.average(self.gradient)
            self._update()
        else:
            backward, update = self.graphs
            backward.replay()
            loss = self.captured
            self.group.average(self.gradient)
            update.replay()
        self.step += 1
        return loss

    @torch.no_grad()
    def _update(self) -> None:
        """Take a step along the gradient, clipped to norm 1 or dropped."""
        norm = self.gradient.norm()
        # One batch that overflows must not end the training: its gradient is dropped, and counted.
        finite = norm.isfinite()
        self.dropped.add_(~finite)
        self.gradient.mul_((1.0 / norm).clamp_max(1.0)).masked_fill_(~finite, 0.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.constrain()
        parameters: list[Tensor] = list(self.model.parameters())
        change = torch._foreach_sub(parameters, self.average)
        torch._foreach_mul_(change, self.toward)
        torch._foreach_add_(self.average, change)

    @torch.no_grad()
    def copy_average(self, model: nn.Module) -> None:
        """Give a model the running averages of the trained one's parameters.

        Args:
            model: with the same parameters; it may be the trained one.
        """
        for parameter, average in zip(model.parameters(), self.average, strict=True):
            parameter.copy_(average)

    def constrain(self) -> None:
        """Bring parameters back to where they may be; by default they may be anywhere."""
        return

    def run(self) -> None:
        """Train for `options.seconds` of wall time, setup excluded.

        Raises:
            RuntimeError: if more than one in a hundred steps had no finite gradient.
        """
        options, group = self.options, self.group
        started = time.time()
        if group.device.type == "cuda":
            self.capture()
        begin, saved, logged = time.time() - self.spent, time.time(), time.time()
        total = torch.zeros((), device=group.device)
        self.print(f"ready after {time.time() - started:.0f} s")
        progress = 0.0
        while True:
            if self.step % 10 == 0:  # all processes stop after the same step
                elapsed = torch.tensor((time.time() - begin) / options.seconds, device=group.device)
                group.broadcast(elapsed)
                progress = float(elapsed)
                if progress >= 1:
                    break
            total += self.train_step(progress)
            if self.step % LOG_EVERY == 0 and group.is_first:
                mean = float(total) / LOG_EVERY  # waits for the device, so that times are true
                speed = LOG_EVERY * options.batch * group.size / (time.time() - logged)
                line = f"step {self.step} loss {mean:.5f} {speed:.0f} {self.items}/s"
                self.print(f"{line} {progress:.0%}")
                self._check(int(self.dropped))
                total.zero_()
                logged = time.time()
            if group.is_first and time.time() - saved > SAVE_SECONDS:
                self.checkpoint.save(self.step, time.time() - begin)
                saved = time.time()

    def _check(self, dropped: int) -> None:
        """Tell of gradients that were dropped, and stop when they are many.

        Raises:
            RuntimeError: if more than one in a hundred steps had no finite gradient.
        """
        if dropped:
            self.print(f"{dropped} gradients of {self.step} were not finite and dropped")
        if dropped > max(3, self.step // 100):
            raise RuntimeError(f"{dropped} gradients of {self.step} were not finite")

    def record(self) -> dict[str, Any]:
        """Return what is written about the training."""
        options, group = self.options, self.group
        on_gpu = group.device.type == "cuda"
        return {
            "steps": self.step,
            "dropped": int(self.dropped),
            self.items: self.step * options.batch * group.size,
            "seconds": options.seconds,
            "gpus": group.size,
            "rate": options.rate,
            "batch": options.batch * group.size,
            "pool": options.pool * group.size,
            "gpu": torch.cuda.get_device_name(group.device) if on_gpu else "none",
        }
