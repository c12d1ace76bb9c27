"""Fixtures of the tests of priors: caches of their own, and no network."""

from __future__ import annotations

import errno
import socket
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


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a hub cache of its own and no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def blocked(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", blocked)
    monkeypatch.setattr(socket, "create_connection", blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)
