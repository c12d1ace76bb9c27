"""What an estimate says, as values and as a table."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfast._numbers import amount
from dfast.runs.announce import duration
from dfast.runs.plan import Round
from dfast.runs.step_cost import peak_bytes


@dataclass(frozen=True)
class Estimate:
    """What the runs of a call would take; `str` makes a table of it.

    Where several are side by side, bytes and operations are those of the fullest round. Of several
    processes they are those of one.
    """

    prior: str
    """Name of the prior."""
    device: str
    """Where the runs would be."""
    weights: dict[str, int]
    """Bytes on the device of each network of a step; all runs share them."""
    working: dict[str, int]
    """Bytes that come and go in a step, by what they are for."""
    reading: int
    """Bytes of the text encoders on the device, before the networks load."""
    state: int
    """Bytes of fields, optimisers and occupancy grids."""
    flops: dict[str, float]
    """Operations of each network in a step."""
    seconds_per_step: float
    """A step of the runs that are side by side, mean over a run."""
    steps: int
    """Steps of a run."""
    free: int | None
    """Bytes free on the device now, where that is known."""
    suggestions: tuple[str, ...]
    """Settings that would lower the memory, the cheapest first."""
    note: str = ""
    """What else to know."""
    libraries: int = 0
    """Bytes beside tensors."""
    objects: int = 1
    """Results."""
    at_once: int = 1
    """Runs side by side, at most."""
    ranks: int = 1
    """Processes that make an object together."""
    rounds: tuple[Round, ...] = ()
    """What runs one after the other; none is one run alone."""
    disk: int = 0
    """Bytes of all files."""
    starting: float = 0.0
    """Seconds that the first steps of the runs that are side by side take beyond others: on CUDA
    their operators are called one by one until they are recorded."""
    spare: int = 0
    """Bytes of tensors that torch keeps where memory is free, and gives up where it is not."""

    exporting: int = 0
    """Bytes that come and go when mesh and pictures are made, after the steps."""

    @property
    def needed(self) -> int:
        """Most bytes on the device at once without what torch gives up where memory is short."""
        return self._bytes(0)

    @property
    def peak(self) -> int:
        """Most bytes on the device at once; on a CPU those of all processes."""
        return self._bytes(self.spare)

    def _bytes(self, spare: int) -> int:
        """Return the most bytes on the device, with so many bytes of tensors to spare."""
        kind = torch.device(self.device).type
        tensors = self.state + sum(self.working.values()) + spare
        one = peak_bytes(kind, self.weights, tensors, self.reading, self.libraries)
        if self.exporting:
            after = peak_bytes(kind, self.weights, self.state, 0, self.libraries)
            one = max(one, after + self.exporting)
        return one * self.ranks if kind == "cpu" else one

    @property
    def seconds(self) -> float:
        """All steps, without loading and what is written when they are done."""
        if not self.rounds:
            return self.steps * self.seconds_per_step + self.starting
        return sum(part.steps * part.seconds_per_step + part.start_seconds for part in self.rounds)

    def __str__(self) -> str:
        rows = [(f"{name} weights", size(n)) for name, n in self.weights.items()]
        rows += [("field, optimiser, occupancy", size(self.state))]
        rows += [(name, size(n)) for name, n in self.working.items()]
        rows += [("text encoders, before the rest", size(self.reading))] if self.reading else []
        rows += [("export, after the steps", size(self.exporting))] if self.exporting else []
        rows += [("together, about", size(self.peak))]
        rows += [("where less is free", size(self.needed))] if self.spare else []
        rows += [(f"{name}, a step", f"{n / 1e12:.2f} TFLOP") for name, n in self.flops.items()]
        side = f" of {self.at_once} runs" if self.at_once > 1 else ""
        rows += [(f"a step{side}", duration(self.seconds_per_step))]
        rows += [("first steps, beyond others", duration(self.starting))] if self.starting else []
        every = f", {self.objects} objects" if self.objects > 1 else ""
        rows += [(amount(self.steps, "step") + every, duration(self.seconds))]
        rows += [("files", size(self.disk))] if self.disk else []
        lines = [
            f"estimate for {self.prior} on {self.device}{self._how()}; a run may differ by a third"
        ]
        lines += [f"  {name:32}{value:>14}" for name, value in rows]
        if self.free is not None and self.needed > self.free:
            advice = "; ".join(self.suggestions)
            lines.append(f"warning: {size(self.free)} are free on {self.device}. {advice}")
        return "\n".join([*lines, self.note] if self.note else lines)

    def _how(self) -> str:
        """Return how the objects are made, as text."""
        if self.ranks > 1:
            return f", one of {self.ranks} processes"
        if self.objects > 1:
            return f", {self.objects} objects, {self.at_once} side by side"
        return f", the best of {self.at_once} seeds" if self.at_once > 1 else ""


def size(count: float) -> str:
    """Return a number of bytes as text.

    Args:
        count: the number.
    """
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
