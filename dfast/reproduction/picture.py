"""The table as a picture: numbers, and what the runs of the first prompts look like."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dfast.reproduction.report import Report

View = NDArray[np.uint8]
"""Display RGB, [H, W, 3]."""
TEXT, HEAD, NOTE = 22, 30, 17
"""Heights of letters in pixels."""
GAP = 22
"""Pixels between columns, and around everything."""
INK, SOFT, RULE = (24, 24, 27), (95, 95, 102), (200, 200, 206)
THUMBNAIL = 112
"""Pixels a side of a view of a run."""
THUMBNAILS = 4
"""Prompts that are shown, at most."""


def table_picture(report: Report, views: Mapping[tuple[str, str], View]) -> View:
    """Return the table as an image.

    Args:
        report: the table.
        views: of runs, by the name of their row and their prompt; rows without any have none.
    """
    shown = [p for p in report.prompts if any(key[1] == p for key in views)][:THUMBNAILS]
    font, head, note = (ImageFont.load_default(size) for size in (TEXT, HEAD, NOTE))
    rows = [report.heads, *(report.cells(row) for row in report.rows)]
    widths = [max(int(font.getlength(row[k])) for row in rows) for k in range(len(rows[0]))]
    table = sum(widths) + GAP * (len(widths) - 1)
    beside = GAP + table + GAP
    width = max(beside + len(shown) * (THUMBNAIL + GAP // 2) + GAP // 2, 900)
    wide = int((width - 2 * GAP) / note.getlength("n" * 20) * 20 * 1.15)
    notes = [line for text in report.footnotes() for line in textwrap.wrap(text, wide)]
    summary = textwrap.wrap(f"{report.summary()}.", wide)
    height_of_row = THUMBNAIL + 8 if shown else TEXT + 18
    top = GAP + HEAD + 14 + len(summary) * (NOTE + 6) + 12
    captions = [textwrap.wrap(prompt, 13)[:4] for prompt in shown]
    first = max(TEXT + 18, max(map(len, captions), default=0) * (NOTE + 3) + 14)
    height = top + first + len(report.rows) * height_of_row + 14 + len(notes) * (NOTE + 6) + GAP
    image = Image.new("RGB", (width, height), (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    canvas.text((GAP, GAP), report.title, INK, head)
    for i, line in enumerate(summary):
        canvas.text((GAP, GAP + HEAD + 14 + i * (NOTE + 6)), line, SOFT, note)
    for i, lines in enumerate(captions):
        for k, line in enumerate(lines):
            place = (beside + i * (THUMBNAIL + GAP // 2), top + k * (NOTE + 3))
            canvas.text(place, line, SOFT, note)
    y = top + first
    _cells(canvas, rows[0], widths, y - TEXT - 14, font)
    for row, cells in zip(report.rows, rows[1:], strict=True):
        canvas.line((GAP, y - 2, width - GAP, y - 2), RULE)
        _cells(canvas, cells, widths, y + (height_of_row - TEXT) // 2 - 4, font)
        for i, prompt in enumerate(shown):
            if (view := views.get((row.name, prompt))) is not None:
                picture = Image.fromarray(view).resize(
                    (THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS
                )
                image.paste(picture, (beside + i * (THUMBNAIL + GAP // 2), y + 2))
        y += height_of_row
    canvas.line((GAP, y - 2, width - GAP, y - 2), RULE)
    for i, line in enumerate(notes):
        canvas.text((GAP, y + 12 + i * (NOTE + 6)), line, SOFT, note)
    return np.asarray(image)


def _cells(
    canvas: ImageDraw.ImageDraw,
    cells: Sequence[str],
    widths: Sequence[int],
    y: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Draw a row, the first cell to the left and numbers to the right."""
    x = GAP
    for k, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        left = x if k == 0 else x + width - font.getlength(cell)
        canvas.text((left, y), cell, INK, font)
        x += width + GAP
