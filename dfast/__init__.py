"""Text to 3D by Score Distillation Sampling, on CPU and CUDA kernels of its own.

>>> import dfast
>>> result = dfast.train("a red chair", out="runs/chair")  # doctest: +SKIP
>>> mesh = result.mesh("chair.glb")  # doctest: +SKIP

Importing dfast imports no torch: whatever takes time is imported at its first use. It chooses how
torch's threads wait, see `dfast.host.threads`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfast._version import __version__
from dfast.errors import (
    CollapsedError,
    ConfigError,
    DeviceError,
    DfastError,
    DfastWarning,
    ExportError,
    NativeMissingError,
    NonFiniteError,
    OutOfMemoryError,
    PriorError,
    PromptError,
    RunFolderError,
    RunsFailedError,
)
from dfast.host.threads import prepare

prepare()  # before anything imports torch, which starts OpenMP

if TYPE_CHECKING:
    from pathlib import Path

    from dfast import (
        callbacks,
        config,
        errors,
        evaluation,
        guidance,
        io,
        mesh,
        nn,
        ops,
        priors,
        reference,
        render,
        runs,
        scene,
        training,
        viewer,
        world,
    )
    from dfast.batches.batch import batch
    from dfast.config.config import Config
    from dfast.config.layout import Layout, LayoutPart
    from dfast.reproduction.reproduce import reproduce
    from dfast.runs.estimate import estimate
    from dfast.runs.events import Event
    from dfast.runs.refine import refine
    from dfast.runs.refined import Refined
    from dfast.runs.result import Result
    from dfast.runs.splitting import layout_of
    from dfast.runs.train import train
    from dfast.viewer.live import Viewer

_LAZY = {
    "Config": "dfast.config.config",
    "Event": "dfast.runs.events",
    "Layout": "dfast.config.layout",
    "LayoutPart": "dfast.config.layout",
    "Refined": "dfast.runs.refined",
    "Result": "dfast.runs.result",
    "Viewer": "dfast.viewer.live",
    "batch": "dfast.batches.batch",
    "callbacks": "dfast.callbacks",
    "config": "dfast.config",
    "errors": "dfast.errors",
    "estimate": "dfast.runs.estimate",
    "evaluation": "dfast.evaluation",
    "guidance": "dfast.guidance",
    "io": "dfast.io",
    "layout_of": "dfast.runs.splitting",
    "mesh": "dfast.mesh",
    "nn": "dfast.nn",
    "ops": "dfast.ops",
    "priors": "dfast.priors",
    "reference": "dfast.reference",
    "refine": "dfast.runs.refine",
    "reproduce": "dfast.reproduction.reproduce",
    "render": "dfast.render",
    "runs": "dfast.runs",
    "scene": "dfast.scene",
    "train": "dfast.runs.train",
    "training": "dfast.training",
    "viewer": "dfast.viewer",
    "world": "dfast.world",
}
"""Names imported at their first use, and the module that each is in, or is."""

__all__ = [
    "CollapsedError",
    "Config",
    "ConfigError",
    "DeviceError",
    "DfastError",
    "DfastWarning",
    "Event",
    "ExportError",
    "Layout",
    "LayoutPart",
    "NativeMissingError",
    "NonFiniteError",
    "OutOfMemoryError",
    "PriorError",
    "PromptError",
    "Refined",
    "Result",
    "RunFolderError",
    "RunsFailedError",
    "Viewer",
    "__version__",
    "batch",
    "callbacks",
    "config",
    "errors",
    "estimate",
    "evaluation",
    "guidance",
    "io",
    "layout_of",
    "load",
    "mesh",
    "nn",
    "ops",
    "priors",
    "reference",
    "refine",
    "render",
    "reproduce",
    "runs",
    "scene",
    "train",
    "training",
    "viewer",
    "world",
]


def load(path: str | Path, device: str = "cpu") -> Result | Refined:
    """Return the result of a finished run, or the refined mesh of a refine stage.

    Args:
        path: a run folder, or a .safetensors file that `Result.save` or `Refined.save` wrote.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        RunFolderError: there is no such result, or it is damaged.
        DeviceError: the device is not there.
        NativeMissingError: dfast has no kernels for the device.
    """
    from dfast.runs.loading import load

    return load(path, device)


def __getattr__(name: str) -> Any:
    """Import a name of `_LAZY` at its first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'dfast' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    found = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
