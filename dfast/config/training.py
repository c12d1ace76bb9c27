"""The tables of `Config`: what can be set, its default, its range.

Angles are in degrees, lengths in world units (the object lives in the unit sphere at the origin),
schedules in fractions of the run. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfast.config.checks import Range, _check, _check_numbers


@dataclass(frozen=True)
class RegularizerConfig:
    """Weights beside the guidance, all as means over pixels. A term of weight 0 is not computed."""

    orientation: Range = (1e-3, 1e-2)
    """(start, end), linear over `orientation_until` of the run."""
    orientation_until: float = 1.0 / 3.0
    opacity: float = 0.015
    entropy: float = 0.0
    total_variation: float = 0.0
    """Of the opacity image."""

    def __post_init__(self) -> None:
        for value in self.orientation:
            _check("regularizer", "orientation", self.orientation, value >= 0, "two numbers >= 0")
        _check_numbers(self, "regularizer", ("orientation_until",), 0, 1)
        _check_numbers(self, "regularizer", ("opacity", "entropy", "total_variation"), 0)


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with warm-up and a cosine to `final` of the learning rate."""

    lr_grid: float = 1e-2
    lr_mlp: float = 3e-3
    lr_background: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15
    warmup_steps: int = 10
    final: float = 0.03

    def __post_init__(self) -> None:
        _check_numbers(
            self, "optimizer", ("lr_grid", "lr_mlp", "lr_background", "eps", "warmup_steps"), 0
        )
        _check_numbers(self, "optimizer", ("final",), 0, 1)
        ok = all(0.0 <= beta < 1.0 for beta in self.betas)
        _check("optimizer", "betas", self.betas, ok, "two numbers in [0, 1)")


@dataclass(frozen=True)
class TrainConfig:
    """Length and housekeeping of a run."""

    steps: int = 300
    log_every: int = 10
    """Steps between metrics lines, which are also when the guards look."""
    preview_every: int = 50
    checkpoint_every: int = 100
    skip_limit: int = 10
    """Consecutive non-finite steps after which the run rewinds to its last good state."""
    rewind_limit: int = 3
    collapse_limit: int = 5
    """Consecutive looks at an empty or fully opaque scene after which it is re-seeded, once."""
    capture: bool = True
    """Record the step in CUDA graphs. Nothing is recorded on the CPU."""

    def __post_init__(self) -> None:
        _check_numbers(self, "train", ("steps", "log_every", "skip_limit", "collapse_limit"), 1)
        _check_numbers(self, "train", ("preview_every", "checkpoint_every", "rewind_limit"), 0)
