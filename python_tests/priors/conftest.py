"""Fixtures of the tests of priors: caches of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfast import _files


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep encoded sentences in a folder of the test, and return it.

    They do not wait for the disk, which took a tenth of the time of these tests.
    """
    monkeypatch.setattr(_files, "_flush", lambda path: None)
    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"
