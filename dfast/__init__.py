"""Text to 3D by Score Distillation Sampling, on CPU and CUDA kernels of its own.

>>> import dfast
>>> result = dfast.train("a red chair", out="runs/chair")  # doctest: +SKIP
>>> mesh = result.mesh("chair.glb")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfast._version import __version__
from dfast.config import Config
from dfast.errors import (
    CollapsedError,
    ConfigError,
    DeviceError,
    DfastError,
    ExportError,
    NativeMissingError,
    NonFiniteError,
    OutOfMemoryError,
    PriorError,
    PromptError,
    RunFolderError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dfast.runs.estimate import estimate
    from dfast.runs.events import Event
    from dfast.runs.result import Result
    from dfast.runs.train import train

__all__ = [
    "CollapsedError",
    "Config",
    "ConfigError",
    "DeviceError",
    "DfastError",
    "Event",
    "ExportError",
    "NativeMissingError",
    "NonFiniteError",
    "OutOfMemoryError",
    "PriorError",
    "PromptError",
    "Result",
    "RunFolderError",
    "__version__",
    "estimate",
    "load",
    "train",
]


def load(path: str | Path, device: str = "cpu") -> Result:
    """The `Result` in a run folder or in a .safetensors file.

    Raises RunFolderError, DeviceError or NativeMissingError.
    """
    from dfast.runs.result import Result

    return Result.load(path, device)


def __getattr__(name: str) -> Any:
    """What imports torch is imported when first asked for."""
    if name in ("ops", "priors", "reference"):
        return import_module(f".{name}", __name__)
    if name == "train":
        from dfast.runs.train import train

        return train
    if name == "estimate":
        from dfast.runs.estimate import estimate

        return estimate
    if name == "Event":
        from dfast.runs.events import Event

        return Event
    if name == "Result":
        from dfast.runs.result import Result

        return Result
    raise AttributeError(f"module 'dfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
