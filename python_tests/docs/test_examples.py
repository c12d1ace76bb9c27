"""Every example in docs/examples runs, in seconds on a CPU, and reaches what it promises."""

from __future__ import annotations

import ast
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
LEAST_PSNR = {
    "fit_image_with_hash_grid": 25.0,
    "nerf_from_known_views": 24.0,
    "custom_prior": 20.0,
    "own_training_loop": 20.0,
}
"""The decibels that the `main` of each example must exceed."""

pytestmark = [
    pytest.mark.usefixtures("needs_native"),
    pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs a checkout of the repository"),
]


def example(name: str) -> ModuleType:
    """Return an example, imported from its file."""
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "decibels"), LEAST_PSNR.items())
def test_example(
    name: str,
    decibels: float,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)  # as when the file is run
    assert example(name).main() > decibels
    assert capsys.readouterr().out.startswith("PSNR ")


def test_each_example_says_what_it_shows_and_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(LEAST_PSNR)
    for path in EXAMPLES.glob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text and "Shows" in text and "Prints" in text
