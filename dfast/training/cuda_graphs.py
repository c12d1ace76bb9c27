"""Device work recorded once and replayed: CUDA graphs, and how numbers reach them.

A recorded function must read nothing but tensors whose memory stays where it is, and launch the
same kernels whatever they hold. `StagingBuffer` gives host numbers such a place; `CudaGraphCache` records,
replays, and goes on without recording where that is not possible; `AsyncReadback` brings numbers back
without stopping the device. None of them knows what is recorded.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

Made = TypeVar("Made")

_WRECKS: list[torch.cuda.CUDAGraph] = []
"""CudaGraphCache whose recording failed; torch's allocator may go on looking at them."""


class _Entry:
    """What is known of one key."""

    def __init__(self) -> None:
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.made: Any = None


class CudaGraphCache:
    """Functions of fixed tensors by key, each run a few times, then recorded, then replayed.

    All graphs share one pool of memory, so they must not run at the same time; they are replayed on
    the caller's current stream. Off CUDA, or with `enabled` False, functions are simply called.

    Attributes:
        enabled: False once a recording failed, or if it was never asked for.
        captures: how many recordings were made.
    """

    WARMUP = 3
    """Calls of a key that run as they are, so that libraries set themselves up outside a graph."""

    def __init__(
        self,
        device: torch.device,
        generators: Sequence[torch.Generator] = (),
        *,
        enabled: bool = True,
    ) -> None:
        """generators: those of `device` that recorded functions draw from; each replay draws on
        where the last one ended, as plain calls would.
        """
        self.device = device
        self.enabled = enabled and device.type == "cuda"
        self.captures = 0
        self._generators = list(generators)
        self._entries: dict[Hashable, _Entry] = {}
        if self.enabled:
            # Warm-up and recording share a stream, hence also cuBLAS's workspaces.
            self._stream = torch.cuda.Stream(device)
            self._pool: Any = None

    def run(self, key: Hashable, function: Callable[[], Made]) -> Made:
        """What `function` makes, by calling it or by replaying the recording of an earlier call.

        key: stands for everything that changes the launches or the memory they touch. Tensors that
        come from a recording are the same ones each time, and the next replay writes over them.

        Where recording fails, because the function waits for the device for example, a warning says
        why, once, and from then on everything is called. An error of the function's own is raised.
        """
        if not self.enabled:
            return function()
        entry = self._entries.setdefault(key, _Entry())
        if entry.graph is None:
            if entry.calls < self.WARMUP:
                entry.calls += 1
                return self._aside(function)
            if not self._record(entry, function):
                return function()
        assert entry.graph is not None
        entry.graph.replay()
        made: Made = entry.made
        return made

    def drop(self, which: Callable[[Any], bool] = lambda key: True) -> None:
        """Forget the recordings whose key satisfies `which`."""
        kept = {key: entry for key, entry in self._entries.items() if not which(key)}
        if self._recorded(self._entries) > self._recorded(kept):
            done = torch.cuda.Event()  # of what may still be running
            done.record(torch.cuda.current_stream(self.device))
            done.synchronize()
        self._entries = kept

    @staticmethod
    def _recorded(entries: dict[Hashable, _Entry]) -> int:
        return sum(entry.graph is not None for entry in entries.values())

    def _aside(self, function: Callable[[], Made]) -> Made:
        """Call it on the recording stream, in order with the caller's."""
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            made = function()
        torch.cuda.current_stream(self.device).wait_stream(self._stream)
        return made

    def _record(self, entry: _Entry, function: Callable[[], Made]) -> bool:
        """Record without running. On failure nothing was run either, and False is returned."""
        index = torch.cuda.current_device() if self.device.index is None else self.device.index
        generators = [torch.cuda.default_generators[index], *self._generators]
        states = [generator.get_state() for generator in generators]
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        if not self._recorded(self._entries):
            self._pool = torch.cuda.graph_pool_handle()  # one that lost all its graphs is no use
        try:
            with self._quiet():
                recording = torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                )
                with recording:
                    entry.made = function()
        except Exception as error:
            _WRECKS.append(graph)
            self._give_up(_reason(error), generators, states)
            return False
        entry.graph = graph
        self.captures += 1
        return True

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Nothing else happens to the device inside, and nothing torch set stays set on failure."""
        collecting, watching = gc.isenabled(), torch.cuda.get_sync_debug_mode()
        gc.disable()  # what it frees may not be freed during a recording
        if watching:  # torch itself waits before it records
            torch.cuda.set_sync_debug_mode(0)
        try:
            with (
                torch.cuda.device(self.device),
                torch.cuda.stream(torch.cuda.current_stream(self.device)),
            ):
                yield
        finally:
            if watching:
                torch.cuda.set_sync_debug_mode(watching)
            if collecting:
                gc.enable()

    def _give_up(
        self, reason: str, generators: list[torch.Generator], states: list[Tensor]
    ) -> None:
        self.enabled = False
        for generator, state in zip(generators, states, strict=True):
            # A recording that failed leaves them waiting for its end: give them a new state.
            fresh = torch.Generator(generator.device)
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh)
        self.drop()
        warnings.warn(
            f"the step cannot be recorded in a CUDA graph and runs without one ({reason}); "
            "set train.capture = false to say so beforehand",
            RuntimeWarning,
            stacklevel=2,
        )


def _reason(error: BaseException) -> str:
    """One line on what came first: ending a broken recording fails as well."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class StagingBuffer:
    """A fixed place on a device for some small tensors, filled by one copy that nobody waits for.

    The first `send` decides shapes and dtypes for good.
    """

    ALIGNMENT = 16

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._layout: list[tuple[tuple[int, ...], torch.dtype, int, int]] = []
        self._bytes = 0
        self._buffer: Tensor | None = None
        self._views: list[Tensor] = []

    def send(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The same values on the device, in the order of its current stream; the same tensors every
        time, which the next `send` writes over.

        Raises ValueError when shapes or dtypes are not those of the first call.
        """
        if self._buffer is None:
            self._arrange(tensors)
        assert self._buffer is not None
        got = [(tuple(tensor.shape), tensor.dtype) for tensor in tensors]
        if got != [(shape, dtype) for shape, dtype, *_ in self._layout]:
            raise ValueError(f"tensors must be like those of the first call, got {got}")
        # Pinned memory that is let go of is given out again only when its copy is done.
        host = torch.empty(self._bytes, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for place, tensor in zip(self._split(host), tensors, strict=True):
            place.copy_(tensor)
        self._buffer.copy_(host, non_blocking=True)
        return self._views

    def _arrange(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            self._layout.append((tuple(tensor.shape), tensor.dtype, self._bytes, size))
            self._bytes += math.ceil(size / self.ALIGNMENT) * self.ALIGNMENT
        self._buffer = torch.empty(self._bytes, dtype=torch.uint8, device=self.device)
        self._views = self._split(self._buffer)

    def _split(self, flat: Tensor) -> list[Tensor]:
        return [
            flat[start : start + size].view(dtype).view(shape)
            for shape, dtype, start, size in self._layout
        ]


class AsyncReadback:
    """A small tensor on its way to the host, as it is at this point of the current stream."""

    def __init__(self, values: Tensor) -> None:
        cuda = values.device.type == "cuda"
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=cuda)
        self._host.copy_(values, non_blocking=True)
        self._arrived = torch.cuda.Event() if cuda else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(values.device))

    def read(self) -> Tensor:
        """The values on the host, once they are there; later work on the device goes on."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host
