"""The summary of a batch for people and for spreadsheets: `index.html` and `table.csv`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dfast._files import replacing
from dfast.batches.job import LOGS
from dfast.batches.state import Status
from dfast.errors import RunFolderError
from dfast.pages.html import page, section, table
from dfast.runs.announce import duration
from dfast.runs.exports import OBJECT, REPORT, SHEET
from dfast.runs.unfinished import PREVIEWS

PAGE, SHEET_OF_RUNS = "index.html", "table.csv"
"""The summary in the folder of a batch."""
FAULTS = ("empty", "opaque", "hazy", "collapsed")
"""Scores that name a fault."""
SCORES = {"iou": "IoU", "rank": "rank", "colors": "colours"}
"""Scores that the page shows, and what readers call them."""
METRICS = {"opacity": "opacity", "gradient_norm": "gradient norm", "skipped": "skipped steps"}
"""Last metrics that the page shows, and what readers call them."""


def write_summary(folder: Path, rows: Sequence[Status]) -> None:
    """Write the page and the table of a batch; pictures on the page are files of the run folders.

    Args:
        folder: of the batch.
        rows: all rows.

    Raises:
        RunFolderError: they cannot be written.
    """
    for name, text in ((PAGE, summary_page(folder, rows)), (SHEET_OF_RUNS, as_csv(rows))):
        try:
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="replace", newline="")
        except OSError as error:
            raise RunFolderError(
                f"'{folder / name}': cannot be written ({error.strerror or error})"
            ) from error


def as_csv(rows: Sequence[Status]) -> str:
    """Return the table with a column for everything that any row has.

    Args:
        rows: all rows.
    """
    settings = sorted({key for row in rows for key in row.settings})
    metrics = sorted({key for row in rows for key in row.metrics})
    scores = sorted({key for row in rows for key in row.scores})
    own = ("name", "prompt", "seed", "state", "steps", "attempts", "seconds")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*own, *settings, *metrics, *(f"score {s}" for s in scores), "faults", "error"])
    for row in rows:
        writer.writerow(
            [
                *(getattr(row, key) for key in own),
                *(_entry(row.settings.get(key, "")) for key in settings),
                *(row.metrics.get(key, "") for key in metrics),
                *(row.scores.get(key, "") for key in scores),
                " ".join(faults(row)),
                row.error,
            ]
        )
    return text.getvalue()


def _entry(value: Any) -> Any:
    """Return a setting as a table of runs may have it: lists and tables as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def summary_page(folder: Path, rows: Sequence[Status]) -> str:
    """Return the page: counts, then each run with picture, numbers and links.

    Args:
        folder: of the batch, where it is looked which files there are.
        rows: all rows.
    """
    number = {state: sum(row.state == state for row in rows) for state in _STATES}
    counts = ", ".join(f"{number[state]} {words}" for state, words in _STATES.items())
    took = duration(sum(row.seconds for row in rows))
    failed = [(row.name, row.error) for row in rows if row.state == "failed"]
    runs = "".join(_figure(folder, row) for row in rows)
    return page(
        folder.name,
        f"<h1>{escape(folder.name)}</h1>"
        f'<p class="soft">{len(rows)} runs: {counts}; {took} of computing.</p>'
        + section("Failed", table(failed) if failed else "")
        + section("Runs", f'<div class="row">{runs}</div>'),
    )


_STATES = {"done": "done", "failed": "failed", "waiting": "to do"}


def faults(row: Status) -> list[str]:
    """Return the names of the faults that a run was scored with, and "failed" for one that failed.

    Args:
        row: the run. Scores of a layout are means of its parts', of which one is enough.
    """
    return ["failed"] * (row.state == "failed") + [f for f in FAULTS if row.scores.get(f)]


def _figure(folder: Path, row: Status) -> str:
    """Return what the page shows of a run."""
    image = _image(folder, row)
    shown = f'<img src="{quote(image)}" loading="lazy" alt="{escape(row.prompt)}">' if image else ""
    files = ((REPORT, "report"), (OBJECT, "object"), ("", "folder"))
    links = [
        f'<a href="{quote(f"{row.name}/{file}")}">{words}</a>'
        for file, words in files
        if (folder / row.name / file).exists()
    ]
    if (folder / LOGS / f"{row.name}.log").exists():
        links.append(f'<a href="{quote(f"{LOGS}/{row.name}.log")}">log</a>')
    return (
        f'<figure style="width: 400px">{shown}'
        f"<p>{escape(row.prompt)}</p>{table(_numbers(row))}<p>{' '.join(links)}</p></figure>"
    )


def _image(folder: Path, row: Status) -> str | None:
    """Return the best picture of a run by its path in the folder, None if there is none."""
    run = folder / row.name
    if (run / SHEET).exists():
        return f"{row.name}/{SHEET}"
    previews = sorted((run / PREVIEWS).glob("step_*.png"))
    return f"{row.name}/{PREVIEWS}/{previews[-1].name}" if previews else None


def _numbers(row: Status) -> list[tuple[str, object]]:
    """Return names and values of what is shown of a run."""
    step = row.steps if row.state == "done" else int(row.metrics.get("step", 0))
    found: list[tuple[str, object]] = [
        ("run", row.name),
        ("state", _STATES[row.state]),
        ("seed", row.seed),
        ("step", f"{step} of {row.steps}"),
        ("time", duration(row.seconds)),
        ("attempts", row.attempts),
        *row.settings.items(),
        *((words, _cell(row.metrics[key])) for key, words in METRICS.items() if key in row.metrics),
        *((words, _cell(row.scores[key])) for key, words in SCORES.items() if key in row.scores),
    ]
    if wrong := faults(row):
        found.append(("faults", " ".join(wrong)))
    return found


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
