"""The records of a run as a file and as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from dfast._files import replacing
from dfast.bench.case import DFAST, EAGER, GATHERED, REFERENCE
from dfast.bench.measurement import COUNTS, TIMES, TRACE
from dfast.bench.suite import TITLES

Record = Mapping[str, object]
"""Numbers of one case by name."""
COLUMNS = (
    "workload",
    "dfast",
    "eager",
    "torch",
    "reference",
    "ratio",
    "GB/s",
    "TFLOP/s",
    "launches",
    "MiB",
)
FAILED = {TIMES: "failed", COUNTS: "launches not counted", TRACE: "no trace"}
"""How a phase that failed is called."""


def save(records: Sequence[Record], path: Path) -> None:
    """Write records as a JSON list, one a line, atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    lines = ",\n".join(json.dumps(record) for record in records)
    with replacing(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def milliseconds(record: Record) -> float | None:
    """Return the time of a case: of its CUDA graph, else the host's; None if it has none."""
    ms = record.get("captured_ms") or record.get("wall_ms")
    return ms if isinstance(ms, float) else None


def rates(record: Record) -> tuple[float, float] | None:
    """Return GB/s and TFLOP/s of the workload's own bytes and operations.

    The time is that of the CUDA graph, else the device's, else the host's; without any the rates
    are None.
    """
    ms = record.get("captured_ms") or record.get("gpu_ms") or record.get("wall_ms")
    if not isinstance(ms, int | float) or ms <= 0:
        return None
    bytes_, flops = record.get("bytes") or 0, record.get("flops") or 0
    assert isinstance(bytes_, int) and isinstance(flops, int)
    return round(bytes_ / ms / 1e6, 3), round(flops / ms / 1e9, 6)


def floor_ms(record: Record) -> float | None:
    """Return the milliseconds that the workload takes at the machine's best rates.

    That is the larger of the times of its bytes and of its operations; None if they are unknown.
    """
    ceilings, bytes_, flops = record.get("ceilings"), record.get("bytes"), record.get("flops")
    if not isinstance(ceilings, Mapping) or not isinstance(bytes_, int):
        return None
    assert isinstance(flops, int)
    products = max(v for key, v in ceilings.items() if key.endswith("tflop_s"))
    return round(max(bytes_ / ceilings["copy_gb_s"] / 1e6, flops / products / 1e9), 6)


def place(about: Record) -> str:
    """Return the machine of a record and its torch."""
    where = about["gpu"] or f"{about['processor']}, {about['threads']} threads"
    return f"{where}, torch {about['torch']}"


def heading(records: Sequence[Record]) -> str:
    """Return where this was measured and what the columns of the table mean."""
    about = records[0]
    best = about["ceilings"]
    assert isinstance(best, Mapping)
    ceilings = ", ".join(f"{key.replace('_', ' ', 1)} {value:g}" for key, value in best.items())
    return (
        f"{place(about)}, {about['date']}, commit {about['commit']}\n"
        f"at best here: {ceilings.replace('tflop_s', 'TFLOP/s').replace('gb_s', 'GB/s')}\n"
        "ms a call, medians; dfast: replayed CUDA graphs on a GPU; reference: dfast.reference;\n"
        "torch: the same with the grid gathered in one go; ratio: the faster of these over dfast;\n"
        "GB/s and TFLOP/s: of what the workload needs at least, and their share of the best here"
    )


def table(records: Sequence[Record]) -> str:
    """Return the table: one line a workload, then the peers, then the failures."""
    by_name: dict[str, dict[str, Record]] = {}
    for record in records:
        by_name.setdefault(str(record["workload"]), {})[str(record["variant"])] = record
    lines = aligned(COLUMNS, [_row(name, variants) for name, variants in by_name.items()])
    others = _others(by_name)
    failures = [
        f"{r['workload']}, {r['variant']}: {what}: {r[phase]}"
        for r in records
        for phase, what in FAILED.items()
        if r.get(phase)
    ]
    return "\n".join([*lines, *others, *failures])


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose rows begin with a workload, under titles.

    Args:
        columns: the heads.
        rows: as many cells each, those of one letter together.
    """
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = [_line(columns, widths)]
    for letter, group in groupby(rows, lambda row: row[0][0]):
        lines += [f"{letter}: {TITLES.get(letter, '')}", *(_line(row, widths) for row in group)]
    return lines


def model_table(
    columns: Sequence[str],
    records: Sequence[Record],
    cells: Callable[[Record, list[str]], list[str]] = lambda record, shown: shown,
    digits: int = 4,
) -> str:
    """Return records of priors as text, a line each, all columns to the left.

    Args:
        columns: keys of numbers to show after the model.
        records: with "model"; a number that one does not have is a dash.
        cells: from a record and the cells of its columns to those of its line; a line may be
            shorter than the first, or end in more, which is not aligned.
        digits: of a number.
    """
    rows = [["model", *columns]]
    for record in records:
        values = [record.get(key) for key in columns]
        shown = [f"{v:.{digits}g}" if isinstance(v, float | int) else "-" for v in values]
        rows.append([str(record["model"]), *cells(record, shown)])
    whole = [row for row in rows if len(row) >= len(rows[0])]
    widths = [*(max(len(row[i]) for row in whole) for i in range(len(rows[0]))), 0]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells in columns, the first to the left."""
    rest = (cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))
    return "  ".join(["  " + row[0].ljust(widths[0]), *rest]).rstrip()


def _row(name: str, variants: Mapping[str, Record]) -> tuple[str, ...]:
    """Return the cells of a workload, in the order of `COLUMNS`."""
    own, eager = variants.get(DFAST, {}), variants.get(EAGER, {})
    mine = milliseconds(own)
    plain = [variants.get(name, {}).get("wall_ms") for name in (GATHERED, REFERENCE)]
    theirs = min((ms for ms in plain if isinstance(ms, float)), default=None)
    return (
        name,
        shown_ms(mine),
        shown_ms(eager.get("wall_ms")),
        *map(shown_ms, plain),
        f"{theirs / mine:.1f}x" if theirs and mine else "",
        _share(own, "gb_s", "copy_gb_s"),
        _share(own, "tflop_s", "tflop_s"),
        _launches(own),
        _rounded(own.get("peak_mib")),
    )


def _others(by_name: Mapping[str, Mapping[str, Record]]) -> list[str]:
    """Return lines for the peers that ran."""
    known = (DFAST, EAGER, REFERENCE, GATHERED)
    lines = [
        f"  {name}  {variant}: {shown_ms(r.get('wall_ms'))} ms"
        + (f", on the device {shown_ms(r['gpu_ms'])} ms" if r.get("gpu_ms") is not None else "")
        for name, variants in by_name.items()
        for variant, r in variants.items()
        if variant not in known and not r.get("error")
    ]
    return ["others in the same run:", *lines] if lines else []


def shown_ms(value: object) -> str:
    """Return milliseconds with three digits, "" for None."""
    return f"{value:.3g}" if isinstance(value, int | float) and value < 100 else _rounded(value)


def _rounded(value: object) -> str:
    """Return a number without decimals, "" for None."""
    return f"{value:.0f}" if isinstance(value, int | float) else ""


def _launches(record: Record) -> str:
    """Return the launches, and the waits if there are any."""
    launches, syncs = record.get("launches"), record.get("syncs")
    return "" if launches is None else f"{launches} + {syncs} waits" if syncs else str(launches)


def _share(record: Record, rate: str, ceiling: str) -> str:
    """Return a rate and its share of the machine's best."""
    ceilings, value = record.get("ceilings"), record.get(rate)
    if not isinstance(ceilings, Mapping) or not isinstance(value, int | float) or not value:
        return ""
    best = max((v for key, v in ceilings.items() if key.endswith(ceiling)), default=0.0)
    return f"{value:.3g} ({100 * value / best:.0f}%)" if best else f"{value:.3g}"
