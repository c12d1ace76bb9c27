"""Stable Diffusion 1.x and 2.x: latents, one CLIP text encoder, eps or v."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors.loading.embedding_cache import Encoded
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.text_encoders import encoder, one_by_one
from dfast.priors.pipelines.base import PRECISIONS, TextPrior
from dfast.priors.pipelines.vae import LatentEncoder


class StableDiffusion(TextPrior):
    """`dfast.priors.Prior` of a StableDiffusionPipeline's folder.

    Attributes:
        image_size: pixels a side of the pictures it encodes, a multiple of a latent's.
        latent_size: latents a side.
    """

    family = "sd"

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Reads small files only. Raises PriorError."""
        super().__init__(folder, device, options)
        self.latents = LatentEncoder(folder, device, self._vae_dtype(), options)
        latent, seen = self.latents.channels, self.unet_config.get("in_channels", 4)
        if latent != seen:
            raise folder.unlike("vae", "latent_channels", seen, latent, like="UNet")
        factor = self.latents.factor
        self.image_size = options.image_size or self._made_for() * factor
        self.latent_size = self.image_size // factor
        if self.image_size % factor:
            raise PriorError(
                f"prior.image_size: expected a multiple of {factor}, got {self.image_size}"
            )

    def _vae_dtype(self) -> torch.dtype:
        """float16 beside a half-precision UNet: this encoder's activations stay in range."""
        auto = torch.float32 if self.dtype == torch.float32 else torch.float16
        return PRECISIONS.get(self.options.vae_precision, auto)

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[Encoded]:
        ids, mask = self._tokens("tokenizer", sentences)
        with encoder(
            self.folder, "text_encoder", "CLIPTextModel", dtype, self.device,
            self.options.text_encoder,
        ) as model:  # fmt: skip
            wants_mask = getattr(model.config, "use_attention_mask", False)
            return [
                {"hidden": model(row, attention_mask=masked if wants_mask else None)[0][0]}
                for row, masked in one_by_one(model, ids, mask)
            ]

    def encode(self, image: Tensor, *, linear: bool = False) -> Tensor:
        """See `Prior.encode`. linear: by one affine map of colours, see `LatentEncoder`."""
        if linear:
            return self.latents.encode_linear(image, self.latent_size)
        return self.latents.encode(image)

    @property
    def linear_residual(self) -> float:
        """The share of the latents' spread that `encode(linear=True)` misses, in [0, 1]."""
        return self.latents.linear_map()[2]

    def load(self) -> None:
        """See `Prior.load`."""
        super().load()
        self.latents.load()

    def meta_parts(self) -> dict[str, nn.Module]:
        """See `TextPrior.meta_parts`; "vae" has no decoder."""
        return {**super().meta_parts(), "vae": self.latents.build()}
