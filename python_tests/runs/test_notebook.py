"""A run in a real notebook: its bar is a widget, and its result is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.usefixtures("needs_native"), pytest.mark.slow]

CELLS = (
    "import sys; sys.path.insert(0, {tests!r})",
    "from tiny_runs import train_tiny",
    "result = train_tiny(out={out!r}, progress=True)",
    "result",
)


def execute(folder: Path) -> list[Any]:
    """Execute `CELLS` in a kernel of its own; return the outputs of each."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    tests = str(Path(__file__).parent.parent)
    cells = [cell.format(tests=tests, out=str(folder / "run")) for cell in CELLS]
    v4 = nbformat.v4
    book = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": folder}}).execute()
    return [cell.outputs for cell in book.cells]


def test_a_notebook_shows_a_widget_and_the_object(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets")
    *_, training, shown = execute(tmp_path)
    kinds = {kind for output in training for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds
    assert not any("step 4 of 4" in output.get("text", "") for output in training)  # no log
    (result,) = shown
    assert result["data"]["text/plain"].startswith("Result('a ball'")
    assert "<iframe" in result["data"]["text/html"]
    assert "data:image/png;base64," in result["data"]["text/html"]
