"""Several runs step by step together: their images go through the prior in one batch.

A single run leaves most of a GPU idle, which here works on all scenes at once: each is rendered and
updated on a stream of its own, and one evaluation of the prior serves them all. Every run keeps its
scene, optimizer, randomness and state, so that a run of a group is the run that it would be alone,
up to rounding: a larger batch sums in another order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from dfast.errors import ConfigError, DfastError
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.training.cuda_graphs import CudaGraphCache
from dfast.training.trainer import Metrics, Step, Trainer


class Together:
    """Trainers of one prior and one configuration that step together.

    Attributes:
        trainers: those that still step, in the order that was given.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        """Form a group.

        Args:
            trainers: at the same step, on one device.

        Raises:
            ConfigError: if they cannot share the evaluations of a prior.
        """
        self.trainers = list(trainers)
        first = trainers[0]
        self.guidance = first.guidance
        for trainer in trainers:
            check_together(first, trainer)
        self._streams: list[torch.cuda.Stream] = []
        if first.device.type == "cuda":
            self._streams = [torch.cuda.Stream(first.device) for _ in trainers]
        self._regroup()

    def drop(self, trainer: Trainer) -> None:
        """Take a trainer out; the others go on."""
        self.trainers.remove(trainer)
        self._regroup()

    def _regroup(self) -> None:
        """Begin without CUDA graphs: those of another group hold its scenes."""
        generators = [trainer.generators.device for trainer in self.trainers]
        if self.trainers:
            self.graphs = CudaGraphCache(
                self.trainers[0].device,
                generators,
                enabled=self.trainers[0].config.train.cuda_graphs,
            )
        self._key: tuple[object, ...] = ()

    def train_step(self) -> list[Metrics | DfastError]:
        """Take one step of every run.

        Returns:
            The metrics of each trainer's step, see `Trainer.train_step`, or the error that ends
            that run.
        """
        steps = [trainer.begin_step() for trainer in self.trainers]
        found = self._run(self._alike(steps))
        ends: list[Metrics | DfastError] = []
        for trainer, metrics in zip(self.trainers, found, strict=True):
            try:
                ends.append(trainer.end_step(metrics))
            except DfastError as error:
                ends.append(error)
        return ends

    def _alike(self, steps: list[Step]) -> list[Step]:
        """Return steps that launch the same work, for which one CUDA graph serves.

        What one run needs, all compute: normals, and memory for as many samples.
        """
        lit = any(step.lit for step in steps)
        reserved = [step.max_samples for step in steps]
        known = [count for count in reserved if count is not None]
        most = max(known) if len(known) == len(reserved) else None
        return [step._replace(lit=lit, max_samples=most) for step in steps]

    def _run(self, steps: list[Step]) -> list[dict[str, Tensor]]:
        """Do the work of a step on the device, as a CUDA graph where that is possible."""
        first = steps[0]
        if not self.guidance.cuda_graph_safe or (self.graphs.enabled and first.max_samples is None):
            return self._device_step(steps)
        key = (first.size, first.max_samples, first.approximate)
        if key != self._key:  # sizes that were outgrown, and past phases, do not come back
            self.graphs.drop()
            self._key = key
        return self.graphs.run((*key, first.lit), lambda: self._device_step(steps))

    def _device_step(self, steps: list[Step]) -> list[dict[str, Tensor]]:
        """Compute the step of each run; nothing here may read tensors on the host."""
        renderings, encoded = [], []
        for i, (trainer, step) in enumerate(zip(self.trainers, steps, strict=True)):
            with self._branch(i):
                rendering, x = trainer.forward(step)
                renderings.append(rendering)
                encoded.append(x)
        self._join()
        gradients = self._gradients(steps, encoded)
        found = []
        each = zip(self.trainers, steps, renderings, encoded, gradients, strict=True)
        for i, (trainer, step, rendering, x, gradient) in enumerate(each):
            with self._branch(i):
                found.append(trainer.backward(step, rendering, x, gradient))
        self._join()
        return found

    def _gradients(self, steps: list[Step], encoded: list[Tensor]) -> Sequence[Tensor]:
        """Return the guidance's gradient of each run, from one evaluation of the prior."""
        guidances = [trainer.guidance for trainer in self.trainers]
        first, *others = (g for g in guidances if isinstance(g, DiffusionGuidance))
        generators = [trainer.generators.device for trainer in self.trainers]
        batches = [step.inputs.guidance_batch() for step in steps]
        return first.gradients(others, encoded, batches, generators)

    @contextmanager
    def _branch(self, index: int) -> Iterator[None]:
        """Work on a run's own stream, after all that was begun before."""
        if not self._streams:
            yield
            return
        stream = self._streams[index]
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            yield

    def _join(self) -> None:
        """Wait, on the device, for the work of all runs."""
        for stream in self._streams[: len(self.trainers)]:
            torch.cuda.current_stream(stream.device).wait_stream(stream)


def check_together(first: Trainer, other: Trainer) -> None:
    """Check that two runs can step together.

    Raises:
        ConfigError: if they cannot.
    """
    one, two = first.guidance, other.guidance
    if one is not two and first.config.guidance.variant == "vsd":
        raise ConfigError(
            "guidance.variant: expected another one than 'vsd' for runs that step together without "
            "being particles, each of which has a copy of the prior of its own"
        )
    if not isinstance(one, DiffusionGuidance) or not one.joins(two):
        raise ConfigError(
            f"prior: expected one that takes several prompts at once, got {first.prior_name!r}"
        )
    if (other.config, other.device, other.step) != (first.config, first.device, first.step):
        raise ConfigError("runs: expected one configuration, device and step, got several")
