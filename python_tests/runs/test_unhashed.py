"""A run of a version whose files had no hash: it is read, with one warning, and goes on.

`unhashed_run` was written by such a version: stopped after two of four steps, beside the result of
the same run without the stop.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

import dfast
from dfast.config import Config

pytestmark = pytest.mark.usefixtures("needs_native")

OLD = Path(__file__).parent / "unhashed_run"


def test_a_result_loads_with_one_warning() -> None:
    with pytest.warns(UserWarning, match=r"result.safetensors.*without a hash") as found:
        result = dfast.load(OLD)
    assert len(found) == 1
    assert (result.prompt, result.steps, result.prior) == ("a red ball", 4, "shapes")
    assert result.render(resolution=16).std() > 0


def test_a_run_goes_on_and_its_new_files_have_a_hash(tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(OLD, out, ignore=shutil.ignore_patterns("result.safetensors"))
    with pytest.warns(UserWarning, match=r"checkpoint.safetensors.*without a hash") as found:
        dfast.train(
            "a red ball",
            out=out,
            config=Config.load(out / "config.toml"),
            device="cpu",
            progress=False,
            resume=True,
        )
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dfast.load(out).steps == 4
