"""The table of a comparison: what was measured of every run, means by arm, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from dfast._numbers import amount
from dfast._version import __version__
from dfast.evaluation.clip_report import describe_views
from dfast.reproduction.published import SOURCE, Published


class Column(NamedTuple):
    """A column of the table."""

    key: str
    """Of `RunScore.numbers`"""
    title: str
    factor: float
    """From the number to what is shown"""
    digits: int
    """After the point"""


WORLD = (
    Column("iou", "IoU", 1.0, 2),
    Column("colors", "colours %", 100.0, 0),
    Column("normals", "normals °", 1.0, 1),
    Column("front", "front %", 100.0, 0),
)
"""What only a known world can tell, see `dfast.evaluation.scorecard.Score`."""
SECONDS = Column("seconds", "minutes", 1.0 / 60.0, 2)


def clip_columns(names: Sequence[str]) -> list[Column]:
    """Return two columns for each CLIP, with the last part of its name where that tells them apart.

    Args:
        names: of the CLIPs.
    """
    found = []
    last = [name.rstrip("/").rpartition("/")[2] for name in names]
    for name, own in zip(names, last, strict=True):
        short = own if last.count(own) == 1 else name
        found.append(Column(f"R color {name}", f"{short} R color", 100.0, 1))
        found.append(Column(f"R geo {name}", f"{short} R geo", 100.0, 1))
    return found


@dataclass(frozen=True)
class RunScore:
    """What was measured of one run, or of the truth of a prompt."""

    name: str
    """Of the run folder"""
    prompt: str
    seed: int
    state: str
    """"done" or "failed" """
    error: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    """By the keys of columns; what was not measured, or cannot be, is missing"""


class Mean(NamedTuple):
    """The mean of a number over runs."""

    value: float
    error: float | None
    """Standard error, None of one run"""
    runs: int
    """That have it"""


@dataclass(frozen=True)
class Row:
    """An arm, and the scores of its runs."""

    name: str
    title: str
    steps: int
    runs: tuple[RunScore, ...]
    guide: str = ""
    """The CLIP that guided it; scores by the same are in parentheses, as in the paper"""

    @property
    def failed(self) -> int:
        """Number of runs that failed."""
        return sum(run.state == "failed" for run in self.runs)

    def mean(self, key: str) -> Mean | None:
        """Return the mean of a number over the runs that have it, None if none has."""
        values = [run.numbers[key] for run in self.runs if key in run.numbers]
        if not values:
            return None
        mean, n = sum(values) / len(values), len(values)
        spread = sum((value - mean) ** 2 for value in values)
        return Mean(mean, math.sqrt(spread / (n - 1) / n) if n > 1 else None, n)


@dataclass(frozen=True)
class Report:
    """A table, with all that is needed to get the same numbers again."""

    what: str
    """"table1" or "ablation" """
    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    prompts: tuple[str, ...]
    seeds: int
    prior: str
    device: str
    quick: bool
    choices: tuple[str, ...] = ()
    """Prompts among which objects are retrieved"""
    clips: tuple[dict[str, Any], ...] = ()
    """`ClipEncoder.about` of each"""
    views: tuple[dict[str, Any], ...] = ()
    """`Views.about` of each"""
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
    """What else to know, a sentence each"""

    @property
    def heads(self) -> list[str]:
        """The first row of the table."""
        return ["", "runs", *(column.title for column in self.columns)]

    def cells(self, row: Row) -> list[str]:
        """Return a row of the table as text: means, with their standard errors."""
        runs = f"{len(row.runs)}" + (f" ({row.failed} failed)" if row.failed else "")
        return [row.title, runs, *(self._cell(row, column) for column in self.columns)]

    def _cell(self, row: Row, column: Column) -> str:
        mean = row.mean(column.key)
        if mean is None:
            return "-"
        text = f"{mean.value * column.factor:.{column.digits}f}"
        if mean.error is not None:
            text += f" ± {mean.error * column.factor:.{column.digits}f}"
        own = row.guide and column.key.removeprefix("R color ").removeprefix("R geo ") == row.guide
        return f"({text})" if own else text

    def summary(self) -> str:
        """Return what was run, in one line."""
        seeds, prompts = amount(self.seeds, "seed"), amount(len(self.prompts), "prompt")
        quick = ", quick settings, which are not the methods' own" if self.quick else ""
        return f"{prompts}, {seeds}, prior {self.prior}, {self.device}{quick}, dfast {__version__}"

    def footnotes(self) -> list[str]:
        """Return what the numbers mean and how they were measured, a sentence or so each."""
        found = [
            "Means over runs ± their standard error. A run that failed is scored as an empty scene."
        ]
        if self.clips:
            n = len(self.choices)
            found.append(
                f"R: percent of views from which the prompt is retrieved among {n}; chance is "
                f"{100 / n:.3g}."
            )
        if any(clip["name"] == row.guide for clip in self.clips for row in self.rows):
            found.append("In parentheses: by the CLIP that guided the runs.")
        for clip in self.clips:
            revision = f", revision {clip['revision']}" if clip["revision"] else ""
            found.append(
                f"CLIP {clip['name']}: {clip['image_size']} pixels, weights "
                f"{clip['weights_sha256'][:12]}{revision}."
            )
        found += [f"{describe_views(views)}." for views in self.views]
        keys = {column.key for column in self.columns}
        if "iou" in keys:
            found.append(
                "IoU, colours (large regions of the right colour), normals (mean error away from "
                "edges, of runs with a surface to export) and front (right within 30 degrees, of "
                "objects that have one) are against the procedural world."
            )
        if "seconds" in keys:
            found.append("Minutes: of training alone, by the pace of the last attempt.")
        guided: dict[str, list[str]] = {}
        for row in self.rows:
            if row.guide:
                guided.setdefault(row.guide, []).append(row.title)
        found += [f"CLIP {name} guided {', '.join(rows)}." for name, rows in guided.items()]
        steps = {row.title: row.steps for row in self.rows if row.steps}
        if len(set(steps.values())) > 1:
            found.append(f"Steps: {', '.join(f'{title} {n}' for title, n in steps.items())}.")
        else:
            found += [f"Steps: {n}." for n in set(steps.values())]
        return [*found, *self.notes]

    def markdown(self) -> str:
        """Return the report as Markdown."""
        lines = [f"# {self.title}", "", f"{self.summary()}.", ""]
        lines += _markdown_table(self.heads, [self.cells(row) for row in self.rows])
        lines += ["", *(f"- {note}" for note in self.footnotes())]
        if self.published:
            heads = ["published", *(f"{c} R {k}" for c in CLIPS for k in ("color", "geo"))]
            lines += ["", *_markdown_table(heads, [_published(row) for row in self.published])]
            lines += ["", SOURCE]
        failed = [run for row in self.rows for run in row.runs if run.state == "failed"]
        if failed:
            lines += ["", "Failed:", "", *(f"- {run.name}: {run.error}" for run in failed)]
        lines += ["", "Prompts:", "", *(f"- {prompt}" for prompt in self.prompts)]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """Return the table as plain text, with what the numbers mean."""
        table = [self.heads, *(self.cells(row) for row in self.rows)]
        widths = [max(len(cells[k]) for cells in table) for k in range(len(table[0]))]
        lines = []
        for first, *others in table:
            numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
            lines.append("  ".join([first.ljust(widths[0]), *numbers]))
        return "\n".join([*lines, "", f"{self.summary()}.", *self.footnotes()])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        rows = []
        for row in self.rows:
            means = {c.key: row.mean(c.key) for c in self.columns}
            found = {key: mean._asdict() for key, mean in means.items() if mean is not None}
            rows.append({**asdict(row), "failed": row.failed, "means": found})
        about = {name: getattr(self, name) for name in ("what", "title", "seeds", "prior")}
        about |= {"device": self.device, "quick": self.quick, "notes": list(self.notes)}
        return {
            "dfast": __version__,
            **about,
            "prompts": list(self.prompts),
            "choices": list(self.choices),
            "clips": list(self.clips),
            "views": list(self.views),
            "columns": [column._asdict() for column in self.columns],
            "rows": rows,
            "published": [asdict(row) for row in self.published],
        }


CLIPS = ("B/32", "B/16", "L/14")
"""CLIPs of the paper's table."""


def _published(row: Published) -> list[str]:
    pairs = zip(row.color, row.geometry, strict=True)
    values = [value for pair in pairs for value in pair]
    return [row.method, *("-" if value is None else f"{value:.1f}" for value in values)]


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, numbers to the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]
