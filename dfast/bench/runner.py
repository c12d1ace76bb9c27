"""Run every case, one after the other, and keep the records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import torch

from dfast.bench import machine, peers, report
from dfast.bench.apart import findings_apart
from dfast.bench.case import Case
from dfast.bench.measurement import TIMES, Finding, findings
from dfast.bench.suite import LETTERS, cases
from dfast.bench.timing import Record
from dfast.errors import ConfigError

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

    Args:
        device: the device.
        letters: of the workloads.
        quick: sizes that take seconds.
        out: a file that is written after each case.
        profile: a folder for one Chrome trace a case.
        say: shows a line of progress.

    Returns:
        A record for each case. Of a peer whose process crashed, cases that did not run have none.

    Raises:
        ConfigError: the workloads have no cases here.
    """
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    todo = cases(device.type, letters, quick=quick)
    if not todo:
        raise ConfigError(
            f"--workloads: expected one with cases here, got {','.join(letters)!r} (F needs "
            "diffusers, and on a CPU --quick)"
        )
    about = machine.describe(device) | {"ceilings": machine.ceilings(device)}
    records: dict[tuple[str, str], Record] = {}
    for workload, variant, phase, found in _all_findings(todo, device, quick, profile):
        if found is None:
            continue
        case = f"{workload}, {variant}"
        if phase == TIMES:
            records[workload, variant] = {"workload": workload, "variant": variant} | found | about
            say(f"[{len(records)}/{len(todo)}] {case}: {_shown(found)}")
        else:
            records[workload, variant] |= found
            if "trace" in found:
                say(str(found["trace"]))
            elif phase in found:
                say(f"{case}: {report.FAILED[phase]}: {found[phase]}")
        _finish(list(records.values()), out)
    if absent := peers.missing():
        say(f"not installed, so not compared: {', '.join(absent)}")
    return list(records.values())


def _all_findings(
    todo: list[Case], device: torch.device, quick: bool, profile: Path | None
) -> Iterator[Finding]:
    """Yield the findings of the cases that run here, then of each peer's."""
    who = attrgetter("apart", "variant")
    yield from findings([c for c in todo if not c.apart], device, quick=quick, profile=profile)
    for _, group in groupby(sorted((c for c in todo if c.apart), key=who), who):
        yield from findings_apart(list(group), device, quick=quick, profile=profile)


def _shown(found: Record) -> str:
    """Return the time of a case, or why it has none."""
    ms = report.milliseconds(found)
    return f"failed: {found.get(TIMES)}" if ms is None else f"{ms:.4g} ms"


def _finish(records: list[Record], out: Path | None) -> None:
    """Add rates to records and write them."""
    for record in records:
        if found := report.rates(record):
            record["gb_s"], record["tflop_s"] = found
            record["floor_ms"] = report.floor_ms(record)
    if out is not None:
        report.save(records, out)
