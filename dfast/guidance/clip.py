"""Guidance by a CLIP: images are moved towards the embedding of the prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.clip import ClipEncoder
from dfast.config import PriorConfig
from dfast.guidance.augment import Kind, random_backgrounds, random_crops
from dfast.guidance.base import Guidance, GuidanceBatch, Seen
from dfast.priors.base import Approximation, Prior
from dfast.world.reading import read

EMBEDDED = "shapes"
"""Name of the embedded CLIP."""


@dataclass(frozen=True)
class ClipGuide:
    """A CLIP in the place of a prior: what a run says of the model that guides it."""

    encoder: ClipEncoder

    is_latent = False
    options: PriorConfig | None = None
    lora: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder, or the name on the hub."""
        return self.encoder.folder.name

    @property
    def knows_the_world_alone(self) -> bool:
        """Whether it is the embedded one, which reads sentences of the procedural world."""
        return self.name == EMBEDDED

    def normal_form(self, prompt: str) -> str:
        """Return a prompt with single spaces, or what it means; see `Prior.normal_form`.

        Raises:
            PromptError: the embedded CLIP does not know a word.
        """
        if self.knows_the_world_alone:
            return read(prompt).sentence.text()
        return " ".join(prompt.split())

    def notes(self, prompt: str) -> tuple[str, ...]:
        """Return what the embedded CLIP reads in place of words, see `Prior.notes`."""
        return read(prompt).notes if self.knows_the_world_alone else ()


Guide = Prior | ClipGuide
"""What guides a run."""


@dataclass(frozen=True)
class Augmentation:
    """What a CLIP sees of an image: random crops, each before a background of its own."""

    kinds: tuple[Kind, ...]
    """of the backgrounds"""
    blur: tuple[float, float]
    """(low, high) of their blur, see `dfast.guidance.augment.random_backgrounds`"""
    crops: int = 1
    """of each image"""
    crop_size: float = 1.0
    """side of a crop as a fraction of the image's, in (0, 1]"""


class ClipGuidance(Guidance):
    """Minus the mean cosine between the embeddings of images and of the prompt.

    The gradient goes through the CLIP, and its resize as if that did not round. What is encoded are
    the pixels that the CLIP sees, so that the crops and backgrounds are part of the encoding.
    """

    def __init__(self, encoder: ClipEncoder, prompt: str, augmentation: Augmentation) -> None:
        """Encode the prompt.

        Args:
            encoder: a CLIP, on the device of the run.
            prompt: description of the object.
            augmentation: what it sees of an image.
        """
        self.encoder, self.augmentation = encoder, augmentation
        self.text = encoder.encode_text([prompt])[0]
        self._similarity = torch.zeros((), device=self.text.device)

    def encode_images(self, images: Tensor, *, approximate: Approximation = False) -> Tensor:
        """Return whole images as they are."""
        return images

    def encode(
        self,
        seen: Seen,
        colors: Tensor,
        generator: torch.Generator,
        *,
        approximate: Approximation = False,
    ) -> Tensor:
        """Return random crops before random backgrounds, [B K, 3, S, S]; see `Guidance.encode`."""
        how, size = self.augmentation, self.encoder.image_size
        behind = (1.0 - seen.opacity) * colors[:, :, None, None]
        layers = torch.cat([seen.image - behind, seen.opacity], 1)  # the object alone
        side = layers.shape[-1]
        crop = max(1, round(side * how.crop_size))
        layers = random_crops(layers, how.crops, crop, size, generator)
        backgrounds = random_backgrounds(len(layers), size, how.kinds, how.blur, generator)
        color, opacity = layers.split((3, 1), 1)
        return color + (1.0 - opacity) * backgrounds

    def gradient(self, encoded: Tensor, batch: GuidanceBatch, generator: torch.Generator) -> Tensor:
        """Return the gradient of minus the mean cosine, see `Guidance.gradient`."""
        x = encoded.detach().requires_grad_()
        with torch.enable_grad():
            cosine = (self.encoder.encode_images(x) @ self.text).mean()
            (slope,) = torch.autograd.grad(-cosine, x)
        self._similarity = cosine.detach()
        # The trainer takes the mean over pixels and images, which the cosine of an image is not.
        return slope * (len(x) * x.shape[-2] * x.shape[-1])

    def metrics(self) -> dict[str, Tensor]:
        """Return the mean cosine of the last step as "similarity"."""
        return {"similarity": self._similarity}
