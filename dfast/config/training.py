"""Settings of training: regularisers, optimiser, length and housekeeping of a run."""

from __future__ import annotations

from dataclasses import dataclass

from dfast.config.checks import Range, check, check_numbers


@dataclass(frozen=True)
class RegularizerConfig:
    """Weights >= 0 of the losses beside the guidance. A loss of weight 0 is not computed."""

    orientation: Range = (1e-3, 1e-2)
    """(start, end) of the weight >= 0 of visible normals that face away from the camera (Ref-NeRF),
    linear over `orientation_until`."""
    orientation_until: float = 1.0 / 3.0
    """Fraction of the run over which the weight of `orientation` changes, 0 to 1."""
    normal_variation: float = 0.0
    """Weight >= 0, at the end of the run, of differences between the normals of neighbouring
    pixels: no lumps on the surface."""
    normal_variation_from: float = 0.4
    """Fraction of the run, 0 to 1, from which the weight of `normal_variation` rises linearly from
    0."""
    darkness: Range = (0.0, 0.0)
    """(start, end) of the weight >= 0 of a preference for bright albedo, linear over
    `darkness_until`: a prior cannot tell dark from shaded."""
    darkness_until: float = 0.5
    """Fraction of the run over which the weight of `darkness` changes, 0 to 1."""
    opacity: float = 0.015
    """Weight >= 0 of sqrt(opacity^2 + 0.01), the mean over rays (DreamFusion): fewer floaters."""
    entropy: float = 0.0
    """Weight >= 0 of the binary entropy of the opacity in bits, the mean over rays: no haze."""
    total_variation: float = 0.0
    """Weight >= 0 of the total variation of the opacity image, the mean over pixels: smooth
    outlines."""

    def __post_init__(self) -> None:
        for name in ("orientation", "darkness"):
            weights = getattr(self, name)
            ok = all(weight >= 0 for weight in weights)
            check("regularizer", name, weights, ok, "two numbers >= 0")
        check_numbers(
            self,
            "regularizer",
            ("orientation_until", "normal_variation_from", "darkness_until"),
            0,
            1,
        )
        check_numbers(
            self, "regularizer", ("normal_variation", "opacity", "entropy", "total_variation"), 0
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam (Kingma and Ba 2015) with a linear warm-up and a cosine decay of the learning rate."""

    lr_grid: float = 1e-2
    """Peak learning rate of the hash grid's table, >= 0."""
    lr_mlp: float = 3e-3
    """Peak learning rate of the field's MLP, >= 0."""
    lr_background: float = 1e-3
    """Peak learning rate of a learned background, >= 0."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the first and of the second moment in a step, in [0, 1)."""
    eps: float = 1e-15
    """Added to the root of the second moment, >= 0."""
    warmup_steps: int = 10
    """Steps over which the learning rates rise from near 0 to their peak, >= 0."""
    warmup_until: float = 0.0
    """Fraction of the run over which they rise, if that is longer than `warmup_steps`; 0 to 1."""
    final: float = 0.03
    """Learning rate at the last step as a fraction of the peak, 0 to 1."""

    def __post_init__(self) -> None:
        check_numbers(
            self, "optimizer", ("lr_grid", "lr_mlp", "lr_background", "eps", "warmup_steps"), 0
        )
        check_numbers(self, "optimizer", ("final", "warmup_until"), 0, 1)
        ok = all(0.0 <= beta < 1.0 for beta in self.betas)
        check("optimizer", "betas", self.betas, ok, "two numbers in [0, 1)")


@dataclass(frozen=True)
class TrainConfig:
    """Length and housekeeping of a run."""

    steps: int = 300
    """Steps of the whole run, >= 1. Schedules are fractions of it."""
    average_from: float = 1.0
    """Fraction of the run after which the parameters are averaged, 0 to 1: a finished run has
    their mean. 1: it has the last ones."""
    log_every: int = 10
    """Steps between lines of metrics, which are also the steps between health checks; >= 1."""
    preview_every: int = 50
    """Steps between preview images, >= 0; 0: none."""
    checkpoint_every: int = 100
    """Steps between checkpoints, >= 0; 0: only at the end and after Ctrl-C."""
    skip_limit: int = 10
    """Consecutive non-finite steps after which the run rewinds to its last good state, >= 1."""
    rewind_limit: int = 3
    """Rewinds after which the run ends with NonFiniteError, >= 0."""
    collapse_limit: int = 5
    """Consecutive health checks that find an empty or fully opaque scene, after which it is
    re-seeded, once; >= 1."""
    cuda_graphs: bool = True
    """On CUDA, record the step in CUDA graphs and replay it."""

    def __post_init__(self) -> None:
        check_numbers(self, "train", ("steps", "log_every", "skip_limit", "collapse_limit"), 1)
        check_numbers(self, "train", ("average_from",), 0, 1)
        check_numbers(self, "train", ("preview_every", "checkpoint_every", "rewind_limit"), 0)
