"""Fixtures shared by all tests: where and in which precision an op runs."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path

import pytest
import torch
from browser import chromium

__all__ = ["chromium"]

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic tests on a GPU
# Processes that tests start import the dfast that is tested, not a folder they happen to start in.
os.environ["PYTHONSAFEPATH"] = "1"
torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session", autouse=True)
def hears_signals() -> None:
    """Hear signals here and in new processes, also under nohup or behind a shell's `&`."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, handler in usual.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def _cuda_ready() -> bool:
    if not torch.cuda.is_available():
        return False
    from dfast import _native

    return bool(_native.build_info()["cuda"])


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device; the CUDA half is skipped without a GPU and a CUDA build."""
    if request.param == "cuda" and not _cuda_ready():
        pytest.skip("needs a CUDA device and a build of dfast with CUDA kernels")
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["f32", "f64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The float types that every op takes."""
    return request.param


@pytest.fixture(scope="session")
def needs_native() -> None:
    """Skip when the extension was not built."""
    from dfast import _native
    from dfast.errors import NativeMissingError

    try:
        _native.library()
    except NativeMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def needs_cuda() -> None:
    """Skip without a CUDA device or CUDA kernels."""
    if not _cuda_ready():
        pytest.skip("needs a CUDA device and a build of dfast with CUDA kernels")


@pytest.fixture
def generator() -> torch.Generator:
    """A CPU generator with a fixed seed."""
    return torch.Generator().manual_seed(0)


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
