"""`dfast doctor`: what is installed, what works here, and the command that fixes what does not."""

from __future__ import annotations

import os
import platform
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from dfast.cli.options import Commands
from dfast.host.cpus import affinity, cpu_quota, usable_cpus
from dfast.host.threads import COUNTING, threads_may_spin, wait_policy

REQUIRED = (
    *("numpy", "safetensors", "diffusers", "transformers", "pillow", "tqdm", "trimesh"),
    *("xatlas", "fast-simplification"),
)
"""Distributions that training and export need, beside torch."""
OPTIONAL = {
    "av": ("mp4 turntables (gif works without)", "pip install av"),
    "viser": ("`dfast view` and `dfast train --view`", 'pip install "dfast[view]"'),
    "usd-core": (".usdz meshes", 'pip install "dfast[usd]"'),
}
"""Distributions that add something: what, and the command that installs them."""
REINSTALL = "pip install --force-reinstall --no-deps .  (in dfast's source folder)"
"""The command that builds the extension and installs the embedded prior again."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: Literal["ok", "missing", "note"]
    """missing: something that is needed; note: something optional, or for information."""
    name: str
    """The part of the installation."""
    text: str
    """What was found."""
    fix: str = ""
    """The command that changes it, or "" where there is none."""


def add_doctor(commands: Commands[Any]) -> None:
    """Add the command."""
    p = commands.add_parser("doctor", help="what is installed, what is missing, how to fix it")
    p.set_defaults(run=doctor)


def doctor(options: Namespace) -> int:
    """Print what is installed and what is missing; 1 when training cannot work."""
    del options
    findings = examine()
    print(report(findings))
    return 0 if ready(findings) else 1


def examine() -> list[Finding]:
    """Examine this installation; imports torch, changes nothing."""
    return [*_packages(), *_torch(), *_threads(), *_native(), *_prior()]


def report(findings: list[Finding]) -> str:
    """Return the findings as aligned text, ending with one line of verdict."""
    width = max(len(f.name) for f in findings)
    lines = []
    for f in findings:
        lines.append(f"[{f.state:^7}] {f.name:<{width}}  {f.text}")
        if f.fix:
            lines.append(f"{'':10}{'':{width}}  -> {f.fix}")
    lines.append(
        "dfast is ready."
        if ready(findings)
        else "dfast cannot train yet: see the lines marked missing."
    )
    return "\n".join(lines)


def ready(findings: list[Finding]) -> bool:
    """Return whether everything that training and export need is there."""
    return all(f.state != "missing" for f in findings)


def weights_folder() -> Path:
    """Return the folder of the embedded prior's weights."""
    return Path(__file__).parents[1] / "priors" / "embedded" / "weights"


def _packages() -> Iterator[Finding]:
    from dfast._version import __version__

    system = f"{platform.system()} {platform.machine()}"
    yield Finding("ok", "dfast", f"{__version__}, Python {platform.python_version()}, {system}")
    for name in REQUIRED:
        try:
            yield Finding("ok", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("missing", name, "not installed", f"pip install {name}")
    for name, (purpose, fix) in OPTIONAL.items():
        try:
            yield Finding("ok", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("note", name, f"not installed; gives {purpose}", fix)


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("missing", "torch", f"cannot be imported ({error})", "pip install torch")
        return
    yield Finding("ok", "torch", torch.__version__)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            p = torch.cuda.get_device_properties(index)
            text = f"{p.name}, sm_{p.major}{p.minor}, {p.total_memory / 2**30:.0f} GiB"
            yield Finding("ok", f"cuda:{index}", text)
    elif torch.version.cuda is None:
        yield Finding("note", "cuda", "this torch is built for CPUs only; runs go on the CPU")
    else:
        yield Finding("note", "cuda", "torch sees no GPU; runs go on the CPU", "nvidia-smi")


def _threads() -> Iterator[Finding]:
    """Tell how many threads torch uses, of how many, and how they wait for each other."""
    try:
        import torch
    except (ImportError, OSError):
        return
    cpus, quota, count = len(affinity()), cpu_quota(), torch.get_num_threads()
    text = f"{count} of {cpus} CPUs"
    if set_by := [f"{name}={os.environ[name]}" for name in COUNTING if name in os.environ]:
        text += f", by {' '.join(set_by)}"
    limit = "no quota" if quota is None else f"quota of {quota:.3g} CPUs"
    if count > usable_cpus():
        fix = f"OMP_NUM_THREADS={usable_cpus()}"
        yield Finding("note", "threads", f"{text}, {limit}: more threads than may run at once", fix)
    else:
        yield Finding("ok", "threads", f"{text}, {limit}")
    if count > 1 and threads_may_spin():
        text = f"{wait_policy()}; slow beside other processes, passive waiting is not"
        yield Finding("note", "waiting", text)
    else:
        yield Finding("ok", "waiting", wait_policy())


def _native() -> Iterator[Finding]:
    try:
        import torch

        from dfast._native import build_info

        info = build_info()
    except ImportError:
        return  # _torch has reported that torch is missing
    except ValueError as error:  # NativeMissingError
        yield Finding("missing", "kernels", str(error), REINSTALL)
        return
    yield Finding("ok", "kernels", f"CPU ({info['cpu_arch']}), compiler {info['compiler']}")
    if info["cuda"]:
        yield Finding("ok", "kernels", f"CUDA for architectures {info['cuda_archs']}")
    elif torch.cuda.is_available():
        text = f"no CUDA kernels although there is a GPU: {info['no_cuda']}"
        yield Finding("note", "kernels", text, f"DFAST_CUDA=ON {REINSTALL}")
    else:
        text = f"no CUDA kernels (none needed without a GPU): {info['no_cuda']}"
        yield Finding("note", "kernels", text)


def _prior() -> Iterator[Finding]:
    folder = weights_folder()
    files = list(folder.rglob("*.safetensors"))
    if files:
        size = sum(f.stat().st_size for f in files) / 2**20
        yield Finding("ok", "prior", f"shapes, {size:.1f} MiB in {folder}")
    else:
        text = f"the embedded prior's weights are not in {folder}"
        yield Finding("missing", "prior", text, REINSTALL)
