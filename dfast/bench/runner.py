"""Run every case, one after the other. A case that fails leaves its message, the others go on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from dfast.bench import machine, peers, report, timing, trace
from dfast.bench.case import GATHERED, REFERENCE, Case
from dfast.bench.suite import LETTERS, cases
from dfast.bench.timing import Record

Say = Callable[[str], None]
"""Shows a line of progress."""


def run(
    device: torch.device,
    letters: str = LETTERS,
    *,
    quick: bool = False,
    out: Path | None = None,
    profile: Path | None = None,
    say: Say = print,
) -> list[Record]:
    """Measure workloads on a device.

    All times are taken first and (on CUDA) launches are counted after them, because launches are
    slower once the profiler has been used.

    Args:
        device: the device.
        letters: of the workloads.
        quick: sizes that take seconds.
        out: a file that is written after each case.
        profile: a folder for one Chrome trace a case.
        say: shows a line of progress.

    Returns:
        A record for each case.
    """
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    about = machine.describe(device) | {"ceilings": machine.ceilings(device)}
    todo = cases(device.type, letters, quick=quick)
    seconds = _seconds(device, quick)
    records: list[Record] = []
    for number, case in enumerate(todo, 1):
        named: Record = {"workload": case.workload, "variant": case.variant}
        found = _guarded(device, partial(timing.measure, case, device, seconds))
        records.append(named | found | about)
        ms = found.get("captured_ms") or found.get("wall_ms")
        shown = f"{ms:.4g} ms" if isinstance(ms, float) else f"failed: {found.get('error')}"
        say(f"[{number}/{len(todo)}] {case.workload}, {case.variant}: {shown}")
        _finish(records, out)
    sound = [(c, r) for c, r in zip(todo, records, strict=True) if "error" not in r]
    if device.type == "cuda":
        # The profiler sees into graphs that were recorded after its first use.
        _guarded(device, lambda: {"syncs": trace.own_waits()})
        for case, record in sound:
            found = _guarded(device, partial(_counted, case, device))
            record |= {"uncounted": found["error"]} if "error" in found else found
            _finish(records, out)
    if profile is not None:
        profile.mkdir(parents=True, exist_ok=True)
        for case, _ in sound:
            if case.variant in (REFERENCE, GATHERED):
                continue
            path = profile / f"{case.workload}-{case.variant.replace(' ', '-')}.json"
            found = _guarded(device, partial(_traced, case, device, path))
            say(str(path) if "error" not in found else f"{path}: {found['error']}")
    if absent := peers.missing():
        say(f"not installed, so not compared: {', '.join(absent)}")
    return records


def _seconds(device: torch.device, quick: bool) -> float:
    """Return how long each case is measured."""
    if device.type == "cuda":
        return 0.3 if quick else 0.6
    return 0.5 if quick else 4.0


def _finish(records: list[Record], out: Path | None) -> None:
    """Add rates to records and write them."""
    for record in records:
        if found := report.rates(record):
            record["gb_s"], record["tflop_s"] = found
            record["floor_ms"] = report.floor_ms(record)
    if out is not None:
        report.save(records, out)


def _guarded(device: torch.device, act: Callable[[], Record]) -> Record:
    """Return what `act` returns, or its error in one line."""
    try:
        return act()
    except Exception as error:  # any error of a case is that case's result
        lines = str(error).strip().splitlines() or [""]
        return {"error": f"{type(error).__name__}: {lines[0]}"[:300]}
    finally:
        gc.collect()
        if device.type == "cuda":
            with suppress(RuntimeError):  # after a device fault every call fails
                torch.cuda.empty_cache()


def _counted(case: Case, device: torch.device) -> Record:
    """Return the launches and waits of a case."""
    call, _, _ = timing.prepare(case, case.build(device), device)
    counted = trace.count(call)
    return {} if counted is None else dict(counted._asdict())


def _traced(case: Case, device: torch.device, path: Path) -> Record:
    """Write a Chrome trace of a case."""
    work = case.build(device)
    call = work.run if device.type == "cpu" else timing.prepare(case, work, device)[0]
    trace.write(call, path)
    return {}
