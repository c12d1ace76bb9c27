"""The inputs of a run's steps, drawn many steps ahead, and brought to a fixed place on the device.

Drawing one step's inputs takes the host longer than launching its CUDA graph. The steps are drawn
in chunks, each from a seed of its own, so that the inputs of a step depend on the run's seed and
the step's number alone: a run that is resumed needs no more state for them than its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from dfast.scene.tree import replace_tensors, tensors_of
from dfast.training.step_inputs import StepInputs

CHUNK = 32
"""Steps that are drawn together."""
ALIGNMENT = 16
"""Bytes; each tensor starts at a multiple of it, which suits every dtype and vector loads."""

Draw = Callable[[range, torch.Generator], StepInputs]
"""Draws the inputs of some steps on the host, each tensor with a first axis for the steps."""


class InputStream:
    """The inputs of steps by their number."""

    def __init__(self, seed: int, device: torch.device, draw: Draw) -> None:
        """Make a stream; nothing is drawn yet.

        Args:
            seed: of the run.
            device: where the inputs go.
            draw: see `Draw`; shapes and dtypes must not change.
        """
        self._seed, self._device, self._draw = seed, device, draw
        self._first = -1
        self._rows: Tensor = torch.empty(0)
        self._lit: list[bool] = []
        self._buffer: Tensor | None = None
        self._inputs: dict[bool, StepInputs] = {}

    def reseed(self, seed: int) -> None:
        """Go on with the inputs of a run of another seed, in the same tensors."""
        self._seed, self._first = seed, -1

    def at(self, step: int) -> StepInputs:
        """Return the inputs of a step, on the device, in the order of its current stream.

        The tensors are the same ones every time, and the next call overwrites them.

        Args:
            step: number of the step, from 0.
        """
        row = step % CHUNK
        if step - row != self._first:
            self._load(step - row)
        assert self._buffer is not None
        self._buffer.copy_(self._rows[row])
        return self._inputs[self._lit[row]]

    def _load(self, first: int) -> None:
        """Draw a chunk, and begin to copy it to the device."""
        # A multiplicative hash keeps the chunks of neighbouring seeds apart.
        mixed = (self._seed * 0x9E3779B97F4A7C15 + first * 0xBF58476D1CE4E5B9) % 2**63
        drawn = self._draw(range(first, first + CHUNK), torch.Generator().manual_seed(mixed))
        tensors = tensors_of(drawn)
        starts, size = [], 0
        for tensor in tensors:
            starts.append(size)
            bytes_of_row = tensor[0].numel() * tensor.element_size()
            size += math.ceil(bytes_of_row / ALIGNMENT) * ALIGNMENT
        if self._buffer is None:
            self._buffer = torch.empty(size, dtype=torch.uint8, device=self._device)
            views = [
                _view(self._buffer[None], start, t)[0]
                for start, t in zip(starts, tensors, strict=True)
            ]
            inputs = replace_tensors(drawn, views)
            for lit in (False, True):
                lighting = replace(inputs.lighting, lit=lit)
                self._inputs[lit] = replace(inputs, lighting=lighting)
        # torch's allocator reuses freed pinned memory only after the copy from it is done.
        pinned = self._device.type == "cuda"
        host = torch.empty(CHUNK, size, dtype=torch.uint8, pin_memory=pinned)
        for start, tensor in zip(starts, tensors, strict=True):
            _view(host, start, tensor).copy_(tensor)
        self._rows = host.to(self._device, non_blocking=True)
        self._lit = (drawn.lighting.diffuse != 0).any(1).tolist()
        self._first = first


def _view(rows: Tensor, start: int, like: Tensor) -> Tensor:
    """Return a column of rows of bytes as tensors of a shape and dtype.

    Args:
        rows: uint8 [S, bytes].
        start: first byte of the column.
        like: [*, ...], whose rows have the shape and dtype.
    """
    count = like[0].numel() * like.element_size()
    return rows[:, start : start + count].view(like.dtype).unflatten(1, like.shape[1:])
