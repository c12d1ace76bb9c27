"""Two builds of dfast on the same cases, in turn, and the ratios of their times.

Each build runs its own `dfast bench` in a process of its own, the old one and then the new one, as
often as there are rounds: what changes on the machine meanwhile meets both. Cases are compared by
their names, which are the same in every version, and a case has one ratio a round.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dfast._files import replacing
from dfast.bench import report
from dfast.bench.builds import Build
from dfast.bench.measurement import TIMES
from dfast.bench.process import started
from dfast.errors import ConfigError

LIMIT_S = 1800.0
"""Seconds without a line of progress after which a build is stopped: on a GPU all its launches are
counted without one."""
COLUMNS = ("case", "old", "new", "ratio", "spread")
FAILED = 1
"""Exit code of a bench of which a case of dfast's own failed."""
Compared = dict[str, Any]
"""A case in both builds: `workload`, `variant`, `old_ms`, `new_ms` (medians of the rounds, None in
a build without it), `ratios` (new over old, a round each), `ratio` (their median), `old_error` and
`new_error` where it failed."""


class Run(NamedTuple):
    """What one build measured in one round."""

    build: str
    """Its name, "old" or "new"."""
    round: int
    records: list[dict[str, Any]]
    fault: str
    """Why it ended early; "" if it did not."""


def run(
    builds: Sequence[Build],
    arguments: Sequence[str],
    *,
    rounds: int,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure the builds in turn.

    Args:
        builds: the old one and the new one.
        arguments: of the `dfast bench` of both.
        rounds: how often each is measured.
        out: a file that is written after each round.
        say: shows a line of progress.

    Returns:
        What is written to `out`: `builds`, `rounds`, `cases` (see `Compared`), `faults` (why a
        build ended early) and `records` (every measurement with its `build` and `round`).

    Raises:
        ConfigError: a build measured nothing in the first round.
    """
    runs: list[Run] = []
    result: dict[str, Any] = {}
    for number in range(1, rounds + 1):
        for build in builds:
            runs.append(_measured(build, arguments, number, rounds, say))
        result = _result(builds, runs, number)
        if out is not None:
            with replacing(out) as temporary:
                temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _measured(
    build: Build, arguments: Sequence[str], number: int, rounds: int, say: Callable[[str], None]
) -> Run:
    """Return what a build measures in a round."""
    last = "it said nothing"
    with tempfile.TemporaryDirectory(prefix="dfast-") as folder:
        file = Path(folder) / "records.json"
        command = build.command(["bench", *arguments, "--out", str(file)])
        with started(command, build.environment, LIMIT_S, "stderr") as process:
            for line in process.lines():
                last = line
                say(f"round {number} of {rounds}, {build.name}: {line}")
        records = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    if not records and number == 1:
        raise ConfigError(
            f"--against: the bench of the {build.name} build measured nothing: "
            f"{process.fault or 'it wrote no file'}; {last.removeprefix('dfast: error: ')}"
        )
    failed = process.code == FAILED and any(TIMES in record for record in records)
    return Run(build.name, number, records, "" if failed else process.fault)


def _result(builds: Sequence[Build], runs: Sequence[Run], rounds: int) -> dict[str, Any]:
    """Return all that is known after some rounds."""
    return {
        "builds": {build.name: _about(build, runs) for build in builds},
        "rounds": rounds,
        "cases": compare(runs),
        "faults": [f"{r.build}, round {r.round}: {r.fault}" for r in runs if r.fault],
        "records": [
            {"build": r.build, "round": r.round} | record for r in runs for record in r.records
        ],
    }


def _about(build: Build, runs: Sequence[Run]) -> dict[str, object]:
    """Return which build it is and where it ran."""
    record = next(run.records[0] for run in runs if run.build == build.name)
    about = {"version": build.version, "package": build.package, "python": build.python}
    return about | {key: record[key] for key in ("commit", "gpu", "processor", "threads", "torch")}


def compare(runs: Sequence[Run]) -> list[Compared]:
    """Return every case of the builds, those of one letter together.

    Args:
        runs: of both builds, in the order in which they were measured.
    """
    times: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    errors: dict[tuple[str, str], Compared] = {}
    for build, number, records, _ in runs:
        for record in records:
            key = (record["workload"], record["variant"])
            found = times.setdefault(key, {"old": {}, "new": {}})
            if (ms := report.milliseconds(record)) is not None:
                found[build][number] = ms
            if TIMES in record:
                errors.setdefault(key, {})[f"{build}_error"] = record[TIMES]
    cases = [
        _case(*key, found["old"], found["new"]) | errors.get(key, {})
        for key, found in times.items()
    ]
    return sorted(cases, key=lambda case: case["workload"][0])


def _case(
    workload: str, variant: str, old: Mapping[int, float], new: Mapping[int, float]
) -> Compared:
    """Return a case from its milliseconds by round."""
    ratios = [round(new[number] / old[number], 4) for number in old if number in new]
    return {
        "workload": workload,
        "variant": variant,
        "old_ms": _median(old.values()),
        "new_ms": _median(new.values()),
        "ratio": _median(ratios),
        "ratios": ratios,
    }


def _median(values: Collection[float]) -> float | None:
    """Return the median, None of nothing."""
    return round(statistics.median(values), 6) if values else None


def table(result: Mapping[str, Any]) -> str:
    """Return the builds, a line for each case with a ratio, and what has none.

    Args:
        result: what `run` returns.
    """
    head = [_head(name, about) for name, about in result["builds"].items()]
    rounds = result["rounds"]
    head += [
        f"rounds, old and new in turn: {rounds}; ms a call: their medians;",
        "ratio: new over old, median of the rounds, below 1 where the new build is faster;",
        "spread: smallest and largest ratio; cases in plain torch tell how much the machine varies",
    ]
    rows = [_row(case) for case in result["cases"] if case["ratio"] is not None]
    rest = [line for case in result["cases"] for line in _without_ratio(case)]
    return "\n".join([*head, *report.aligned(COLUMNS, rows), *rest, *result["faults"]])


def _head(name: str, about: Mapping[str, Any]) -> str:
    """Return the line of a build."""
    known = about["commit"] != about["version"]
    commit = f", commit {about['commit']}" if known else ""
    return f"{name}: dfast {about['version']}{commit}, {report.place(about)}, {about['package']}"


def _row(case: Compared) -> tuple[str, ...]:
    """Return the cells of a case, in the order of `COLUMNS`."""
    return (
        f"{case['workload']}, {case['variant']}",
        report.shown_ms(case["old_ms"]),
        report.shown_ms(case["new_ms"]),
        f"{case['ratio']:.2f}x",
        f"{min(case['ratios']):.2f} to {max(case['ratios']):.2f}",
    )


def _without_ratio(case: Compared) -> list[str]:
    """Return why a case has no ratio, or failed in some rounds."""
    name = f"{case['workload']}, {case['variant']}"
    errors = [
        f"{name}: failed in the {build} build: {case[key]}"
        for build in ("old", "new")
        if (key := f"{build}_error") in case
    ]
    if errors or case["ratio"] is not None:
        return errors
    only, ms = ("new", case["new_ms"]) if case["old_ms"] is None else ("old", case["old_ms"])
    return [f"{name}: only in the {only} build, {report.shown_ms(ms)} ms"]
