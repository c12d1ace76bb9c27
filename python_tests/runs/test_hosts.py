"""The habits of host programs: states of torch, threads, forks, terminals that are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import OraclePrior
from tiny_runs import TINY, train_tiny

import dfast
from dfast.mesh.extract import extract_mesh
from dfast.ops.ambient import neutral_torch_state
from dfast.runs import signals
from dfast.runs.progress import ProgressBar
from dfast.runs.result import Result

pytestmark = pytest.mark.usefixtures("needs_native")


def _setting(get: Callable[[], Any], set: Callable[[Any], object], value: Any) -> ExitStack:
    """Return a context with a setting of the process, which is given back at its end."""
    stack = ExitStack()
    stack.callback(set, get())
    set(value)
    return stack


def _precision(value: str) -> AbstractContextManager[Any]:
    return _setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, value)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: _setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "float16": lambda: _setting(torch.get_default_dtype, torch.set_default_dtype, torch.float16),
    "device": lambda: torch.device("meta"),
    "default device": lambda: _setting(
        torch.get_default_device, torch.set_default_device, torch.device("meta")
    ),
    "no grad": torch.no_grad,
    "inference": torch.inference_mode,
    "precision": lambda: _precision("medium"),
}


def _probe() -> tuple[Any, ...]:
    """Return the state of torch that a host sees."""
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_float32_matmul_precision(),
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in a neutral state, with its mesh."""
    out = tmp_path_factory.mktemp("plain") / "run"
    train_tiny(prior=OraclePrior(12), out=out, config=TINY).mesh(out / "m.glb", **MESH)
    return out


MESH = {"resolution": 16, "level": 0.05}


@pytest.mark.parametrize("state", STATES)
def test_the_same_bytes_whatever_the_state_of_torch(
    state: str, plain: Path, tmp_path: Path
) -> None:
    prior, out = OraclePrior(12), tmp_path / "run"
    with STATES[state]():
        before = _probe()
        result = train_tiny(prior=prior, out=out)
        loaded = dfast.load(out)
        image = result.render(resolution=16)
        again = loaded.render(resolution=16)
        loaded.mesh(out / "m.glb", **MESH)
        dfast.estimate(prior=prior, device="cpu", config=TINY)
        assert _probe() == before
    for name in ("checkpoint.safetensors", "result.safetensors", "m.glb"):
        assert (out / name).read_bytes() == (plain / name).read_bytes(), name
    np.testing.assert_array_equal(image, dfast.load(plain).render(resolution=16))
    np.testing.assert_array_equal(again, image)
    extract_mesh(loaded, **MESH)  # what was loaded in that state serves in another


def test_concurrent_blocks_share_the_settings_of_the_process() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with neutral_torch_state():
            inside.set()
            leave.wait(10)

    with STATES["float64"]():
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
        with neutral_torch_state():
            pass
        assert torch.get_default_dtype() == torch.float32  # the other block is still open
        leave.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64


def test_a_run_in_another_thread(tmp_path: Path) -> None:
    done: list[Result] = []
    thread = threading.Thread(target=lambda: done.append(train_tiny(out=tmp_path / "run")))
    thread.start()
    thread.join()
    assert done[0].steps == 4 and (tmp_path / "run" / "result.safetensors").exists()


@pytest.mark.parametrize("before", [None, signal.SIG_IGN, lambda *_: None])
def test_handlers_of_the_host_stay(before: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is a handler that was not set from Python, as in Blender, Maya and Julia."""
    changed: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: before)
    monkeypatch.setattr(signal, "signal", lambda number, handler: changed.append(number))
    assert train_tiny().steps == 4
    assert changed == ([signal.SIGINT] * 2 if callable(before) else [])


def test_a_handler_that_cannot_be_restored_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, handler: Any) -> None:
        if handler == signal.default_int_handler:
            raise TypeError("signal handler must be signal.SIG_IGN, SIG_DFL, or a callable object")

    monkeypatch.setattr(signal, "signal", refuse)
    assert train_tiny().steps == 4


def test_a_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, *_: object) -> None:
            raise BrokenPipeError

        flush = isatty = fileno = write

    monkeypatch.setattr(sys, "stderr", Gone())
    assert train_tiny(progress=True).steps == 4
    monkeypatch.setattr(sys, "stderr", None)
    assert train_tiny(progress=True).steps == 4
    ProgressBar(3).close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_server_that_forks_after_it_has_loaded() -> None:
    code = (
        "import os, warnings, torch, dfast\n"
        "import dfast.runs.train\n"
        "assert not torch.cuda.is_initialized()\n"
        "torch.set_num_threads(4)\n"
        "(torch.randn(1 << 20) + 1).exp().sum()\n"  # starts torch's threads
        "from tiny_runs import TINY, OraclePrior\n"
        "prior = OraclePrior(12)\n"
        "if os.fork() == 0:\n"
        "    with warnings.catch_warnings(record=True) as seen:\n"
        "        warnings.simplefilter('always')\n"
        "        dfast.train('a ball', prior=prior, device='cpu', steps=1, config=TINY,\n"
        "            progress=False)\n"
        "    (torch.randn(1 << 20) + 1).exp().sum()\n"
        "    print(*(w.message for w in seen if 'forked' in str(w.message)))\n"
        "    os._exit(0)\n"
        "assert os.wait()[1] == 0 and torch.get_num_threads() == 4"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "4"},
    )
    assert done.returncode == 0, done.stderr
    assert "computing with one thread" in done.stdout


def test_cuda_after_a_fork_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(dfast.DeviceError, match="forked after its parent had used CUDA"):
        train_tiny(device="cuda")


def test_no_home_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    from dfast.priors.loading.embedding_cache import EmbeddingCache, cache_folder

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("DFAST_CACHE", "~nobody-of-this-name/cache")
    assert cache_folder() is None
    cache = EmbeddingCache({"encoders": "a"})
    cache.put("x", {"a": torch.ones(1)})
    assert cache.get("x") is None
    assert signals.STOPPING  # the module is there on every system
