"""CUDA graphs: capture device work once, replay it, and bring numbers to it and back.

A captured function must read nothing but tensors whose memory stays where it is, and launch the
same kernels whatever they hold. `CudaGraphCache` captures and replays functions, and calls them
where capture is not possible. `AsyncReadback` brings numbers back without stopping the device.
Neither knows what is captured.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from dfast.errors import DfastWarning

Output = TypeVar("Output")

_FAILED_GRAPHS: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture failed. They are kept for the life of the process, since torch's allocator
may still refer to them."""


class _Entry:
    """One function of a cache: how often it was called, its graph, and the graph's output."""

    def __init__(self) -> None:
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.output: Any = None


class CudaGraphCache:
    """Functions by key, each called a few times, then captured in a CUDA graph, then replayed.

    All graphs share one memory pool, so they must not run at the same time; they are replayed on
    the caller's current stream. Off CUDA, or with `enabled` False, functions are simply called.

    Attributes:
        enabled: whether functions are captured; False after a capture failed.
        captures: number of graphs captured so far.
    """

    WARMUP = 3
    """Calls of a key before its capture, in which libraries allocate workspaces and choose kernels.
    torch's own examples use 3."""

    def __init__(
        self,
        device: torch.device,
        generators: Sequence[torch.Generator] = (),
        *,
        enabled: bool = True,
    ) -> None:
        """Make an empty cache.

        Args:
            device: where the functions run.
            generators: those of `device` that functions draw from, beside the default one. Each
                replay continues their streams, as plain calls would.
            enabled: False never captures.
        """
        self.device = device
        self.enabled = enabled and device.type == "cuda"
        self.captures = 0
        self._generators = list(generators)
        self._entries: dict[Hashable, _Entry] = {}
        if self.enabled:
            # Warm-up and capture share a stream, and with it cuBLAS's workspace.
            self._stream = torch.cuda.Stream(device)
            self._pool: Any = None

    def run(self, key: Hashable, function: Callable[[], Output]) -> Output:
        """Return the output of a function, by calling it or by replaying its CUDA graph.

        Where capture fails, for example because the function waits for the device, one warning
        gives the reason, and from then on everything is called.

        Args:
            key: stands for everything that changes the launches or the memory they touch.
            function: called in the first calls of a key and captured once; an error of its own in
                a plain call is raised.

        Returns:
            The output. Tensors that come from a graph are the same ones each time, and the next
            replay overwrites them.
        """
        if not self.enabled:
            return function()
        entry = self._entries.setdefault(key, _Entry())
        if entry.graph is None:
            if entry.calls < self.WARMUP:
                entry.calls += 1
                return self._warm_up(function)
            if not self._capture(entry, function):
                return function()
        assert entry.graph is not None
        entry.graph.replay()
        output: Output = entry.output
        return output

    def drop(self, which: Callable[[Any], bool] = lambda key: True) -> None:
        """Free the graphs whose key satisfies `which`, once they are no longer running."""
        kept = {key: entry for key, entry in self._entries.items() if not which(key)}
        if self._num_graphs(self._entries) > self._num_graphs(kept):
            done = torch.cuda.Event()
            done.record(torch.cuda.current_stream(self.device))
            done.synchronize()
        self._entries = kept

    @staticmethod
    def _num_graphs(entries: dict[Hashable, _Entry]) -> int:
        return sum(entry.graph is not None for entry in entries.values())

    def _warm_up(self, function: Callable[[], Output]) -> Output:
        """Call a function on the capture stream, ordered with the caller's stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            output = function()
        torch.cuda.current_stream(self.device).wait_stream(self._stream)
        return output

    def _capture(self, entry: _Entry, function: Callable[[], Output]) -> bool:
        """Capture without running. On failure nothing ran either, and False is returned."""
        index = torch.cuda.current_device() if self.device.index is None else self.device.index
        generators = [torch.cuda.default_generators[index], *self._generators]
        states = [generator.get_state() for generator in generators]
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        if not self._num_graphs(self._entries):
            # A pool that lost all its graphs cannot be used again.
            self._pool = torch.cuda.graph_pool_handle()
        try:
            with self._undisturbed():
                capture = torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                )
                with capture:
                    entry.output = function()
        except Exception as error:
            _FAILED_GRAPHS.append(graph)
            self._disable(_reason(error), generators, states)
            return False
        # torch clears the generators' offsets on the capture's stream, which the first replay on
        # another stream could overtake (seen with torch 2.11: draws of the stream's beginning).
        torch.cuda.current_stream(self.device).wait_stream(self._stream)
        entry.graph = graph
        self.captures += 1
        return True

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Keep all other device work out of a capture, and restore torch's settings after it."""
        collecting, sync_mode = gc.isenabled(), torch.cuda.get_sync_debug_mode()
        gc.disable()  # the collector may free device memory, which is illegal during a capture
        if sync_mode:  # torch itself synchronises before a capture
            torch.cuda.set_sync_debug_mode(0)
        try:
            with (
                torch.cuda.device(self.device),
                torch.cuda.stream(torch.cuda.current_stream(self.device)),
            ):
                yield
        finally:
            if sync_mode:
                torch.cuda.set_sync_debug_mode(sync_mode)
            if collecting:
                gc.enable()

    def _disable(
        self, reason: str, generators: list[torch.Generator], states: list[Tensor]
    ) -> None:
        """Give up capturing after a failure, and say why."""
        self.enabled = False
        for generator, state in zip(generators, states, strict=True):
            # A failed capture leaves a generator waiting for the end of the capture. A new state
            # frees it.
            fresh = torch.Generator(generator.device)
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh)
        self.drop()
        warnings.warn(
            f"the step cannot be captured in a CUDA graph and runs without one ({reason}); "
            "set train.cuda_graphs = false to avoid the attempt",
            DfastWarning,
            stacklevel=2,
        )


def _reason(error: BaseException) -> str:
    """Return the first line of the first error: ending a failed capture raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class AsyncReadback:
    """A small tensor on its way to the host, with the values of this point of the stream."""

    def __init__(self, values: Tensor) -> None:
        """Start the copy of `values`, which later work may overwrite."""
        cuda = values.device.type == "cuda"
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=cuda)
        self._host.copy_(values, non_blocking=True)
        self._arrived = torch.cuda.Event() if cuda else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(values.device))

    def read(self) -> Tensor:
        """Return the values on the host, after waiting for the copy but not for later work."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host
