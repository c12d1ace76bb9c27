"""Settings of the guidance and of the diffusion prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dfast.config.checks import Range, check, check_numbers


@dataclass(frozen=True)
class GuidanceConfig:
    """Score distillation; the formulas are in `dfast.guidance.sds` and docs/math.md.

    Timesteps t are fractions, in [0, 1], of the prior's number of timesteps.
    """

    variant: Literal["sds", "csd", "nfsd", "ism", "rfds", "rfds_rev", "vsd"] = "sds"
    """sds: DreamFusion (Poole et al. 2022); csd: the classifier's part alone; nfsd: free of the
    sampled noise; ism: along DDIM inversion, several times the cost; rfds: the error of a velocity,
    not of the noise (Yang et al. 2024); rfds_rev: that at the noise which the prior finds; vsd:
    against a copy of the prior that learns the renderings (Wang et al. 2023)."""
    scale: float = 10.0
    """The guidance scale w of the papers, 0 to 10000: eps = (1 + w) eps_c - w eps_u. The scale of
    diffusers is 1 + w. vsd has `vsd_scale` in its place."""
    negative: str = ""
    """The negative prompt: what the images should not show. nfsd has one of its own if this is
    empty."""
    negative_weight: Range = (1.0, 0.0)
    """csd only: (start, end) of the pull away from `negative`, 0 to 10, linear over the run."""
    perp_neg: bool = False
    """Lead each view away from the prompts of other views, perpendicularly (Perp-Neg, Armandpour et
    al. 2023)."""
    inversion_steps: int = 5
    """ism only: DDIM steps from the image to the noise level s below t, 1 to 100."""
    delta_t: float = 0.05
    """ism only: t - s, 0.001 to 1."""
    vsd_scale: float = 6.5
    """vsd only: w of the frozen prior, 0 to 10000, in place of `scale`. 6.5 is 7.5 in diffusers,
    what ProlificDreamer has."""
    vsd_rank: int = 4
    """vsd only: rank of the changes of the copy's attention, 1 to 256."""
    vsd_rate: float = 1e-4
    """vsd only: the copy's learning rate, 0 to 1, under Adam."""
    linear_until: float = 0.0
    """Fraction of the run, 0 to 1, from its start, in which a linear map replaces a latent model's
    image encoder."""
    t_min: float = 0.4
    """Smallest t at the start of the run, 0 to 1."""
    t_max: float = 0.98
    """Largest t at the start of the run, > `t_min`, to 1."""
    t_min_end: float = 0.05
    """Smallest t after `t_until`, 0 to 1. Between, the range of t changes linearly."""
    t_max_end: float = 0.5
    """Largest t after `t_until`, > `t_min_end`, to 1."""
    t_until: float = 0.8
    """Fraction of the run over which the range of t changes, 0 to 1."""
    weighting: Literal["sigma2", "uniform", "alpha_sigma", "sigma", "x0"] = "sigma2"
    """w(t), the factor on the gradient at noise level (alpha, sigma); sigma2 is DreamFusion's. x0,
    sigma / alpha, makes the gradient of sds the error of the denoised image (MVDream)."""
    rescale: float = 0.0
    """How far guidance keeps the spread of the denoised image, 0 to 1: that of views predicted
    together counts as one (MVDream has 0.5). Not for csd and nfsd."""
    view_conditioning: Literal["camera", "words", "none"] = "camera"
    """How predictions are conditioned on the view: in the finest way that the prior has, by
    DreamFusion's four view words, or not at all."""

    @property
    def guided_scale(self) -> float:
        """Return the w of this variant."""
        return self.vsd_scale if self.variant == "vsd" else self.scale

    def __post_init__(self) -> None:
        check_numbers(self, "guidance", ("scale", "vsd_scale"), 0, 1e4)
        check_numbers(self, "guidance", ("vsd_rank",), 1, 256)
        check_numbers(self, "guidance", ("vsd_rate",), 0, 1)
        check_numbers(self, "guidance", ("inversion_steps",), 1, 100)
        check_numbers(self, "guidance", ("delta_t",), 1e-3, 1)
        check_numbers(self, "guidance", ("linear_until", "rescale"), 0, 1)
        ok = self.rescale == 0 or self.variant not in ("csd", "nfsd")
        check("guidance", "rescale", self.rescale, ok, f"0 with variant {self.variant!r}")
        ok = all(0.0 <= value <= 10.0 for value in self.negative_weight)
        check("guidance", "negative_weight", self.negative_weight, ok, "two numbers in [0, 10]")
        ok = not (self.perp_neg and self.view_conditioning == "none")
        check("guidance", "perp_neg", self.perp_neg, ok, "false where view_conditioning is 'none'")
        check_numbers(
            self, "guidance", ("t_min", "t_max", "t_min_end", "t_max_end", "t_until"), 0, 1
        )
        check("guidance", "t_max", self.t_max, self.t_min < self.t_max, "more than t_min")
        ok = self.t_min_end < self.t_max_end
        check("guidance", "t_max_end", self.t_max_end, ok, "more than t_min_end")


@dataclass(frozen=True)
class PriorConfig:
    """How a diffusion model is loaded and run. The embedded prior ignores these settings."""

    precision: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """Of the UNet or transformer. auto: fp16 on CUDA, or bf16 for transformers that need its range;
    fp32 on the CPU. Guidance is always computed in float32."""
    vae_precision: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """Of the VAE encoder. auto: fp16 beside a half-precision UNet, but for SDXL's VAE, which
    overflows fp16, and beside transformers only if a check of the weights allows it; else fp32."""
    text_encoder: Literal["auto", "device", "cpu", "8bit"] = "auto"
    """Where the prompts are encoded, once. auto: on the device if the text encoders fit. 8bit: on
    the device, in weights of 8 bits; it needs bitsandbytes."""
    image_size: int = 0
    """Pixels a side of the images that the model sees, 0 to 4096; 0: the size it was trained on."""
    tuned: bool = True
    """On CUDA, run the networks through dfast's own kernels where they fit, see
    `dfast.priors.fused`."""
    compile: bool = False
    """torch.compile the UNet instead: about a minute before the first step."""
    attention_slicing: bool = False
    """Compute attention one slice of heads at a time: less memory, slower."""
    vae_checkpointing: bool = False
    """Compute the VAE encoder's activations again in the backward pass: exact, less memory."""
    vae_tiling: bool = False
    """Encode overlapping quarters of the image one by one: approximate, least memory."""
    offload: Literal["none", "model"] = "none"
    """model: the UNet's weights stay in host memory and stream through the device."""
    vae: str = ""
    """Folder of an AutoencoderTiny of diffusers (TAESD and its kin), a small encoder to the same
    latents that takes the place of the VAE's; empty for none."""
    vae_until: float = 1.0
    """Fraction of the run, 0 to 1, from its start, in which `vae` is used; the VAE after that."""
    lora: tuple[str, ...] = ()
    """LoRA files in safetensors that are merged into the networks, each FILE or FILE:STRENGTH,
    strength -100 to 100; alpha / rank is read from the file and multiplies the strength."""

    def __post_init__(self) -> None:
        check_numbers(self, "prior", ("image_size",), 0, 4096)
        check_numbers(self, "prior", ("vae_until",), 0, 1)
        for text in self.lora:
            path, strength = lora_strength(text)
            ok = bool(path) and -100 <= strength <= 100
            check("prior", "lora", text, ok, "FILE or FILE:STRENGTH, a strength in [-100, 100]")


def lora_strength(text: str) -> tuple[str, float]:
    """Return the file and the strength of FILE or FILE:STRENGTH; the strength is 1 by default.

    >>> lora_strength("style.safetensors:0.5")
    ('style.safetensors', 0.5)

    Args:
        text: an entry of `PriorConfig.lora`. What follows the last colon counts as the strength if
            it is a number.
    """
    path, colon, last = text.rpartition(":")
    try:
        return (path, float(last)) if colon else (text, 1.0)
    except ValueError:
        return text, 1.0
