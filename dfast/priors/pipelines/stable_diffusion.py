"""Stable Diffusion 1.x and 2.x: latents, one CLIP text encoder, eps or v."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfast._files import user_path
from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.base import Approximation
from dfast.priors.loading.embedding_cache import EncodedSentence
from dfast.priors.loading.folder import NETWORK, Folder, one_line
from dfast.priors.loading.networks import TINY
from dfast.priors.loading.text_encoders import one_at_a_time
from dfast.priors.pipelines.base import PRECISIONS, TextPrior
from dfast.priors.pipelines.vae import LatentEncoder


class StableDiffusion(TextPrior):
    """A `Prior` of the folder of a StableDiffusionPipeline.

    Attributes:
        latents: its VAE; `image_size` is a multiple of `latents.factor`.
        tiny: the distilled encoder of `prior.vae`; None without one.
        vae_overflows: whether the VAE overflows float16 unless its configuration says otherwise.
    """

    family = "sd"
    is_latent = True
    vae_overflows = False

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Read the small files, see `TextPrior`."""
        super().__init__(folder, device, options)
        dtype = self._vae_dtype()
        # Beside a half-precision UNet, float32 is for want of range: perhaps it can be had.
        wide = dtype == torch.float32 != self.dtype and options.vae_precision == "auto"
        self.latents = LatentEncoder(folder, device, dtype, options, halve=wide)
        channels, expected = self.latents.channels, self._latent_channels()
        if channels != expected:
            raise folder.mismatch_error("vae", "latent_channels", expected, channels, other="UNet")
        self.tiny = self._open_tiny() if options.vae else None
        self.tiny_until = options.vae_until if options.vae else 0.0
        factor = self.latents.factor
        self.image_size = options.image_size or self._sample_size() * factor
        if self.image_size % factor:
            raise PriorError(
                f"prior.image_size: expected a multiple of {factor}, got {self.image_size}"
            )

    def _latent_channels(self) -> int:
        """Return the channels of what the UNet diffuses."""
        return int(self.folder.number(self.denoiser, "in_channels", 4))

    def _vae_dtype(self) -> torch.dtype:
        """Return the precision of the VAE.

        By default it is float16 beside a half-precision UNet, if the activations of this encoder
        stay within its range; of the others `half_vae` sees to that, if it can, once there are
        weights.
        """
        config = self.folder.read("vae", "config.json")
        asked = self.options.vae_precision
        if self.vae_overflows and asked == "auto" and config.get("force_upcast", True):
            return torch.float32
        auto = torch.float32 if self.dtype == torch.float32 else torch.float16
        return PRECISIONS.get(self.options.vae_precision, auto)

    def _open_tiny(self) -> LatentEncoder:
        """Return the encoder of `prior.vae`, after a check that it can give these latents."""
        path = user_path(self.options.vae).resolve()
        if not path.is_dir():
            raise PriorError(f"prior.vae: expected a folder, got {one_line(str(path), repr)}")
        folder = Folder(path, str(path))
        auto = torch.float32 if self.dtype == torch.float32 else torch.float16
        dtype = PRECISIONS.get(self.options.vae_precision, auto)
        tiny = LatentEncoder(folder, self.device, dtype, self.options, NETWORK)
        for key, expected, got in (
            ("an", TINY, tiny.name),
            ("latents of channels", self.latents.channels, tiny.channels),
            ("pixels a latent cell", self.latents.factor, tiny.factor),
        ):
            if got != expected:
                raise PriorError(
                    f"prior.vae: expected {key} {expected} with {self.name!r}, got {got} in "
                    f"{one_line(path)}"
                )
        return tiny

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
    def encode_images(self, images: Tensor, *, approximate: Approximation = False) -> Tensor:
        """Encode images, see `Prior.encode_images`.

        The linear approximation is an affine map of mean colours, see `LatentEncoder.linear_map`.
        """
        if approximate == "tiny":
            if self.tiny is None:
                raise PriorError(f"prior.vae: expected an {TINY} with {self.name!r}, got none")
            return self.tiny.encode(images)
        if approximate:
            return self.latents.encode_linear(images, self.latent_size)
        return self.latents.encode(images)

    @property
    @neutral_torch_state(keep_grad=True)
    def linear_residual(self) -> float:
        """Return the share of the latents' spread that the affine map misses, in [0, 1]."""
        return self.latents.linear_map()[2]

    @property
    @neutral_torch_state(keep_grad=True)
    def tiny_residual(self) -> float:
        """Return how far the latents of `prior.vae` are from the VAE's, see `residual` there.

        Raises:
            PriorError: without a `prior.vae`.
        """
        if self.tiny is None:
            raise PriorError(f"prior.vae: expected an {TINY} with {self.name!r}, got none")
        return self.latents.residual(self.tiny)

    @neutral_torch_state(keep_grad=True)
    def load(self) -> None:
        """Load the UNet and the encoders that a run needs, once."""
        super().load()
        if self.tiny is not None:
            self.tiny.load()
        if self.tiny_until < 1:
            self.latents.load()

    @neutral_torch_state(keep_grad=True)
    def cost_parts(self) -> dict[str, nn.Module]:
        """Return the networks of a step on the meta device; "vae" has no decoder."""
        whole = self.tiny is not None and self.tiny_until >= 1
        encoder = self.tiny if whole and self.tiny is not None else self.latents
        return {**super().cost_parts(), "vae": encoder.build()}
