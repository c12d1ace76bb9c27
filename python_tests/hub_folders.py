"""A Hugging Face hub of one repository, and its cache, for tests without a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def snapshot(repo: str, source: Path) -> Path:
    """Put `source` into the hub's cache as the snapshot of `repo`, and return where it is."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    return Path(shutil.copytree(source, root / "snapshots" / ("0" * 40)))


class FakeHub:
    """Stands in for the hub; its one repository has the files of `source`.

    Attributes:
        fetched: the files that were downloaded.
        error: what a download raises, if anything.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
        import huggingface_hub

        self.source, self.fetched = source, list[str]()
        self.error: Exception | None = None
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", self._info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self._download)

    def _info(self, repo: str, files_metadata: bool = False) -> Any:
        files = [p for p in self.source.rglob("*") if p.is_file()]
        siblings = [
            SimpleNamespace(rfilename=p.relative_to(self.source).as_posix(), size=p.stat().st_size)
            for p in files
        ]
        return SimpleNamespace(siblings=siblings, card_data=SimpleNamespace(license="openrail"))

    def _download(self, repo: str, allow_patterns: list[str]) -> None:
        if self.error:
            raise self.error
        from huggingface_hub import constants

        root = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / "main").write_text("0" * 40)
        for name in allow_patterns:
            to = root / "snapshots" / ("0" * 40) / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.source / name, to)
        self.fetched += allow_patterns
