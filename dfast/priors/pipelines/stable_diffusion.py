"""Stable Diffusion 1.x and 2.x: latents, one CLIP text encoder, eps or v."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.loading.embedding_cache import EncodedSentence
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.text_encoders import one_at_a_time
from dfast.priors.pipelines.base import PRECISIONS, TextPrior
from dfast.priors.pipelines.vae import LatentEncoder


class StableDiffusion(TextPrior):
    """A `Prior` of the folder of a StableDiffusionPipeline.

    Attributes:
        latents: its VAE; `image_size` is a multiple of `latents.factor`.
        vae_overflows: whether the VAE overflows float16 unless its configuration says otherwise.
    """

    family = "sd"
    is_latent = True
    vae_overflows = False

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Read the small files, see `TextPrior`."""
        super().__init__(folder, device, options)
        self.latents = LatentEncoder(folder, device, self._vae_dtype(), options)
        channels, expected = self.latents.channels, self.unet_config.get("in_channels", 4)
        if channels != expected:
            raise folder.mismatch_error("vae", "latent_channels", expected, channels, other="UNet")
        factor = self.latents.factor
        self.image_size = options.image_size or self._sample_size() * factor
        if self.image_size % factor:
            raise PriorError(
                f"prior.image_size: expected a multiple of {factor}, got {self.image_size}"
            )

    def _vae_dtype(self) -> torch.dtype:
        """Return the precision of the VAE.

        By default it is float16 beside a half-precision UNet, if the activations of this encoder
        stay within its range.
        """
        config = self.folder.read("vae", "config.json")
        asked = self.options.vae_precision
        if self.vae_overflows and asked == "auto" and config.get("force_upcast", True):
            return torch.float32
        auto = torch.float32 if self.dtype == torch.float32 else torch.float16
        return PRECISIONS.get(self.options.vae_precision, auto)

    def _encode_text(self, sentences: list[str], dtype: torch.dtype) -> list[EncodedSentence]:
        rows = self._tokenize("tokenizer", sentences)
        with self._text_encoder("text_encoder", "CLIPTextModel", dtype) as model:
            wants_mask = getattr(model.config, "use_attention_mask", False)
            return [
                {"hidden": model(ids, attention_mask=mask if wants_mask else None)[0][0]}
                for ids, mask in one_at_a_time(model, rows)
            ]

    @property
    def latent_size(self) -> int:
        """Return the cells a side of its latents."""
        return self.image_size // self.latents.factor

    @neutral_torch_state(keep_grad=True)
    def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
        """Encode images, see `Prior.encode_images`.

        The approximation is an affine map of mean colours, see `LatentEncoder.linear_map`.
        """
        if approximate:
            return self.latents.encode_linear(images, self.latent_size)
        return self.latents.encode(images)

    @property
    @neutral_torch_state(keep_grad=True)
    def linear_residual(self) -> float:
        """Return the share of the latents' spread that the affine map misses, in [0, 1]."""
        return self.latents.linear_map()[2]

    @neutral_torch_state(keep_grad=True)
    def load(self) -> None:
        """Load the UNet and the VAE's encoder, once."""
        super().load()
        self.latents.load()

    @neutral_torch_state(keep_grad=True)
    def cost_parts(self) -> dict[str, nn.Module]:
        """Return the networks of a step on the meta device; "vae" has no decoder."""
        return {**super().cost_parts(), "vae": self.latents.build()}
