"""The machine under the numbers: names and versions, and what it does at best."""

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
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe(device: torch.device) -> dict[str, object]:
    """What every record says about where it was measured."""
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
    """Of the checkout that this package is in, else DFAST_COMMIT, else the package's version."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        found = _output("git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*")
        if found:
            return found
    return os.environ.get("DFAST_COMMIT") or __version__


def _driver(device: torch.device) -> str | None:
    index = str(device.index or 0)
    query = ("--query-gpu=driver_version", "--format=csv,noheader", f"--id={index}")
    return _output("nvidia-smi", *query) or None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def file_name(device: torch.device) -> str:
    """`nvidia-h200.json`: the device's name made fit for a file."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return "-".join(words) + ".json"


def ceilings(device: torch.device) -> dict[str, float]:
    """What the device does at best, measured now: `copy_gb_s` (read + write) of a large copy, and
    `<type>_tflop_s` of a large matrix product."""
    on_cuda = device.type == "cuda"
    size, kinds = (8192, ("bfloat16", "float16")) if on_cuda else (1536, ("float32",))
    found = {}
    for kind in kinds:
        a, b = (torch.randn(size, size, device=device).to(getattr(torch, kind)) for _ in range(2))
        seconds = _best(torch.no_grad()(lambda a=a, b=b: a @ b), device)
        found[f"{kind}_tflop_s"] = round(2 * size**3 / seconds / 1e12, 3)
    source = torch.ones(2**28 if on_cuda else 2**24, device=device)  # 1 GiB, 64 MiB
    target = torch.zeros_like(source)
    seconds = _best(lambda: target.copy_(source), device)
    found["copy_gb_s"] = round(2 * source.nbytes / seconds / 1e9, 1)
    return found


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, median of five batches."""
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
