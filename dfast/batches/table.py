"""Tables of runs: a sentence a line, CSV, JSON lines or mappings, all checked before any run.

Columns are `prompt`, `seed`, `name` (or `out`: the run's folder within that of the batch), `layout`
(a file, or in JSON lines the layout itself) and any setting by its dotted name, such as
`guidance.scale`. An empty cell leaves the default.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfast._files import encodable, lines_of, read_text, unreadable, user_path
from dfast._numbers import shown, whole
from dfast.config import Config, Layout
from dfast.config.checks import SEED_LIMIT
from dfast.config.overrides import parse_override
from dfast.config.parsing import overlay
from dfast.config.suggestions import setting_names, suggest
from dfast.errors import ConfigError, DfastError
from dfast.runs.layouts import as_layout, check_layout
from dfast.runs.names import run_name, slug
from dfast.world.reading import read as read_sentence

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of run folders."""
RESERVED = ("logs", "index.html", "table.json", "table.csv", "run.lock")
"""Names that a batch uses itself."""
OWN = ("prompt", "seed", "name", "out", "layout")
"""Columns that are no settings."""

Cells = Mapping[str, Any]
"""A row as it was read: values by column."""


@dataclass(frozen=True)
class Row:
    """One run of a table."""

    where: str
    """File and row, for messages."""
    name: str
    """Its folder within the folder of the batch."""
    prompt: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    """Nested tables of the settings that the row changes."""
    base: Config | None = None
    """Settings that it changes; None: those of all runs."""
    clip: str = ""
    """The CLIP that guides it, of a method that a CLIP guides."""


def read_table(
    runs: str | Path | Sequence[Cells], *, prior: str = "shapes", seeds: int = 1
) -> list[Row]:
    """Return the runs of a table.

    Args:
        runs: a .csv file, a .jsonl file, or a text file with a prompt a line (`#` begins a
            comment); or the rows themselves, as mappings.
        prior: name of the prior, which decides what a prompt can be.
        seeds: a row without a seed becomes this many, with the seeds 0, 1 and so on.

    Raises:
        ConfigError: a table or a row that cannot be used; it names file, row, column, what was
            expected and what was got.
    """
    if whole(seeds) is None or not 1 <= seeds <= SEED_LIMIT:
        raise ConfigError(f"seeds: expected 1 to {SEED_LIMIT}, got {shown(seeds)}")
    label, numbered = _rows_of(runs)
    rows: list[Row] = []
    for number, cells in numbered:
        rows += _expanded(f"{label}, row {number}", cells, prior, seeds)
    if not rows:
        raise ConfigError(f"{label}: expected a run a row, got none")
    _check_names(rows)
    return rows


def _rows_of(runs: str | Path | Sequence[Cells]) -> tuple[str, Iterable[tuple[int, Cells]]]:
    """Return the label of a table and its rows with their numbers, from 1."""
    if not isinstance(runs, str | Path):
        rows: list[Cells] = [*runs] if isinstance(runs, Sequence) else []
        if not isinstance(runs, Sequence) or not all(isinstance(row, Mapping) for row in rows):
            raise ConfigError(f"runs: expected a file or a list of mappings, got {shown(runs)}")
        return "runs", enumerate(rows, 1)
    path = user_path(runs)
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{runs}': cannot be read ({unreadable(error)})") from error
    readers = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    return f"'{runs}'", readers.get(path.suffix.lower(), _lines)(f"'{runs}'", text)


def _lines(label: str, text: str) -> Iterator[tuple[int, Cells]]:
    """Yield a row for each line that is not empty or a comment."""
    for number, prompt in lines_of(text):
        yield number, {"prompt": prompt}


def _csv(label: str, text: str) -> Iterator[tuple[int, Cells]]:
    """Yield the rows of a CSV file; the first one names the columns and has the number 1."""
    try:
        rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
    except csv.Error as error:
        raise ConfigError(f"{label}: expected CSV ({error})") from error
    header = [column.strip() for column in rows[0]] if rows else []
    if "prompt" not in header or len({*header}) < len(header):
        raise ConfigError(
            f"{label}, row 1: expected the names of columns, each once, 'prompt' among them, "
            f"got {shown(', '.join(header))}"
        )
    for number, row in enumerate(rows[1:], 2):
        if len(row) > len(header):
            raise ConfigError(
                f"{label}, row {number}: expected {len(header)} columns, got {len(row)}"
            )
        cells = {c: v.strip() for c, v in zip(header, row, strict=False) if v.strip()}
        if cells:
            yield number, cells


def _json_lines(label: str, text: str) -> Iterator[tuple[int, Cells]]:
    """Yield the objects of a file of JSON lines."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{label}, row {number}: expected JSON ({error})") from error
        if not isinstance(cells, dict):
            raise ConfigError(f"{label}, row {number}: expected an object, got {shown(cells)}")
        yield number, cells


def _expanded(where: str, cells: Cells, prior: str, seeds: int) -> list[Row]:
    """Return the runs of one row, checked."""
    cells = {key: value for key, value in cells.items() if value is not None}
    settings, words = _settings(where, cells)
    layout = Layout.from_dict(settings["layout"]) if "layout" in cells else None
    prompt = _prompt(where, cells.get("prompt", layout and layout.prompt), prior, layout)
    numbers = [_seed(where, cells["seed"])] if "seed" in cells else list(range(seeds))
    given = [key for key in ("name", "out") if key in cells]
    if len(given) > 1:
        raise ConfigError(f"{where}: expected one of the columns name and out, got both")
    if not given:
        stem = run_name(prompt, prior)
        names = ["-".join([stem, str(n), *words])[:100] for n in numbers]
    else:
        name = _name(where, given[0], cells[given[0]])
        names = [name] if len(numbers) == 1 else [f"{name}-{n}" for n in numbers]
    return [Row(where, name, prompt, n, settings) for name, n in zip(names, numbers, strict=True)]


def _prompt(where: str, value: Any, prior: str, layout: Layout | None) -> str:
    """Return a prompt with single spaces; with a layout it has to be that of the layout."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"{where}, column 'prompt': expected a description such as 'a red chair', "
            f"got {shown(value)}"
        )
    prompt = " ".join(value.split())
    if not encodable(prompt):
        raise ConfigError(
            f"{where}, column 'prompt': expected text that UTF-8 can encode, "
            f"got {ascii(value)[:80]}"
        )
    try:
        if layout is not None:
            check_layout(layout, prompt, embedded=prior == "shapes")
        elif prior == "shapes":
            read_sentence(prompt)
    except DfastError as error:
        column = "prompt" if layout is None else "layout"
        raise ConfigError(f"{where}, column '{column}': {error}") from error
    return prompt


def _seed(where: str, value: Any) -> int:
    """Return a seed, given as a number or as text."""
    text = isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value, re.ASCII)
    number = int(value) if text else whole(value)
    if number is None or not 0 <= number < SEED_LIMIT:
        raise ConfigError(
            f"{where}, column 'seed': expected a whole number in [0, {SEED_LIMIT}), "
            f"got {shown(value)}"
        )
    return number


def _name(where: str, column: str, value: Any) -> str:
    """Return the name of a run folder."""
    text = str(value) if isinstance(value, str) or whole(value) is not None else ""
    if not NAME.fullmatch(text) or text.lower() in RESERVED:
        raise ConfigError(
            f"{where}, column '{column}': expected the name of a folder (letters, digits, '.', "
            f"'_' and '-', at most 100, none of {', '.join(RESERVED)}), got {shown(value)}"
        )
    return text


def _settings(where: str, cells: Cells) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a row as nested tables, and words for its name."""
    tables, words = _layout(where, cells.get("layout"))
    columns = []
    for column, value in cells.items():
        if column in OWN:
            continue
        if not isinstance(column, str) or "." not in column:
            raise ConfigError(
                f"{where}, column {shown(column)}: expected {', '.join(OWN)} or a setting such as "
                f"guidance.scale; {suggest(str(column), (*OWN, *setting_names(Config)))}"
            )
        try:
            text = isinstance(value, str)
            table = parse_override(f"{column}={value}") if text else _nested(column, value)
        except DfastError as error:
            reason = str(error).removeprefix("--set: ")
            raise ConfigError(f"{where}, column '{column}': {reason}") from error
        tables = overlay(tables, table)
        columns.append(column)
        words.append(f"{column}-{re.sub('[^A-Za-z0-9._-]+', '-', str(value)).rstrip('-')}")
    _check_settings(where, tables, columns)
    return tables, words


def _check_settings(where: str, tables: dict[str, Any], columns: Sequence[str]) -> None:
    """Raise ConfigError for settings that cannot be, with the column that is wrong.

    What does not fit a setting that the row leaves out is for those who know the settings of all
    runs: `dfast.batches.plan.jobs_of`.
    """
    try:
        Config().replace(**tables)
    except DfastError as error:
        found = re.match(r"config (?:key|section) '([^']+)': ", str(error))
        key = found[1] if found else ""
        for column in columns:
            if f"{column}.".startswith(f"{key}.") or re.match(rf"{re.escape(column)}[.\[]", key):
                reason = str(error).removeprefix(f"config key '{column}': ")
                raise ConfigError(f"{where}, column '{column}': {reason}") from error


def _layout(where: str, value: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the layout of a row as a table of settings, and words for its name."""
    if value is None:
        return {}, []
    try:
        table = {"layout": as_layout(value).to_dict()}
    except DfastError as error:
        raise ConfigError(f"{where}, column 'layout': {error}") from error
    is_file = isinstance(value, str | Path)
    return table, [f"layout-{slug(Path(value).stem)}"] if is_file else []


def _nested(column: str, value: Any) -> dict[str, Any]:
    """Return a value as the nested tables that its dotted name means."""
    for key in reversed(column.split(".")):
        value = {key: value}
    return dict(value)


def _check_names(rows: Sequence[Row]) -> None:
    """Raise ConfigError if two runs have the same folder, also where case makes no difference."""
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row.name.lower(), row)
        if other is not row:
            raise ConfigError(
                f"{row.where}, column 'name': expected a name of its own, got '{row.name}', "
                f"which is that of {other.where}"
            )
