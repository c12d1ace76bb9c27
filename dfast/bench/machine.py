"""The machine that is measured: names and versions, and the best rates it reaches."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import torch

from dfast._version import __version__


def processor() -> str:
    """Return the CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe(device: torch.device) -> dict[str, object]:
    """Return what every record states about where it was measured."""
    on_cuda = device.type == "cuda"
    return {
        "gpu": torch.cuda.get_device_name(device) if on_cuda else None,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "driver": _driver(device) if on_cuda else None,
        "cuda": torch.version.cuda if on_cuda else None,
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of the checkout, else DFAST_COMMIT, else the package's version."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        found = _output("git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*")
        if found:
            return found
    return os.environ.get("DFAST_COMMIT") or __version__


def _driver(device: torch.device) -> str | None:
    """Return the version of the NVIDIA driver, None if it is unknown."""
    index = str(device.index or 0)
    query = ("--query-gpu=driver_version", "--format=csv,noheader", f"--id={index}")
    return _output("nvidia-smi", *query) or None


def _output(*command: str) -> str:
    """Return what a command prints, "" if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def file_name(device: torch.device) -> str:
    """Return the device's name as a file name, such as `nvidia-h200.json`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return "-".join(words) + ".json"


def ceilings(device: torch.device) -> dict[str, float]:
    """Measure the best rates of the device.

    Returns:
        `copy_gb_s`, reads and writes of a large copy, and `<type>_tflop_s` of a large matrix
        product.
    """
    on_cuda = device.type == "cuda"
    size, kinds = (8192, ("bfloat16", "float16")) if on_cuda else (1536, ("float32",))
    rates = {}
    for kind in kinds:
        a, b = (torch.randn(size, size, device=device).to(getattr(torch, kind)) for _ in range(2))
        seconds = _best(torch.no_grad()(lambda a=a, b=b: a @ b), device)
        rates[f"{kind}_tflop_s"] = round(2 * size**3 / seconds / 1e12, 3)
    source = torch.ones(2**28 if on_cuda else 2**24, device=device)  # 1 GiB, 64 MiB
    target = torch.zeros_like(source)
    seconds = _best(lambda: target.copy_(source), device)
    rates["copy_gb_s"] = round(2 * source.nbytes / seconds / 1e9, 1)
    return rates


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call, median of five batches."""
    calls = 10 if device.type == "cuda" else 2
    times = []
    for _ in range(6):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = perf_counter()
        for _ in range(calls):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((perf_counter() - start) / calls)
    return statistics.median(times[1:])
