"""`dfast doctor`: what is installed, what works here, and the command that mends what does not."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

REQUIRED = ("numpy", "safetensors", "diffusers", "transformers", "pillow", "tqdm", "trimesh")
OPTIONAL = {"av": ("mp4 turntables (gif works without)", "pip install av")}


@dataclass(frozen=True)
class Finding:
    """One line of the report. state: "ok", "missing" (something needed) or "note" (optional or for
    information); mend: the command that changes it, or "".
    """

    state: str
    name: str
    text: str
    mend: str = ""


def examine() -> list[Finding]:
    """Look at this installation; imports torch, changes nothing."""
    return [*_packages(), *_torch(), *_native(), *_prior()]


def report(findings: list[Finding]) -> str:
    """The findings as aligned text, ending with one line of verdict."""
    width = max(len(f.name) for f in findings)
    lines = []
    for f in findings:
        lines.append(f"[{f.state:^7}] {f.name:<{width}}  {f.text}")
        if f.mend:
            lines.append(f"{'':10}{'':{width}}  -> {f.mend}")
    lines.append(
        "dfast is ready."
        if ready(findings)
        else "dfast cannot train yet: see the lines marked missing."
    )
    return "\n".join(lines)


def ready(findings: list[Finding]) -> bool:
    """Whether everything that the main job needs is there."""
    return all(f.state != "missing" for f in findings)


def _packages() -> Iterator[Finding]:
    from dfast._version import __version__

    system = f"{platform.system()} {platform.machine()}"
    yield Finding("ok", "dfast", f"{__version__}, Python {platform.python_version()}, {system}")
    for name in REQUIRED:
        try:
            yield Finding("ok", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("missing", name, "not installed", f"pip install {name}")
    for name, (purpose, mend) in OPTIONAL.items():
        try:
            yield Finding("ok", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("note", name, f"not installed; gives {purpose}", mend)


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("missing", "torch", f"cannot be imported ({error})", "pip install torch")
        return
    yield Finding("ok", "torch", f"{torch.__version__}, {torch.get_num_threads()} CPU threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            p = torch.cuda.get_device_properties(index)
            text = f"{p.name}, sm_{p.major}{p.minor}, {p.total_memory / 2**30:.0f} GiB"
            yield Finding("ok", f"cuda:{index}", text)
    elif torch.version.cuda is None:
        yield Finding("note", "cuda", "this torch is built for CPUs only; runs go on the CPU")
    else:
        yield Finding("note", "cuda", "torch sees no GPU; runs go on the CPU", "nvidia-smi")


def _native() -> Iterator[Finding]:
    rebuild = "pip install --force-reinstall --no-deps .  (in dfast's source folder)"
    try:
        import torch

        from dfast._native import build_info

        info = build_info()
    except ImportError:
        return  # torch is already reported
    except ValueError as error:  # NativeMissingError
        yield Finding("missing", "kernels", str(error), rebuild)
        return
    yield Finding("ok", "kernels", f"CPU ({info['cpu_arch']}), compiler {info['compiler']}")
    if info["cuda"]:
        yield Finding("ok", "kernels", f"CUDA for architectures {info['cuda_archs']}")
    elif torch.cuda.is_available():
        yield Finding(
            "note", "kernels", "no CUDA kernels although there is a GPU", f"DFAST_CUDA=ON {rebuild}"
        )
    else:
        yield Finding("note", "kernels", "no CUDA kernels (none needed without a GPU)")


def weights_folder() -> Path:
    """Where the embedded prior's weights are."""
    return Path(__file__).parents[1] / "priors" / "embedded" / "weights"


def _prior() -> Iterator[Finding]:
    files = list(weights_folder().rglob("*.safetensors"))
    if files:
        size = sum(f.stat().st_size for f in files) / 2**20
        yield Finding("ok", "prior", f"shapes, {size:.1f} MiB in {weights_folder()}")
    else:
        yield Finding(
            "missing",
            "prior",
            f"the embedded prior's weights are not in {weights_folder()}",
            "pip install --force-reinstall --no-deps .  (in dfast's source folder)",
        )
