"""Settings of the guidance and of the diffusion prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dfast.config.checks import Range, _check, _check_numbers


@dataclass(frozen=True)
class GuidanceConfig:
    """Score distillation; the formulas are in `dfast.guidance.sds`."""

    variant: Literal["sds", "csd", "nfsd", "ism"] = "sds"
    """sds: DreamFusion; csd: the classifier's part alone; nfsd: free of the sampled noise; ism:
    along DDIM inversion, several times the cost."""
    scale: float = 10.0
    """The paper's w: eps = (1 + w) eps_c - w eps_u; diffusers' scale is 1 + w."""
    negative: str = ""
    """What the pictures should not show. nfsd has a sentence of its own if this is empty."""
    negative_weight: Range = (1.0, 0.0)
    """csd only: (start, end) of the pull away from `negative`, linear over the run."""
    perp_neg: bool = False
    """Lead each view away from the words of others, perpendicularly (Perp-Neg)."""
    inversion_steps: int = 5
    """ism: steps from the picture to the noise level below t..."""
    delta_t: float = 0.05
    """...which is this fraction of the timesteps below it."""
    linear_until: float = 0.0
    """Fraction of the run in which a latent model's encoder is replaced by a linear map."""
    t_min: float = 0.4
    t_max: float = 0.98
    t_min_end: float = 0.05
    t_max_end: float = 0.5
    """The range of t moves linearly from (t_min, t_max) to (t_min_end, t_max_end)..."""
    t_until: float = 0.8
    """...over this fraction of the run."""
    weighting: Literal["sigma2", "uniform", "alpha_sigma", "sigma"] = "sigma2"
    view_words: Literal["camera", "words", "none"] = "camera"
    """How a prior hears the view: its finest conditioning, the paper's four words, or nothing."""

    def __post_init__(self) -> None:
        _check_numbers(self, "guidance", ("scale",), 0, 1e4)
        _check_numbers(self, "guidance", ("inversion_steps",), 1, 100)
        _check_numbers(self, "guidance", ("delta_t",), 1e-3, 1)
        _check_numbers(self, "guidance", ("linear_until",), 0, 1)
        ok = all(0.0 <= value <= 10.0 for value in self.negative_weight)
        _check("guidance", "negative_weight", self.negative_weight, ok, "two numbers in [0, 10]")
        ok = not (self.perp_neg and self.view_words == "none")
        _check("guidance", "perp_neg", self.perp_neg, ok, "false where view_words is 'none'")
        _check_numbers(
            self, "guidance", ("t_min", "t_max", "t_min_end", "t_max_end", "t_until"), 0, 1
        )
        _check("guidance", "t_max", self.t_max, self.t_min < self.t_max, "more than t_min")
        ok = self.t_min_end < self.t_max_end
        _check("guidance", "t_max_end", self.t_max_end, ok, "more than t_min_end")


@dataclass(frozen=True)
class PriorConfig:
    """How a diffusion model is loaded and run. The embedded prior has nothing to choose."""

    precision: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """Of the UNet; auto: fp16 on CUDA, fp32 on the CPU. Guidance is always computed in float32."""
    vae_precision: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """Of the VAE encoder; auto: fp16 beside a half-precision UNet, but fp32 for SDXL's VAE, which
    overflows fp16; else fp32."""
    text_encoder: Literal["auto", "device", "cpu", "8bit"] = "auto"
    """Where the text is read, once; auto: on the device if it fits. 8bit needs bitsandbytes."""
    image_size: int = 0
    """Pixels a side of what the model sees; 0: the size it was made for."""
    tuned: bool = True
    """On CUDA, run the networks through dfast's own kernels where they fit, see `priors.fused`."""
    compile: bool = False
    """torch.compile the UNet instead: about a minute before the first step."""
    attention_slicing: bool = False
    """Attention one slice of heads at a time: less memory, slower."""
    vae_checkpointing: bool = False
    """Compute the VAE encoder's activations again in the backward pass: exact, less memory."""
    vae_tiling: bool = False
    """Encode overlapping quarters of the picture one by one: approximate, least memory."""
    offload: Literal["none", "model"] = "none"
    """model: the UNet's weights stay in host memory and stream through the device."""

    def __post_init__(self) -> None:
        _check_numbers(self, "prior", ("image_size",), 0, 4096)
