"""The records of a run as a file and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dfast._files import replacing
from dfast.bench.case import DFAST, EAGER, GATHERED, REFERENCE
from dfast.bench.suite import TITLES

Record = Mapping[str, object]
COLUMNS = (
    "workload", "dfast", "eager", "torch", "reference", "ratio",
    "GB/s", "TFLOP/s", "launches", "MiB",
)  # fmt: skip


def save(records: Sequence[Record], path: Path) -> None:
    """Write the list, one record a line, whole or not at all. Raises OSError."""
    lines = ",\n".join(json.dumps(record) for record in records)
    with replacing(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def rates(record: Record) -> tuple[float, float] | None:
    """GB/s and TFLOP/s that the workload's own bytes and operations make at the time that counts:
    the captured one, else the device's, else the host's. None without a time."""
    ms = record.get("captured_ms") or record.get("gpu_ms") or record.get("wall_ms")
    if not isinstance(ms, int | float) or ms <= 0:
        return None
    bytes_, flops = record.get("bytes") or 0, record.get("flops") or 0
    assert isinstance(bytes_, int) and isinstance(flops, int)
    return round(bytes_ / ms / 1e6, 3), round(flops / ms / 1e9, 6)


def floor_ms(record: Record) -> float | None:
    """The larger of the workload's bytes and operations at the machine's best, in milliseconds."""
    ceilings, bytes_, flops = record.get("ceilings"), record.get("bytes"), record.get("flops")
    if not isinstance(ceilings, Mapping) or not isinstance(bytes_, int):
        return None
    assert isinstance(flops, int)
    products = max(v for key, v in ceilings.items() if key.endswith("tflop_s"))
    return round(max(bytes_ / ceilings["copy_gb_s"] / 1e6, flops / products / 1e9), 6)


def heading(records: Sequence[Record]) -> str:
    """Where and on what this was measured, and what the columns mean."""
    about = records[0]
    where = about["gpu"] or f"{about['processor']}, {about['threads']} threads"
    best = about["ceilings"]
    assert isinstance(best, Mapping)
    ceilings = ", ".join(f"{key.replace('_', ' ', 1)} {value:g}" for key, value in best.items())
    return (
        f"{where}, torch {about['torch']}, {about['date']}, commit {about['commit']}\n"
        f"at best here: {ceilings.replace('tflop_s', 'TFLOP/s').replace('gb_s', 'GB/s')}\n"
        "ms a call, medians; dfast: replayed CUDA graphs on a GPU; reference: dfast.reference;\n"
        "torch: the same with the grid gathered in one go; ratio: the faster of these over dfast;\n"
        "GB/s and TFLOP/s: of what the workload needs at least, and their share of the best here"
    )


def table(records: Sequence[Record]) -> str:
    """One line a workload, with what each column means below."""
    by_name: dict[str, dict[str, Record]] = {}
    for record in records:
        by_name.setdefault(str(record["workload"]), {})[str(record["variant"])] = record
    rows: list[tuple[str, ...]] = []
    letter = ""
    for name, variants in by_name.items():
        if name[0] != letter:
            letter = name[0]
            rows.append((f"{letter}: {TITLES[letter]}",))
        rows.append(_row(name, variants))
    full = [COLUMNS, *(row for row in rows if len(row) > 1)]
    widths = [max(len(row[i]) for row in full) for i in range(len(COLUMNS))]
    lines = [_line(COLUMNS, widths)]
    lines += [row[0] if len(row) == 1 else _line(row, widths) for row in rows]
    others = _others(by_name)
    failures = [
        f"{r['workload']}, {r['variant']}: failed: {r['error']}" for r in records if r.get("error")
    ]
    return "\n".join([*lines, *others, *failures])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(
        zip(row, widths, strict=True)))  # fmt: skip
    return "  ".join(["  " + first, *rest]).rstrip()


def _row(name: str, variants: Mapping[str, Record]) -> tuple[str, ...]:
    own, eager = variants.get(DFAST, {}), variants.get(EAGER, {})
    mine = own.get("captured_ms") or own.get("wall_ms")
    plain = [variants.get(name, {}).get("wall_ms") for name in (GATHERED, REFERENCE)]
    theirs = min((ms for ms in plain if isinstance(ms, float)), default=None)
    ratio = f"{theirs / mine:.1f}x" if theirs and isinstance(mine, float) else ""
    return (
        name, _ms(mine), _ms(eager.get("wall_ms")), *map(_ms, plain), ratio,
        _share(own, "gb_s", "copy_gb_s"), _share(own, "tflop_s", "tflop_s"),
        _launches(own), _whole(own.get("peak_mib")),
    )  # fmt: skip


def _others(by_name: Mapping[str, Mapping[str, Record]]) -> list[str]:
    """Lines for the peers that ran."""
    known = (DFAST, EAGER, REFERENCE, GATHERED)
    lines = [
        f"  {name}  {variant}: {_ms(r.get('wall_ms'))} ms, on the device {_ms(r.get('gpu_ms'))} ms"
        for name, variants in by_name.items()
        for variant, r in variants.items()
        if variant not in known and not r.get("error")
    ]
    return ["others in the same run:", *lines] if lines else []


def _ms(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) and value < 100 else _whole(value)


def _whole(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, int | float) else ""


def _launches(record: Record) -> str:
    launches, syncs = record.get("launches"), record.get("syncs")
    return "" if launches is None else f"{launches} + {syncs} waits" if syncs else str(launches)


def _share(record: Record, rate: str, ceiling: str) -> str:
    """A rate and its share of the best that the machine did."""
    ceilings, value = record.get("ceilings"), record.get(rate)
    if not isinstance(ceilings, Mapping) or not isinstance(value, int | float) or not value:
        return ""
    best = max((v for key, v in ceilings.items() if key.endswith(ceiling)), default=0.0)
    return f"{value:.3g} ({100 * value / best:.0f}%)" if best else f"{value:.3g}"
