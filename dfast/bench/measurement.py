"""What is measured of cases, and in which order. A case that fails leaves its message."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from dfast.bench import timing, trace
from dfast.bench.case import GATHERED, REFERENCE, Case
from dfast.bench.timing import Record

TIMES, COUNTS, TRACE = "error", "uncounted", "untraced"
"""The phases of a measurement. Each is named by the key of a record that tells why it failed."""


class Finding(NamedTuple):
    """What a phase found out about a case."""

    workload: str
    variant: str
    phase: str
    """One of the above."""
    found: Record | None
    """Belongs in the record of the case; None says that the phase begins."""


def findings(
    todo: Iterable[Case], device: torch.device, *, quick: bool, profile: Path | None
) -> Iterator[Finding]:
    """Yield the beginning and the result of each phase of each case.

    All times are taken first and (on CUDA) launches are counted after them, because launches are
    slower once the profiler has been used.

    Args:
        todo: the cases.
        device: where they run.
        quick: measure for a shorter time.
        profile: a folder for one Chrome trace a case.
    """
    seconds = _seconds(device, quick)
    sound: list[Case] = []

    def phase(name: str, case: Case, act: Callable[[], Record]) -> Iterator[Finding]:
        yield Finding(case.workload, case.variant, name, None)
        found = _guarded(device, name, act)
        if name == TIMES and name not in found:
            sound.append(case)
        yield Finding(case.workload, case.variant, name, found)

    for case in todo:
        yield from phase(TIMES, case, partial(timing.measure, case, device, seconds))
    if device.type == "cuda":
        for case in sound:
            yield from phase(COUNTS, case, partial(_counted, case, device))
    if profile is not None:
        for case in sound:
            if case.variant not in (REFERENCE, GATHERED):
                yield from phase(TRACE, case, partial(_traced, case, device, profile))


def _seconds(device: torch.device, quick: bool) -> float:
    """Return how long each case is measured."""
    if device.type == "cuda":
        return 0.3 if quick else 0.6
    return 0.5 if quick else 4.0


def _guarded(device: torch.device, phase: str, act: Callable[[], Record]) -> Record:
    """Return what `act` returns, or its error in one line."""
    try:
        return act()
    except Exception as error:  # any error of a case is that case's result
        return {phase: error_line(error)}
    finally:
        gc.collect()
        if device.type == "cuda":
            with suppress(RuntimeError):  # after a device fault every call fails
                torch.cuda.empty_cache()


def error_line(error: Exception) -> str:
    """Return an error in one line of at most 300 characters."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def _counted(case: Case, device: torch.device) -> Record:
    """Return the launches and waits of a case."""
    trace.own_waits()  # the profiler sees into graphs that were recorded after its first use
    call, _, _ = timing.prepare(case, case.build(device), device)
    counted = trace.count(call)
    return {} if counted is None else dict(counted._asdict())


def _traced(case: Case, device: torch.device, folder: Path) -> Record:
    """Write a Chrome trace of a case, and return its file."""
    path = folder / f"{case.workload}-{case.variant.replace(' ', '-')}.json"
    work = case.build(device)
    call = work.run if device.type == "cpu" else timing.prepare(case, work, device)[0]
    folder.mkdir(parents=True, exist_ok=True)
    trace.write(call, path)
    return {"trace": str(path)}
